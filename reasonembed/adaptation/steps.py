"""The first steps of an adaptation, to the training samples, each a function: it gets the `Job`, writes its files, gives what it counted.

A step may be called again after a kill in it: synthesis, training and index go on by themselves, the others write anew.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonembed.adaptation.budget import (
    DEV_PASSAGES,
    LEAST_SAMPLES,
    LEAST_TEST,
    SAMPLE,
    Rates,
    Sources,
    Wanted,
    batch_queries,
    rates_of,
)
from reasonembed.adaptation.config import DATASET, AdaptConfig, synthesis, with_sources
from reasonembed.adaptation.folder import Folder
from reasonembed.adaptation.split import Part, document_row, parts_of, pooled, write_beir
from reasonembed.errors import DataError
from reasonembed.io.documents import read_documents
from reasonembed.io.jsonl import read_jsonl, write_jsonl
from reasonembed.synth.checks import normalised
from reasonembed.synth.folder import Run
from reasonembed.types import Document, TrainingSample

if TYPE_CHECKING:
    from reasonembed.dataset.leaks import LeakFinder
    from reasonembed.dataset.negatives import KnownQuery
    from reasonembed.encode.embedder import Embedder
    from reasonembed.llm.client import Llm
    from reasonembed.search.expansion import Question
    from reasonembed.search.views import View
    from reasonembed.synth.config import SynthConfig

logger = logging.getLogger(__name__)

PARTS: tuple[Part, ...] = ("train", "dev", "test")
LEAST_DEPTH = 10
"""Ranks that are looked at for the pool of dev passages, where thousands of questions would fill it with fewer: nDCG@10 sees ten."""
NAMED = 20
"""Skipped pairs that are named in the manifest."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all steps work with.

    Attributes:
        folder: Of the run.
        docs: Files and folders of documents.
        config: What is wanted.
        start: The model that is tuned, by torch.
        progress: Show bars.
    """

    folder: Folder
    docs: tuple[Path, ...]
    config: AdaptConfig
    start: Embedder
    progress: bool

    @property
    def model(self) -> str:
        """Where the starting model lies."""
        return str(self.start.checkpoint.path)

    def synthesis(self) -> SynthConfig:
        """Over the training passages."""
        return synthesis(self.config, self.folder / "train.jsonl", miner=self.model)


# --- documents and pairs ------------------------------------------------------------------------------------------------------


def index_documents(job: Job) -> dict[str, Any]:
    """Read, cut and embed the documents with the starting model; `index/` and `corpus.jsonl`."""
    from reasonembed.search.index import open_index

    made = build(job, job.start)
    index = open_index(job.folder / "index")
    passages = write_jsonl(job.folder / "corpus.jsonl", map(document_row, index.texts()))
    embedded, seconds = made["run"]["passages_embedded"], made["run"]["seconds"]
    return {
        "files": made["files"], "passages": passages, "duplicates": made["n_duplicates"], "max_tokens": made["max_tokens"],
        "passage_seconds": seconds / embedded if embedded else 0.0,
    }  # fmt: skip


def build(
    job: Job, embedder: Embedder, *, max_tokens: int | None = None, questions: Sequence[Question] = ()
) -> dict[str, Any]:
    """Bring `index/` up to date, made by a model, its documents expanded by questions."""
    from reasonembed.search.index import build_index

    told = {"name_or_path": str(embedder.checkpoint.path.absolute()), "instruction": embedder.checkpoint.instruction}
    return build_index(
        job.docs, job.folder / "index", embedder, opened_with=told, max_tokens=max_tokens, questions=questions,
        progress=job.progress,
    )  # fmt: skip


def split(job: Job) -> dict[str, Any]:
    """Hold out dev and test documents: `train.jsonl`, `heldout/dev.jsonl`, `heldout/test.jsonl`.

    A training passage whose text is that of a held-out one is held out with it.
    """
    documents = list(read_documents([job.folder / "corpus.jsonl"]))
    parts = dict(zip((document.id for document in documents), _parts(documents, job.config.seed), strict=True))
    counts = Counter(parts.values())
    for part in PARTS:
        rows = (document_row(document) for document in documents if parts[document.id] == part)
        write_jsonl(_passages(job, part), rows)
    if missing := [part for part in PARTS if not counts[part]]:
        raise DataError(
            f"{len(documents):,} passages are too few: none fell to {' and '.join(missing)}",
            fix="more documents, or another seed in a new folder",
        )
    return {part: counts[part] for part in PARTS}


def _parts(documents: Sequence[Document], seed: int) -> list[Part]:
    parts = parts_of([document.id for document in documents], seed=seed)
    texts = [normalised(document.text) for document in documents]
    held = {text: part for text, part in zip(texts, parts, strict=True) if part != "train"}
    return [held.get(text, part) for text, part in zip(texts, parts, strict=True)]


def _passages(job: Job, part: Part) -> Path:
    """The passages of a part."""
    return job.folder / "train.jsonl" if part == "train" else job.folder / f"heldout/{part}.jsonl"


def resolve_pairs(job: Job) -> dict[str, Any]:
    """Find the documents of the user's pairs: `pairs.jsonl`; a question with a held-out document is held out."""
    from reasonembed.adaptation.pairs import read_pairs

    assert job.config.pairs is not None
    part_of = {document.id: part for part in PARTS for document in read_documents([_passages(job, part)])}
    documents = list(read_documents([job.folder / "corpus.jsonl"]))
    read = read_pairs(job.config.pairs, documents)
    counts: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for pair in read.pairs:
            parts = {part_of[document] for document in pair.documents}
            part = next(part for part in reversed(PARTS) if part in parts)
            counts[part] += 1
            yield {"query": pair.query, "documents": list(pair.documents), "part": part}

    write_jsonl(job.folder / "pairs.jsonl", rows())
    for skipped in read.skipped[:NAMED]:
        logger.warning("%s: %s", skipped.place, skipped.reason)
    named = [f"{skipped.place}: {skipped.reason}" for skipped in read.skipped[:NAMED]]
    return {**{part: counts[part] for part in PARTS}, "skipped": len(read.skipped), "named": named}


