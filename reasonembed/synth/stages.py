"""The stages of a run, each a function: it streams its input, asks, and writes its file once, when it is finished.

What was answered before comes from the cache of the run, so a stage that was killed goes on where it stopped.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from reasonembed.dataset.label import sample_of
from reasonembed.dataset.leaks import LeakFinder, read_test_set
from reasonembed.dataset.samples import sample_row
from reasonembed.errors import DataError
from reasonembed.io.manifest import fingerprint
from reasonembed.llm.client import Llm
from reasonembed.progress import progress_bar
from reasonembed.synth.annotate import Pair, Unjudged, annotate_pairs
from reasonembed.synth.asking import Lost
from reasonembed.synth.checks import normalised
from reasonembed.synth.config import AnnotateConfig
from reasonembed.synth.folder import Run, StageReport
from reasonembed.synth.mine import mine_candidates
from reasonembed.synth.queries import orders, written
from reasonembed.synth.reasoning import analysed
from reasonembed.synth.settings import instruction_of, settings_of, writing_of
from reasonembed.synth.sources import draw_sources
from reasonembed.synth.work import Work
from reasonembed.types import SynthQuery, TrainingSample

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder


def write_sources(run: Run, llm: Llm | None = None, *, progress: bool = False) -> StageReport:
    """Stage `sources`: copy the corpus, draw documents (see `synth.sources`).

    Args:
        run: The run.
        llm: Judges the domain, where one is set.
        progress: Show bars.
    """
    run.store_corpus()
    work = Work(run, "sources", llm)
    documents, ids = run.documents, []
    drawn = draw_sources(
        documents,
        run.config.sources,
        seed=run.config.seed,
        llm=work.llm if run.config.sources.domain else None,
        losses=work.losses,
        progress=progress,
    )
    for identifier, lost in drawn:
        if lost is None:
            ids.append(identifier)
        else:
            work.lose(identifier, lost)
    if not ids:
        raise DataError(
            f"none of {len(documents):,} documents can be a source: {dict(work.losses)}", fix="widen `sources`"
        )
    work.counts["documents"] = len(documents)
    rows = ({"id": identifier} for identifier in sorted(ids, key=documents.place_of))
    return work.finish(rows, settings_of(run, "sources", llm=llm))


def write_queries(run: Run, llm: Llm, *, progress: bool = False) -> StageReport:
    """Stage `queries`: have queries written from the sources; of equal ones the first is kept (see `synth.queries`)."""
    config = run.config
    work = Work(run, "queries", llm)
    n_sources = sum(1 for _ in run.sources())
    wanted = orders(
        map(run.documents.get, run.sources()),
        config.queries,
        per_document=config.sources.per_document,
        seed=config.seed,
    )
    total = n_sources * config.sources.per_document
    work.counts.update({"sources": n_sources, "asked": total})
    seen: set[str] = set()

    def rows() -> Iterator[Mapping[str, Any]]:
        for order, query in written(
            work.llm, wanted, config.queries, writing_of(config), total=total, progress=progress
        ):
            if isinstance(query, Lost):
                work.lose(order.id, query)
            elif (same := fingerprint([normalised(query.text)])) in seen:
                work.lose(order.id, Lost("equal query", query.text[:200]))
            else:
                seen.add(same)
                yield asdict(query)

    return work.finish(rows(), settings_of(run, "queries", llm=llm))


def mine(run: Run, *, embedder: Embedder | None = None, progress: bool = False) -> StageReport:
    """Stage `mine`: the candidates of each query (see `synth.mine`)."""
    config = run.config
    work = Work(run, "mine")
    mined = mine_candidates(
        run.documents, run.queries(), config.mine, instruction=instruction_of(config), embedder=embedder,
        total=_written(run, "queries"), described=work.details, progress=progress,
    )  # fmt: skip

    def rows() -> Iterator[Mapping[str, Any]]:
        for query, hits in mined:
            work.counts["candidates"] += len(hits)
            yield {"query": query.id, "candidates": [[hit.id, hit.score] for hit in hits]}

    return work.finish(rows(), settings_of(run, "mine", embedder=embedder))


def annotate(run: Run, llm: Llm, *, progress: bool = False) -> StageReport:
    """Stage `annotate`: have pairs judged (see `synth.annotate`)."""
    config = run.config
    work = Work(run, "annotate", llm)
    extra: Counter[str] = Counter()

    def counted() -> Iterator[Pair]:
        for pair in pairs_of(run):
            work.counts["pairs"] += 1
            yield pair

    judged = annotate_pairs(
        work.llm, counted(), settings=config.annotate.settings(config.seed),
        relevance=writing_of(config).relevance, counts=extra, progress=progress,
    )  # fmt: skip

    def rows() -> Iterator[Mapping[str, Any]]:
        for outcome in judged:
            if isinstance(outcome, Unjudged):
                work.lose(f"{outcome.query} {outcome.document}", Lost(outcome.reason, outcome.detail))
            else:
                yield asdict(outcome)
        work.details |= {"answers": dict(extra)}

    return work.finish(rows(), settings_of(run, "annotate", llm=llm))


def write_reasonings(run: Run, llm: Llm, *, progress: bool = False) -> StageReport:
    """Stage `reasoning`: have the queries analysed that become a sample (see `synth.reasoning`)."""
    config = run.config
    work = Work(run, "reasoning", llm)
    queries = (query for query, sample in _labelled(run) if isinstance(sample, TrainingSample))

    def rows() -> Iterator[Mapping[str, Any]]:
        for query, analysis in analysed(work.llm, queries, config.reasoning, writing_of(config), progress=progress):
            work.counts["asked"] += 1
            if isinstance(analysis, Lost):
                work.lose(query.id, analysis)
            else:
                yield {"query": query.id, "reasoning": analysis}

    return work.finish(rows(), settings_of(run, "reasoning", llm=llm))


def write_samples(run: Run, *, progress: bool = False) -> StageReport:
    """Stage `samples`: label the judged pairs, drop what leaks from a test set (see `dataset.label`, `dataset.leaks`)."""
    work = Work(run, "samples")
    reasonings = run.reasonings()
    following = next(reasonings, None)

    def rows() -> Iterator[Mapping[str, Any]]:
        nonlocal following
        for query, sample in _labelled(run):
            work.counts["queries"] += 1
            tick(1)
            if isinstance(sample, Lost):
                work.lose(query.id, sample)
                continue
            if following is not None and following[0] == query.id:
                sample = replace(sample, reasoning_query=following[1])
                following = next(reasonings, None)
            work.counts["positives"] += len(sample.pos)
            work.counts["negatives"] += len(sample.neg)
            work.counts["with reasoning"] += sample.reasoning_query is not None
            yield sample_row(sample)

    with progress_bar("samples", _written(run, "queries"), unit="queries", show=progress) as tick:
        return work.finish(rows(), settings_of(run, "samples"))


def pairs_of(run: Run) -> Iterator[Pair]:
    """The pairs that are judged: of each query the first `annotate.top` candidates, and `spread` others drawn by seed."""
    config = run.config
    for query, (identifier, candidates) in zip(run.queries(), run.candidates(), strict=True):
        if query.id != identifier:
            raise DataError(
                f"candidates of {identifier!r} where {query.id!r} is due", path=run.path("mine"), fix="run `mine` again"
            )
        for rank in _ranks(len(candidates), config.annotate, f"{config.seed} candidates {query.id}"):
            yield query, run.documents.get(candidates[rank - 1][0]), rank


def _written(run: Run, stage: str) -> int | None:
    """Records of a finished stage."""
    report = run.report(stage)
    return None if report is None else report.counts["written"]


def _ranks(found: int, config: AnnotateConfig, seed: str) -> list[int]:
    """Ranks that are judged, from 1, ascending."""
    top = found if config.top is None else min(config.top, found)
    below = range(top + 1, found + 1)
    spread = random.Random(seed).sample(below, min(config.spread, len(below)))
    return [*range(1, top + 1), *sorted(spread)]


def _labelled(run: Run) -> Iterator[tuple[SynthQuery, TrainingSample | Lost]]:
    """Every query with its sample, or why there is none."""
    config = run.config
    leaks = LeakFinder([read_test_set(place) for place in config.samples.leaks])
    judged = itertools.groupby(run.annotations(), key=lambda annotation: annotation.query)
    following = next(judged, None)

    def text_of(identifier: str) -> str:
        return run.documents.get(identifier).content

    for query in run.queries():
        own = following[1] if following is not None and following[0] == query.id else ()
        sample = sample_of(query, own, text_of, limits=config.samples.limits(), prompt=instruction_of(config))
        if following is not None and following[0] == query.id:
            following = next(judged, None)
        leak = None if isinstance(sample, str) else leaks.query_leak(query.text)
        if isinstance(sample, str):
            yield query, Lost(sample)
        elif leak is not None:
            yield query, Lost(f"leak ({leak.kind})", f"{leak.test.place}: {leak.test.text[:200]}")
        else:
            yield query, sample
    if following is not None:
        raise DataError(
            f"annotations of {following[0]!r}, which is no query", path=run.path("annotate"), fix="run `annotate` again"
        )
