"""What a run has made, in figures: lengths drawn against lengths got, labels by rank, triviality, examples.

Gets a run directory, finished or not, and reads its files one line at a time; gives the figures that the report draws.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any, TypeAlias

from reasonembed.dataset.samples import dataset_name, read_samples, sample_files
from reasonembed.dataset.statistics import Spread, Statistics, spread, statistics
from reasonembed.synth.checks import HARD_LIMIT, count_words
from reasonembed.synth.documents import Documents
from reasonembed.synth.folder import CORPUS, STAGES, Run, StageReport
from reasonembed.synth.triviality import mean_reciprocal, overlap, source_ranks, word_searcher
from reasonembed.types import Annotation, SynthQuery

Judged: TypeAlias = dict[str, tuple[Annotation | None, Annotation | None]]
"""Query id -> its best positive and its first negative."""

SAMPLED = 500
"""Queries, evenly spaced, whose words are compared with their source and their positives."""
EXAMPLES = 6
RANKS = ((1, 1), (2, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, None))
"""Places among the candidates that are counted together."""


@dataclass(frozen=True, slots=True)
class LengthFinding:
    """Queries of one drawn length.

    Attributes:
        least: Words wanted at least.
        most: Words wanted at most; None is no limit.
        inside: How many are exactly within.
        words: Words a query.
        queries: How many there are.
    """

    least: int
    most: int | None
    inside: int
    words: Spread
    queries: int


@dataclass(frozen=True, slots=True)
class Triviality:
    """How far words alone lead.

    Attributes:
        queries: Compared.
        source: Share of a query's words that its source has, one value a query, in [0, 1].
        positive: The same with its best positive, for queries that have one.
        negative: The same with its first negative.
        ranks: Where BM25 ranks the source in the whole corpus, from 1; None is not among the first 100.
        reciprocal: Mean of 1 / rank.
    """

    queries: int
    source: tuple[float, ...]
    positive: tuple[float, ...]
    negative: tuple[float, ...]
    ranks: tuple[int | None, ...]
    reciprocal: float


@dataclass(frozen=True, slots=True)
class Example:
    """A query with the document it was written from and what the judge says of others.

    Attributes:
        query: With its drawn conditions.
        source: Text of its source.
        positive: Text and judgement of its best candidate.
        negative: Text and judgement of its first hard negative.
    """

    query: SynthQuery
    source: str
    positive: tuple[str, Annotation]
    negative: tuple[str, Annotation]


@dataclass(frozen=True, slots=True)
class Findings:
    """A run in figures; what has not been made is empty or None.

    Attributes:
        name: Of the run.
        config: Of the run, as plain values.
        stages: Reports of the stages that have finished.
        documents: In the corpus.
        queries: Number of queries.
        lengths: By drawn length, shortest first.
        levels: Education level -> queries.
        labels: Bucket of `RANKS` -> how many pairs got 1, 2, 3, 4, 5 (a half goes up).
        triviality: None without queries.
        samples: Dataset -> its statistics.
        examples: At most `EXAMPLES`.
    """

    name: str
    config: Mapping[str, Any]
    stages: tuple[StageReport, ...]
    documents: int
    queries: int
    lengths: tuple[LengthFinding, ...]
    levels: dict[str, int]
    labels: dict[str, tuple[int, ...]]
    triviality: Triviality | None
    samples: dict[str, Statistics]
    examples: tuple[Example, ...]


def find_out(run: Run) -> Findings:
    """Read a run and count.

    Memory: the words of the corpus for BM25, and `SAMPLED` queries; nothing that grows with the number of pairs.

    Args:
        run: Finished or not.

    Raises:
        DataError: A file in it is damaged.
    """
    documents = run.documents if (run.folder / CORPUS).is_dir() else None
    done = {stage for stage in STAGES if run.path(stage).is_file()}
    n, lengths, levels = _lengths(run.queries() if "queries" in done else iter(()))
    chosen = {query.id: query for query in _evenly(run.queries() if n else iter(()), n, SAMPLED)}
    if "reasoning" in done:
        for key, text in run.reasonings():
            if key in chosen:
                chosen[key] = replace(chosen[key], reasoning=text)
    labels, judged = _labels(run, chosen) if "annotate" in done else ({}, {})
    files = sample_files([run.path("samples").parent]) if "samples" in done else ()
    return Findings(
        name=run.config.name,
        config=run.config.model_dump(mode="json"),
        stages=tuple(report for stage in STAGES if (report := run.report(stage)) is not None),
        documents=len(documents) if documents else 0,
        queries=n,
        lengths=lengths,
        levels=levels,
        labels=labels,
        triviality=_triviality(documents, chosen, judged) if documents and chosen else None,
        samples={dataset_name(file): statistics(read_samples(file)) for file in files},
        examples=tuple(_examples(documents, chosen, judged)) if documents else (),
    )


def _lengths(queries: Iterator[SynthQuery]) -> tuple[int, tuple[LengthFinding, ...], dict[str, int]]:
    """Number of queries; words got by words drawn; number by level."""
    got: dict[tuple[int, int | None], list[int]] = {}
    levels: Counter[str] = Counter()
    for query in queries:
        least, most = query.length
        got.setdefault((least, None if most >= HARD_LIMIT else most), []).append(count_words(query.text))
        levels[query.level] += 1
    rows = []
    for band in sorted(got, key=lambda band: (band[0], band[1] or HARD_LIMIT)):
        words = got[band]
        inside = sum(band[0] <= n <= (band[1] or n) for n in words)
        if (made := spread(words)) is not None:
            rows.append(LengthFinding(*band, inside, made, len(words)))
    return levels.total(), tuple(rows), dict(sorted(levels.items()))


def _evenly(queries: Iterable[SynthQuery], count: int, wanted: int) -> Iterator[SynthQuery]:
    """At most `wanted` of `count` queries, evenly spaced."""
    places = {count * step // wanted for step in range(wanted)} if count > wanted else range(count)
    return (query for place, query in enumerate(queries) if place in places)


def bucket(rank: int) -> str:
    """The label of the bucket of `RANKS` that holds a rank."""
    least, most = next(pair for pair in RANKS if pair[1] is None or rank <= pair[1])
    return f"{least}" if least == most else f"> {least - 1}" if most is None else f"{least}–{most}"


def _labels(run: Run, chosen: Mapping[str, SynthQuery]) -> tuple[dict[str, tuple[int, ...]], Judged]:
    """Labels by bucket; and of the chosen queries the best positive and the first negative."""
    limits = run.config.samples.limits()
    counts: dict[str, Counter[int]] = {}
    judged: Judged = {}
    for key, group in itertools.groupby(run.annotations(), key=lambda item: item.query):
        annotations = sorted(group, key=lambda item: item.rank)
        for item in annotations:
            counts.setdefault(bucket(item.rank), Counter())[int(item.score + 0.5)] += 1
        if key in chosen:
            least, most = limits.of([item.score for item in annotations])
            best = max(annotations, key=lambda item: item.score)
            negative = next((item for item in annotations if item.score <= most), None)
            judged[key] = (best if best.score >= least else None, negative)
    order = [name for name in dict.fromkeys(bucket(most or least) for least, most in RANKS) if name in counts]
    return {name: tuple(counts[name][score] for score in range(1, 6)) for name in order}, judged


def _triviality(documents: Documents, chosen: Mapping[str, SynthQuery], judged: Judged) -> Triviality:
    queries = list(chosen.values())
    ranks = source_ranks(word_searcher(documents), [q.text for q in queries], [q.source for q in queries])
    found: dict[str, list[float]] = {"source": [], "positive": [], "negative": []}
    for query in queries:
        best, first = judged.get(query.id, (None, None))
        ids = {
            "source": query.source,
            "positive": best.document if best else "",
            "negative": first.document if first else "",
        }
        for name, document in ids.items():
            if document and (share := overlap(query.text, documents.get(document).content)) is not None:
                found[name].append(share)
    shares = {name: tuple(values) for name, values in found.items()}
    return Triviality(len(queries), **shares, ranks=tuple(ranks), reciprocal=mean_reciprocal(ranks))


def _examples(documents: Documents, chosen: Mapping[str, SynthQuery], judged: Judged) -> Iterator[Example]:
    whole = [key for key in chosen if all(judged.get(key, (None, None)))]
    for query in _evenly((chosen[key] for key in whole), len(whole), EXAMPLES):
        positive, negative = judged[query.id]
        if positive is not None and negative is not None:
            texts = [documents.get(item.document).content for item in (positive, negative)]
            source = documents.get(query.source).content
            yield Example(query, source, (texts[0], positive), (texts[1], negative))


def findings_dict(findings: Findings) -> dict[str, Any]:
    """The figures for `--json`: without examples and single values."""
    made = findings.triviality
    return {
        "documents": findings.documents,
        "queries": findings.queries,
        "stages": [asdict(report) for report in findings.stages],
        "lengths": [
            {"wanted": [row.least, row.most], "queries": row.queries, "inside": row.inside, "median": row.words.median}
            for row in findings.lengths
        ],
        "levels": findings.levels,
        "labels": findings.labels,
        "triviality": made
        and {
            "queries": made.queries,
            "source_overlap": mean(made.source),
            "positive_overlap": mean(made.positive),
            "negative_overlap": mean(made.negative),
            "bm25_reciprocal_rank_of_source": made.reciprocal,
        },
        "samples": {name: made.as_dict() for name, made in findings.samples.items()},
    }


def mean(values: Sequence[float]) -> float | None:
    """Plain mean; None of nothing."""
    return fmean(values) if values else None