def pairs_of(run: Path, part: Part) -> list[tuple[str, tuple[str, ...]]]:
    """(question, ids of its documents) of the user's pairs of a part; none where the run has no pairs."""
    if not (run / "pairs.jsonl").is_file():
        return []
    rows = (row for _, row in read_jsonl(run / "pairs.jsonl"))
    return [(row["query"], tuple(row["documents"])) for row in rows if row["part"] == part]


# --- questions ----------------------------------------------------------------------------------------------------------------


def wanted_questions(job: Job) -> dict[str, Wanted]:
    """Dev and test questions that the language model is to write: what the user's pairs do not give."""
    wanted, passages = {"dev": job.config.dev_queries, "test": job.config.test_queries}, job.folder.steps["split"]
    return {
        part: Wanted(max(0, wanted[part] - len(pairs_of(job.folder.path, part))), passages[part]) for part in PARTS[1:]
    }


def measure_rates(job: Job, llm: Llm) -> Rates:
    """Run a small sample of the synthesis in `synth/`; its answers are used again."""
    from reasonembed.synth.estimate import estimate_run

    config = with_sources(job.synthesis(), None)
    stages = _stages(job)
    estimate = estimate_run(
        config, job.folder / "synth", sample=SAMPLE[job.config.labels], llm=llm, stages=stages, progress=job.progress
    )
    return rates_of(estimate)


def _stages(job: Job) -> tuple[str, ...]:
    """Of the synthesis over the training passages."""
    from reasonembed.synth.folder import STAGES

    return STAGES[:2] if job.config.labels == "source" else STAGES


