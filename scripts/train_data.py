"""Training samples out of the ready pairs of the shared data, with hard negatives mined, and nothing of a test set.

    python scripts/train_data.py DATA -o OUT

Writes `stacks.jsonl.gz`, `strategyqa_facts.jsonl.gz`, `scifact.jsonl.gz` and `manifest.json` (counts, and what was dropped and why).
The rules, from DATA/README.md and stricter where it leaves a choice:

- Training queries are those of `stacks`' training chapters, of `strategyqa_facts` train, of `scifact` train.
- A query that is equal or nearly equal to, or within, a query of a test or dev set (theoremqa, stacks test, scifact test, BRIGHT's,
  strategyqa_facts dev) is dropped (`dataset.leaks`, queries against queries).
- `stacks`: every statement of a test chapter is itself a test query or stands beside one, so no document of a test chapter is a
  positive or a negative, and neither is a document of a training chapter that nearly repeats a test query. Positives there are
  left out; a query with no other is dropped. Statements of training chapters that a test proof uses stay: they are for training.
- `scifact`: test and training claims are often written in pairs on one abstract, one the contrary of the other, which no
  similarity of words finds; so an abstract that is relevant to a test claim is no training text.
- `strategyqa_facts`: a fact that is relevant to a dev question is no training text.

Negatives of a query: `--negatives` drawn by seed from ranks 5 to 60 of every miner (BM25, and the model that ships), all positives, the
query's own document, and what nearly repeats one of them left out before the ranks are counted. `reasoning_query` is the query with its
proof (stacks) or with the facts that answer it (strategyqa_facts); scifact has none.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from reasonembed import BM25Searcher, Embedder, ExactSearcher
from reasonembed.dataset.leaks import HeldOut, HeldOutSet, LeakFinder
from reasonembed.dataset.negatives import NO_NEGATIVE, RANKS, KnownQuery, with_negatives
from reasonembed.dataset.samples import write_samples
from reasonembed.encode.cache import cached_encode
from reasonembed.io.beir import read_beir
from reasonembed.io.jsonl import read_jsonl
from reasonembed.io.manifest import now, versions, write_json
from reasonembed.io.rows import find_file
from reasonembed.search.views import DenseView, View
from reasonembed.types import Document, RetrievalTask, TrainingSample

logger = logging.getLogger("train_data")

NEGATIVES = 30
SEED = 0
MINERS = ("bm25", "default")


@dataclass(frozen=True)
class Source:
    """Training pairs of one dataset before mining.

    Attributes:
        name: Of the dataset.
        documents: Those that may be training texts.
        queries: With their positives, and what else must not be a negative.
        counts: What there was, what was dropped and why.
    """

    name: str
    documents: tuple[Document, ...]
    queries: list[KnownQuery]
    counts: dict[str, Any] = field(default_factory=dict)


def is_test(identifier: str) -> bool:
    """Whether a statement of stacks belongs to a test chapter (DATA/README.md)."""
    chapter = identifier.split("-", 1)[0]
    return int(hashlib.sha1(chapter.encode()).hexdigest(), 16) % 5 == 0


def held_out(data: Path) -> LeakFinder:
    """The queries of all test and dev sets in the shared data."""
    places = [
        ("theoremqa test", data / "theoremqa/queries.jsonl.gz", lambda row: True),
        ("stacks test", data / "stacks/queries.jsonl.gz", lambda row: is_test(row["_id"])),
        ("scifact test", data / "scifact/queries.jsonl.gz", lambda row: row["split"] == "test"),
        ("strategyqa_facts dev", data / "strategyqa_facts/queries.jsonl.gz", lambda row: row["split"] == "dev"),
        ("bright_leetcode test", data / "bright_leetcode/examples.jsonl.gz", lambda row: True),
    ]
    places += [(f"bright {file.name}", file, lambda row: True) for file in sorted((data / "bright_examples").glob("*"))]
    return LeakFinder(HeldOutSet(tuple(_queries(name, path, keep))) for name, path, keep in places)


def _queries(name: str, path: Path, keep: Callable[[dict[str, Any]], bool]) -> Iterator[HeldOut]:
    for line, row in read_jsonl(path):
        if keep(row):
            yield HeldOut(f"{name}:{line}", row["query"] if "query" in row else row["text"])


def stacks(data: Path, finder: LeakFinder) -> Source:
    """Statements with what their proofs use; see the module."""
    folder = data / "stacks"
    task = read_beir(folder, split="all", keep=lambda key: not is_test(key), skip_empty=True)
    path = find_file(folder, "corpus") or folder
    proofs = {row["_id"]: row["proof"].strip() for _, row in read_jsonl(path) if not is_test(row["_id"])}
    reasons = {
        document.id: "in a test chapter" if is_test(document.id) else "nearly a test query"
        for document in task.documents
        if is_test(document.id) or finder.query_leak(document.text) is not None
    }
    reasoning = {query.id: f"{query.text}\n\nProof. {proofs[query.id]}" for query in task.queries if proofs[query.id]}
    return _source("stacks", task, finder, reasons, reasoning)


def strategyqa_facts(data: Path, finder: LeakFinder) -> Source:
    """Questions with the facts that answer them; see the module."""
    folder = data / "strategyqa_facts"
    task = read_beir(folder, split="train", skip_empty=True)
    reasons = _relevant_in(read_beir(folder, split="dev", skip_empty=True), "relevant to a dev query")
    texts = {document.id: document.content for document in task.documents}
    reasoning = {}
    for query in task.queries:
        facts = [texts[key] for key in _gold(task, query.id) if key not in reasons]
        reasoning[query.id] = "\n".join([query.text, "", *facts])
    return _source("strategyqa_facts", task, finder, reasons, reasoning)


def scifact(data: Path, finder: LeakFinder) -> Source:
    """Claims with the abstracts that speak of them; see the module."""
    folder = data / "scifact"
    reasons = _relevant_in(read_beir(folder, split="test", skip_empty=True), "relevant to a test query")
    return _source("scifact", read_beir(folder, split="train", skip_empty=True), finder, reasons, {})


def _relevant_in(task: RetrievalTask, reason: str) -> dict[str, str]:
    """Documents that are relevant in a task, and those with the same text."""
    wanted = {key for query in task.queries for key in _gold(task, query.id)}
    texts = {document.content for document in task.documents if document.id in wanted}
    return {document.id: reason for document in task.documents if document.content in texts}


def _gold(task: RetrievalTask, query: str) -> list[str]:
    return [key for key, grade in task.qrels.relevance[query].items() if grade > 0]


def _source(
    name: str, task: RetrievalTask, finder: LeakFinder, reasons: dict[str, str], reasoning: dict[str, str]
) -> Source:
    """The pairs of a task that may be trained on."""
    dropped: Counter[str] = Counter()
    positives, known = 0, []
    for query in task.queries:
        gold = _gold(task, query.id)
        pos = [key for key in gold if key not in reasons]
        if (leak := finder.query_leak(query.text)) is not None:
            dropped[f"{leak.kind} to a query of {leak.test.place.rsplit(':', 1)[0]}"] += 1
        elif not pos:
            dropped["no positive is a training text"] += 1
        else:
            positives += len(gold) - len(pos)
            never = (query.id, *gold, *task.excluded.get(query.id, ()))
            known.append(KnownQuery(query.text, tuple(pos), reasoning.get(query.id), never, f"{name} {query.id}"))
    counts = {
        "queries": len(task.queries), "documents": len(task.documents), "queries dropped": dict(sorted(dropped.items())),
        "positives dropped from other queries": positives, "documents left out": dict(Counter(reasons.values())),
    }  # fmt: skip
    return Source(name, tuple(one for one in task.documents if one.id not in reasons), known, counts)


def open_miners(names: Sequence[str], documents: Sequence[Document], described: dict[str, Any]) -> list[View]:
    """The miners over documents; `described` gets what each is."""
    ids, texts = [document.id for document in documents], [document.content for document in documents]
    views: list[View] = []
    for name in names:
        if name == "bm25":
            words = BM25Searcher()
            words.add(ids, texts)
            views.append(words)
            described[name] = words.describe()
            continue
        embedder = Embedder(None if name == "default" else name)
        searcher = ExactSearcher()
        searcher.add(ids, cached_encode(embedder, texts, kind="document", progress=True))
        views.append(DenseView(partial(cached_encode, embedder, kind="query"), searcher))
        described[name] = {**embedder.describe(), "fingerprint": embedder.fingerprint}
    return views


def counted(samples: Iterator[TrainingSample], totals: Counter[str]) -> Iterator[TrainingSample]:
    """The samples, counted as they pass."""
    for sample in samples:
        totals.update(samples=1, positives=len(sample.pos), negatives=len(sample.neg))
        totals["with_reasoning"] += sample.reasoning_query is not None
        yield sample


def main() -> None:
    """Write the three datasets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--miner", action="append", help="bm25, default or a model directory; again for more")
    parser.add_argument("--negatives", type=int, default=NEGATIVES)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    finder = held_out(arguments.data)
    manifest: dict[str, Any] = {
        "made": now(), "versions": versions(), "seed": arguments.seed, "ranks": RANKS, "negatives": arguments.negatives,
        "held_out_queries": len(finder), "miners": {}, "datasets": {},
    }  # fmt: skip
    for read in (stacks, strategyqa_facts, scifact):
        source = read(arguments.data, finder)
        views = open_miners(arguments.miner or MINERS, source.documents, manifest["miners"])
        unmined = Counter({NO_NEGATIVE: 0})
        samples = with_negatives(
            source.queries, source.documents, views, n=arguments.negatives, seed=arguments.seed, counts=unmined
        )
        totals = Counter(samples=0, positives=0, negatives=0, with_reasoning=0)
        write_samples(arguments.out / f"{source.name}.jsonl.gz", counted(samples, totals))
        source.counts["queries dropped"] |= unmined
        manifest["datasets"][source.name] = source.counts | totals
        logger.info("%s: %s", source.name, manifest["datasets"][source.name])
    write_json(arguments.out / "manifest.json", manifest)


if __name__ == "__main__":
    main()
