"""`report.html` of a run: one file, no network, no script; every text of the run is escaped.

Gets the figures of `synth.findings`, gives HTML through `pages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reasonembed.dataset.statistics import Spread, Statistics
from reasonembed.pages.charts import RangeRow, histograms, ranges, stacked
from reasonembed.pages.page import configuration, duration, escaped, note, paragraph, section, table, write_page
from reasonembed.synth.checks import count_words
from reasonembed.synth.findings import Example, Findings, LengthFinding, Triviality, find_out, mean
from reasonembed.synth.folder import Run, StageReport
from reasonembed.synth.triviality import DEPTH
from reasonembed.types import Annotation

REPORT = "report.html"
QUERY_CHARS = 6000
"""Characters of a query that are shown: queries are long where that is wanted."""
BINS = 10


def write_report(folder: Path | str) -> Path:
    """Write `report.html` of a run, finished or not; returns its path.

    Args:
        folder: The run directory.

    Raises:
        DataError: It is no run directory, or a file in it is damaged.
        StorageError: The file could not be written.
    """
    found = find_out(Run(folder))
    sections = (
        _stages(found.stages),
        _lengths(found.lengths, found.levels),
        _labels(found.labels),
        _triviality(found.triviality),
        _samples(found.samples),
        _examples(found.examples),
        configuration(found.config),
    )
    title = f"Synthesis: {found.name}"
    return write_page(Path(folder) / REPORT, title=title, summary=_summary(found), sections=sections)


def _summary(findings: Findings) -> str:
    samples = sum(made.samples for made in findings.samples.values())
    return f"{findings.documents:,} documents, {findings.queries:,} queries, {samples:,} training samples."


def _stages(stages: Sequence[StageReport]) -> str:
    """What went in, came out and was lost, and what it took."""
    if not stages:
        return ""
    head = ("stage", "counts", "lost, by reason", "requests", "cached", "read", "generated", "cost", "time")
    rows = [
        (
            report.stage,
            _counted(report.counts),
            _counted(report.losses) or "-",
            f"{report.requests:,}",
            f"{report.cached:,}",
            f"{report.prompt_tokens:,}",
            f"{report.completion_tokens:,}",
            "-" if report.cost is None else f"{report.cost:,.2f}",
            duration(report.seconds),
        )
        for report in stages
    ]
    costs = [report.cost for report in stages if report.cost is not None]
    asked = {str(report.llm.get("model")) for report in stages if report.llm}
    return section(
        "Stages",
        table(head, rows, words=(1, 2)),
        note(
            f"Read and generated are tokens. In all: {sum(report.requests for report in stages):,} requests, "
            f"{sum(report.prompt_tokens for report in stages):,} tokens read, "
            f"{sum(report.completion_tokens for report in stages):,} generated, "
            f"{duration(sum(report.seconds for report in stages))}"
            + (f", cost {sum(costs):,.2f}" if costs else "")
            + (escaped(f"; asked: {', '.join(sorted(asked))}") if asked else "")
            + "."
        ),
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _lengths(rows: Sequence[LengthFinding], levels: Mapping[str, int]) -> str:
    if not rows:
        return ""
    drawn = [
        RangeRow(_band(row), (row.least, row.most), row.words.least, row.words.median, row.words.p95,
                 f"{row.inside / row.queries:.0%} in")
        for row in rows
    ]  # fmt: skip
    words = ", ".join(f"{level} {count:,}" for level, count in levels.items())
    return section(
        "Length drawn and length got",
        ranges(drawn, title="Words a query by drawn length"),
        note(
            "Words a query. Wide bar: what was drawn; line: from the shortest to 95% of the queries; dot: their median; right: "
            f"share exactly within. {escaped('Education levels drawn: ' + words)}."
        ),
    )


def _band(row: LengthFinding) -> str:
    return f"≥ {row.least}" if row.most is None else f"{row.least}–{row.most}"


def _labels(labels: Mapping[str, Sequence[int]]) -> str:
    if not labels:
        return ""
    total = [sum(counts[score] for counts in labels.values()) for score in range(5)]
    positive = sum(total[2:]) / (sum(total) or 1)
    return section(
        "Labels by place among the candidates",
        stacked(labels, ("1 irrelevant", "2", "3", "4", "5 highly relevant"), title="Scores by rank of the candidate"),
        note(
            f"{sum(total):,} judged pairs, {positive:.1%} of them with 3 or more. Left: rank of the candidate; right: pairs."
        ),
    )


def _triviality(made: Triviality | None) -> str:
    if made is None:
        return ""
    bins = [f"{place * 100 // BINS}%" for place in range(BINS)]
    series = {
        "source (not used)": _binned(made.source),
        "best positive": _binned(made.positive),
        "hard negative": _binned(made.negative),
    }
    first = sum(rank == 1 for rank in made.ranks) / made.queries
    ten = sum(rank is not None and rank <= 10 for rank in made.ranks) / made.queries
    lost = sum(rank is None for rank in made.ranks) / made.queries
    return section(
        "Triviality: what words alone find",
        "<h3>Share of a query's words that a document has too</h3>",
        histograms(bins, {name: counts for name, counts in series.items() if sum(counts)}, title="Shared words"),
        note(
            f"Means: source {_percent(mean(made.source))}, best positive {_percent(mean(made.positive))}, "
            f"hard negative {_percent(mean(made.negative))}. Words without stop words, stemmed."
        ),
        "<h3>Where BM25 ranks the document that a query was written from</h3>",
        table(
            ("mean reciprocal rank", "first", "among 10", f"not among {DEPTH}"),
            [(f"{made.reciprocal:.3f}", f"{first:.1%}", f"{ten:.1%}", f"{lost:.1%}")],
        ),
        note(f"Over {made.queries:,} queries, evenly spaced. High values: the queries copy their source's words."),
    )


def _binned(shares: Iterable[float]) -> list[int]:
    """How many shares are in each tenth; 1.0 is in the last."""
    counts = [0] * BINS
    for share in shares:
        counts[min(BINS - 1, int(share * BINS))] += 1
    return counts


def _samples(samples: Mapping[str, Statistics]) -> str:
    if not samples:
        return ""
    head = ("dataset", "samples", "positives each", "negatives each", "query words", "with reasoning", "passages")
    rows = [
        (name, f"{made.samples:,}", _mean(made.pos), _mean(made.neg), _mean(made.query_words), f"{made.with_reasoning:,}",
         f"{made.passages:,}")
        for name, made in samples.items()
    ]  # fmt: skip
    return section("Training samples", table(head, rows))


def _mean(made: Spread | None) -> str:
    return "-" if made is None else f"{made.mean:,.1f} ({made.least:,}–{made.most:,})"


def _examples(examples: Sequence[Example]) -> str:
    return section("Examples", *map(_example, examples)) if examples else ""


def _example(example: Example) -> str:
    query = example.query
    drawn = (
        f"{query.id}: drawn {query.length[0]} to {query.length[1]} words, {query.level}; got {count_words(query.text)}"
    )
    sides = (
        _side("Written from (never used)", example.source, None),
        _side("Best positive", *example.positive),
        _side("Hard negative", *example.negative),
    )
    reasoning = ""
    if query.reasoning:
        reasoning = f"<details><summary>With its analysis</summary>{paragraph(query.reasoning)}</details>"
    return (
        f'<div class="example"><p class="note">{escaped(drawn)}</p>{paragraph(query.text, QUERY_CHARS)}{reasoning}'
        f'<div class="sides">{"".join(sides)}</div></div>'
    )


def _side(title: str, text: str, judged: Annotation | None) -> str:
    score = "" if judged is None else f": {judged.score:g}, rank {judged.rank}"
    reason = (
        ""
        if judged is None
        else f"<details open><summary>The judge's reasons</summary>{paragraph(judged.reason)}</details>"
    )
    return f"<div><h3>{escaped(title + score)}</h3>{paragraph(text)}{reason}</div>"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