def write_heldout(job: Job, llm: Llm, sources: Sources) -> dict[str, Any]:
    """Have questions written from held-out passages: the synthesis runs `heldout/dev` and `heldout/test`, first two stages."""
    from reasonembed.synth.run import synthesize

    counts = {}
    for part, n in (("dev", sources.dev), ("test", sources.test)):
        if not n:
            continue
        config = synthesis(job.config, job.folder / f"heldout/{part}.jsonl", miner=job.model)
        config = with_sources(config, n, times=sources.heldout_each)
        place = job.folder / f"heldout/{part}"
        run = synthesize(config, place, llm=llm, stages=("sources", "queries"), progress=job.progress)
        counts[part] = sum(1 for _ in run.queries())
    return {**counts, **_spent([job.folder / f"heldout/{part}" for part in counts])}


def write_tasks(job: Job, heldout: Sequence[str]) -> dict[str, Any]:
    """The BEIR folders `dev/` and `test/`; a synthetic question is answered by its source, the user's by their documents.

    Test questions are searched among all passages, dev questions among at most `DEV_PASSAGES`.

    Args:
        job: The job.
        heldout: Parts for which questions were written.

    Raises:
        DataError: There are too few test questions to show a gain.
    """
    counts: dict[str, int] = {}
    documents = list(read_documents([job.folder / "corpus.jsonl"]))
    for part in PARTS[1:]:
        queries = {f"pair-{number}": pair for number, pair in enumerate(pairs_of(job.folder.path, part), start=1)}
        if part in heldout:
            queries |= {
                query.id: (query.text, (query.source,)) for query in Run(job.folder / f"heldout/{part}").queries()
            }
        counts[part] = len(queries)
        among = _dev_documents(job, documents, queries) if part == "dev" else documents
        counts[f"{part} passages"] = len(among)
        if queries:
            write_beir(job.folder / part, among, queries, split=part)
    if counts["test"] < LEAST_TEST:
        raise DataError(
            f"too little data: {counts['test']} questions about held-out documents, {LEAST_TEST} are the fewest that can show a gain",
            fix="more documents or pairs, or a language model (--llm), in a new folder",
        )
    return counts


