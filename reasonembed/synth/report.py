"""`report.html` of a run: one file, no network, no script; every text of the run is escaped.

Gets the figures of `synth.findings`, gives HTML. The page's style is in `report.html` beside this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from reasonembed.dataset.statistics import Spread, Statistics
from reasonembed.io.atomic import atomic_write
from reasonembed.llm.prompts import load_prompt, render
from reasonembed.synth.charts import RangeRow, histograms, ranges, stacked
from reasonembed.synth.checks import count_words
from reasonembed.synth.findings import Example, Findings, LengthFinding, Triviality, find_out, mean
from reasonembed.synth.folder import Run, StageReport
from reasonembed.synth.triviality import DEPTH
from reasonembed.types import Annotation

REPORT = "report.html"
SHOWN_CHARS = 1000
"""Characters of a document in an example; the rest is cut and said so."""
QUERY_CHARS = 6000
"""The same of a query, which is long where that is wanted."""
BINS = 10


def write_report(folder: Path | str) -> Path:
    """Write `report.html` of a run, finished or not; returns its path.

    Args:
        folder: The run directory.

    Raises:
        DataError: It is no run directory, or a file in it is damaged.
        StorageError: The file could not be written.
    """
    path = Path(folder) / REPORT
    page = report_html(find_out(Run(folder)))
    with atomic_write(path) as file:
        file.write(page)  # type: ignore[call-overload]
    return path


def report_html(findings: Findings) -> str:
    """The page of a run."""
    sections = (
        _stages(findings.stages),
        _lengths(findings.lengths, findings.levels),
        _labels(findings.labels),
        _triviality(findings.triviality),
        _samples(findings.samples),
        _examples(findings.examples),
        _config(findings.config),
    )
    return render(
        load_prompt("reasonembed.synth", REPORT),
        title=_e(f"Synthesis: {findings.name}"),
        summary=_e(_summary(findings)),
        sections="\n".join(section for section in sections if section),
    )


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
    return _section(
        "Stages",
        _table(head, rows, words=(1, 2)),
        _note(
            f"Read and generated are tokens. In all: {sum(report.requests for report in stages):,} requests, "
            f"{sum(report.prompt_tokens for report in stages):,} tokens read, "
            f"{sum(report.completion_tokens for report in stages):,} generated, "
            f"{duration(sum(report.seconds for report in stages))}"
            + (f", cost {sum(costs):,.2f}" if costs else "")
            + (_e(f"; asked: {', '.join(sorted(asked))}") if asked else "")
            + "."
        ),
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def duration(seconds: float) -> str:
    """Seconds in words: `12.5 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02} min"


def _lengths(rows: Sequence[LengthFinding], levels: Mapping[str, int]) -> str:
    if not rows:
        return ""
    drawn = [
        RangeRow(_band(row), (row.least, row.most), row.words.least, row.words.median, row.words.p95,
                 f"{row.inside / row.queries:.0%} in")
        for row in rows
    ]  # fmt: skip
    words = ", ".join(f"{level} {count:,}" for level, count in levels.items())
    return _section(
        "Length drawn and length got",
        ranges(drawn, title="Words a query by drawn length"),
        _note(
            "Words a query. Wide bar: what was drawn; line: from the shortest to 95% of the queries; dot: their median; right: "
            f"share exactly within. {_e('Education levels drawn: ' + words)}."
        ),
    )


def _band(row: LengthFinding) -> str:
    return f"≥ {row.least}" if row.most is None else f"{row.least}–{row.most}"


def _labels(labels: Mapping[str, Sequence[int]]) -> str:
    if not labels:
        return ""
    total = [sum(counts[score] for counts in labels.values()) for score in range(5)]
    positive = sum(total[2:]) / (sum(total) or 1)
    return _section(
        "Labels by place among the candidates",
        stacked(labels, ("1 irrelevant", "2", "3", "4", "5 highly relevant"), title="Scores by rank of the candidate"),
        _note(
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
    return _section(
        "Triviality: what words alone find",
        "<h3>Share of a query's words that a document has too</h3>",
        histograms(bins, {name: counts for name, counts in series.items() if sum(counts)}, title="Shared words"),
        _note(
            f"Means: source {_percent(mean(made.source))}, best positive {_percent(mean(made.positive))}, "
            f"hard negative {_percent(mean(made.negative))}. Words without stop words, stemmed."
        ),
        "<h3>Where BM25 ranks the document that a query was written from</h3>",
        _table(
            ("mean reciprocal rank", "first", "among 10", f"not among {DEPTH}"),
            [(f"{made.reciprocal:.3f}", f"{first:.1%}", f"{ten:.1%}", f"{lost:.1%}")],
        ),
        _note(f"Over {made.queries:,} queries, evenly spaced. High values: the queries copy their source's words."),
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
    return _section("Training samples", _table(head, rows))


def _mean(made: Spread | None) -> str:
    return "-" if made is None else f"{made.mean:,.1f} ({made.least:,}–{made.most:,})"


def _examples(examples: Sequence[Example]) -> str:
    return _section("Examples", *map(_example, examples)) if examples else ""


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
        reasoning = f"<details><summary>With its analysis</summary>{_text(query.reasoning)}</details>"
    return (
        f'<div class="example"><p class="note">{_e(drawn)}</p>{_text(query.text, QUERY_CHARS)}{reasoning}'
        f'<div class="sides">{"".join(sides)}</div></div>'
    )


def _side(title: str, text: str, judged: Annotation | None) -> str:
    score = "" if judged is None else f": {judged.score:g}, rank {judged.rank}"
    reason = (
        ""
        if judged is None
        else f"<details open><summary>The judge's reasons</summary>{_text(judged.reason)}</details>"
    )
    return f"<div><h3>{_e(title + score)}</h3>{_text(text)}{reason}</div>"


def _text(text: str, limit: int = SHOWN_CHARS) -> str:
    cut = f" … ({len(text) - limit:,} more characters)" if len(text) > limit else ""
    return f'<p class="text">{_e(text[:limit])}{_e(cut)}</p>'


def _config(config: Mapping[str, Any]) -> str:
    import json

    text = json.dumps(config, indent=2, ensure_ascii=False)
    return _section("Configuration", f'<details><summary>Show</summary><pre class="text">{_e(text)}</pre></details>')


def _section(title: str, *parts: str) -> str:
    return f"<section>\n<h2>{_e(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def _note(html: str) -> str:
    return f'<p class="note">{html}</p>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[int] = ()) -> str:
    """A table; the columns numbered in `words` are text."""
    kinds = [' class="words"' if place in words else "" for place in range(len(head))]
    top = "".join(f"<th{kind}>{_e(cell)}</th>" for kind, cell in zip(kinds, head, strict=True))
    lines = ("".join(f"<td{kind}>{_e(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>\n<tr>{top}</tr>\n{body}\n</table></div>'


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _e(text: str) -> str:
    """Text as HTML, without control characters."""
    plain = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
    return escape(plain, quote=True)