def _dev_documents(
    job: Job, documents: Sequence[Document], queries: Mapping[str, tuple[str, Sequence[str]]]
) -> Sequence[Document]:
    """All passages, or where they are many the answers and what BM25 and the starting model rank first, in corpus order."""
    if len(documents) <= DEV_PASSAGES or not queries:
        return documents
    texts = [text for text, _ in queries.values()]
    depth = max(LEAST_DEPTH, 4 * DEV_PASSAGES // len(texts))
    found = (view.search(texts, depth) for view in _views(job, documents))
    rankings = [[hit.id for hit in hits] for of_view in found for hits in of_view]
    chosen = pooled((one for _, relevant in queries.values() for one in relevant), rankings, DEV_PASSAGES)
    return [document for document in documents if document.id in chosen]


def synthesize_samples(job: Job, llm: Llm, sources: Sources) -> dict[str, Any]:
    """The synthesis run `synth/` over the training passages."""
    from reasonembed.synth.estimate import quiet
    from reasonembed.synth.report import write_report
    from reasonembed.synth.run import synthesize

    config = with_sources(job.synthesis(), sources.train, times=sources.each)
    with quiet("reasonembed.synth.run"):  # that the stages of the sample are made again is what is wanted here
        run = synthesize(config, job.folder / "synth", llm=llm, stages=_stages(job), progress=job.progress)
    write_report(run.folder)
    names = {"queries": "questions", "annotate": "judged", "samples": "samples"}
    counts = {name: _written(run, stage) for stage, name in names.items() if stage in _stages(job)}
    return {**counts, **_spent([run.folder])}


def _written(run: Run, stage: str) -> int:
    report = run.report(stage)
    return 0 if report is None else report.counts["written"]


def _spent(folders: Sequence[Path]) -> dict[str, int]:
    """Requests and tokens of synthesis runs."""
    from reasonembed.synth.folder import STAGES

    reports = [report for folder in folders for stage in STAGES if (report := Run(folder).report(stage)) is not None]
    names = ("requests", "prompt_tokens", "completion_tokens")
    return {name: sum(getattr(report, name) for report in reports) for name in names}


# --- samples ------------------------------------------------------------------------------------------------------------------


def write_data(job: Job) -> dict[str, Any]:
    """Training samples without what repeats a held-out question: `data/synth.jsonl`, `data/pairs.jsonl`.

    Raises:
        DataError: There are too few samples to train on.
    """
    from reasonembed.dataset.leaks import LeakFinder, read_test_set
    from reasonembed.dataset.samples import write_samples

    files = [job.folder / part / "queries.jsonl" for part in PARTS[1:]]
    leaks = LeakFinder([read_test_set(file) for file in files if file.is_file()])
    counts: Counter[str] = Counter()
    made = {DATASET: _synthesised(job, counts), "pairs": _from_pairs(job, counts)}
    reasoned = 0
    for name, samples in made.items():
        kept = [sample for sample in samples if not _leaks(sample, leaks, counts)]
        counts[name] = write_samples(job.folder / f"data/{name}.jsonl", kept)
        reasoned += sum(sample.reasoning_query is not None for sample in kept)
    if not any(batch_queries(counts[name]) for name in made):
        raise DataError(
            f"too little data: {sum(counts[name] for name in made)} training samples, {LEAST_SAMPLES} are the fewest",
            fix="more documents, more pairs, or a larger budget or a better language model, in a new folder; until then search "
            f"{job.folder / 'index'}, which the starting model made",
        )  # fmt: skip
    return {**counts, "with reasoning": reasoned}


def _leaks(sample: TrainingSample, leaks: LeakFinder, counts: Counter[str]) -> bool:
    leak = leaks.query_leak(sample.query)
    counts["left out: like a held-out question"] += leak is not None
    return leak is not None


def _synthesised(job: Job, counts: Counter[str]) -> Iterator[TrainingSample]:
    """The written questions with their sources, or the judged samples with the model's own instruction."""
    from reasonembed.dataset.negatives import KnownQuery
    from reasonembed.dataset.samples import read_samples

    place = job.folder / "synth"
    if not (place / "manifest.json").is_file():
        return
    run = Run(place)
    if job.config.labels == "judged":
        yield from (replace(sample, prompt=None) for sample in read_samples(run.path("samples")))
    else:
        known = [KnownQuery(query.text, (query.source,), key=query.id) for query in run.queries()]
        yield from _with_negatives(job, known, counts)


def _from_pairs(job: Job, counts: Counter[str]) -> Iterator[TrainingSample]:
    """The user's training pairs."""
    from reasonembed.dataset.negatives import KnownQuery

    pairs = [KnownQuery(query, documents) for query, documents in pairs_of(job.folder.path, "train")]
    yield from _with_negatives(job, pairs, counts)


def _with_negatives(job: Job, known: Sequence[KnownQuery], counts: Counter[str]) -> Iterator[TrainingSample]:
    """Training samples with hard negatives of the starting model and BM25."""
    from reasonembed.dataset.negatives import with_negatives

    if known:
        documents = list(read_documents([_passages(job, "train")]))
        yield from with_negatives(known, documents, _views(job, documents), seed=job.config.seed, counts=counts)


def _views(job: Job, documents: Sequence[Document]) -> list[View]:
    """BM25 and the starting model over some documents; the vectors are those that `scores/before` was made with, from the cache."""
    from reasonembed.encode.cache import cached_encode
    from reasonembed.search.bm25 import BM25Searcher
    from reasonembed.search.exact import ExactSearcher
    from reasonembed.search.views import DenseView

    ids, contents = [document.id for document in documents], [document.content for document in documents]
    words, vectors = BM25Searcher(), ExactSearcher()
    words.add(ids, contents)
    corpus = list(read_documents([job.folder / "corpus.jsonl"]))
    length = job.start.checkpoint.document_max_length
    embedded = cached_encode(
        job.start, [one.content for one in corpus], kind="document", max_length=length, progress=job.progress
    )  # (n, dim)
    place = {one.id: row for row, one in enumerate(corpus)}
    vectors.add(ids, embedded[[place[one] for one in ids]])
    return [words, DenseView(lambda queries: job.start.encode_queries(list(queries)), vectors)]
