"""More training samples for the small model: textbook problems, PlanetMath's proofs and examples, LeetCode problems by technique.

    python scripts/mini_data.py DATA -o OUT --books BOOK... --planetmath planetmath/entries.jsonl.gz

Books are folders that `scripts/openstax_books.py` wrote, entries what `scripts/planetmath.py` wrote. Writes `books.jsonl.gz`,
`planetmath.jsonl.gz`, `leetcode.jsonl.gz`, `manifest.json`, and the dev set `books-dev/` (BEIR): the exercises of every tenth module,
whose passages are in no training sample; relevant are all passages of the module. What each dataset is:

- books: a problem and the passage it needs. In the text that is the passage it follows; at the end of a module it is the two passages
  of that module that are nearest to problem and solution together. No passage of the module is a negative.
- planetmath: a proof or an example with the statement it is of; a title with the text under it.
- leetcode: a problem and others solved by the same technique: of the problems that share tags, those whose explanations are nearest
  (at most three). By the rule of DATA/README.md no text is a query or a gold document of bright_leetcode, nor nearly one.

`reasoning_query` is the problem with its solution or explanation. No query nearly repeats a query of a test or dev set, and no passage
of books or planetmath nearly repeats a document of theoremqa (`dataset.leaks`).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from train_data import MINERS, SEED, Source, counted, held_out, open_miners

from reasonembed import Embedder
from reasonembed.dataset.leaks import HeldOut, HeldOutSet, LeakFinder
from reasonembed.dataset.negatives import NO_NEGATIVE, KnownQuery, with_negatives
from reasonembed.dataset.samples import write_samples
from reasonembed.encode.cache import cached_encode
from reasonembed.io.atomic import atomic_write
from reasonembed.io.jsonl import write_jsonl
from reasonembed.io.manifest import now, versions, write_json
from reasonembed.types import Document

logger = logging.getLogger("mini_data")

NEGATIVES = 8
"""A sample; training draws one or a few of them each epoch."""
PROBLEM_WORDS = (8, 200)
"""Drill without words ("solve x + 3 = 5") is left out, and what is longer than a query is."""
TEXT_WORDS = 250
STATEMENTS = {
    "Theorem",
    "Definition",
    "Result",
    "Algorithm",
    "Corollary",
    "Axiom",
    "Conjecture",
    "Feature",
    "Topic",
    "Derivation",
}
NEAREST = 0.85
"""Cosine of MiniLM from which a LeetCode problem is taken for a rewording of a test query; of rewordings known by id it finds all."""
LEAST_SHARED = 0.5
"""Share of the tags' information that problems of one technique have in common."""


def rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a .jsonl.gz file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def cut(text: str, words: int) -> str:
    """The first words of a text."""
    return " ".join(text.split()[:words])


def theorem_texts(data: Path) -> LeakFinder:
    """The documents of theoremqa, as texts that no passage may repeat."""
    found = (HeldOut(row["_id"], row["text"]) for row in rows(data / "theoremqa/corpus.jsonl.gz"))
    return LeakFinder([HeldOutSet(tuple(found))])


def is_dev(module: str) -> bool:
    """Whether a module of a book is for the dev set."""
    return int(hashlib.sha1(module.encode()).hexdigest(), 16) % 10 == 0


def books(folders: Sequence[Path], finder: LeakFinder, theorems: LeakFinder, embedder: Embedder, dev: Path) -> Source:
    """Problems with the passages they need; writes the dev set beside."""
    passages = [row for folder in folders for row in rows(folder / "passages.jsonl.gz")]
    exercises = [row for folder in folders for row in rows(folder / "exercises.jsonl.gz")]
    exercises = [row for row in exercises if PROBLEM_WORDS[0] <= len(row["text"].split()) <= PROBLEM_WORDS[1]]
    dropped: Counter[str] = Counter()
    of_module = defaultdict(list)
    for row in passages:
        if theorems.query_leak(row["text"]) is None:
            of_module[row["module"]].append(row)
        else:
            dropped["passage nearly of theoremqa"] += 1
    write_books_dev(passages, of_module, exercises, dev)
    train = [row for row in exercises if not is_dev(row["module"])]
    vectors = cached_encode(embedder, [content(row) for row in passages], kind="document", progress=True)
    place = {row["_id"]: number for number, row in enumerate(passages)}
    asked = cached_encode(
        embedder, [f"{row['text']} {cut(row['solution'], 150)}" for row in train], kind="document", progress=True
    )
    known, seen = [], set()
    for row, vector in zip(train, asked, strict=True):
        own = [one["_id"] for one in of_module[row["module"]]]
        if row["text"] in seen or not own:
            dropped["repeated, or nothing in its module"] += 1
        elif (leak := finder.query_leak(row["text"])) is not None:
            dropped[f"{leak.kind} to a query of {leak.test.place.rsplit(':', 1)[0]}"] += 1
        else:
            near = sorted(own, key=lambda key: -float(vectors[place[key]] @ vector))[:2]
            pos = (row["after"],) if row["after"] in own else tuple(near)
            reasoning = f"{row['text']}\n\nSolution. {row['solution']}" if len(row["solution"].split()) > 5 else None
            known.append(KnownQuery(row["text"], pos, reasoning, tuple(own), row["_id"]))
        seen.add(row["text"])
    documents = tuple(
        Document(row["_id"], row["text"], row["title"])
        for rs in of_module.values()
        for row in rs
        if not is_dev(row["module"])
    )
    return Source("books", documents, known, {"exercises": len(exercises), "dropped": dict(dropped)})


def content(row: dict[str, Any]) -> str:
    """A passage as it is embedded."""
    return f"{row['title']} {row['text']}"


def write_books_dev(
    passages: Sequence[dict[str, Any]],
    of_module: dict[str, list[dict[str, Any]]],
    exercises: Sequence[dict[str, Any]],
    out: Path,
) -> None:
    """The dev set."""
    asked = [row for row in exercises if is_dev(row["module"]) and of_module[row["module"]]]
    (out / "qrels").mkdir(parents=True, exist_ok=True)
    write_jsonl(out / "corpus.jsonl", ({key: row[key] for key in ("_id", "title", "text")} for row in passages))
    write_jsonl(out / "queries.jsonl", ({key: row[key] for key in ("_id", "text")} for row in asked))
    judged = [f"{row['_id']}\t{one['_id']}\t1\n" for row in asked for one in of_module[row["module"]]]
    with atomic_write(out / "qrels/dev.tsv") as file:
        file.write("".join(["query-id\tcorpus-id\tscore\n", *judged]))


def planetmath(path: Path, finder: LeakFinder, theorems: LeakFinder) -> Source:
    """Proofs and examples with their statements, titles with their texts."""
    entries = {row["_id"]: row for row in rows(path)}
    dropped: Counter[str] = Counter()
    usable = {}
    for key, row in entries.items():
        row["text"] = cut(row["text"], TEXT_WORDS)
        if theorems.query_leak(row["text"]) is not None:
            dropped["entry nearly of theoremqa"] += 1
        elif row["type"] in STATEMENTS and len(row["text"].split()) >= 15:
            usable[key] = row
    known = []
    for key, row in entries.items():
        if row["of"] in usable and finder.query_leak(row["text"]) is None:
            known.append(KnownQuery(cut(row["text"], 120), (row["of"],), None, (key,), key))
    documents = tuple(Document(key, row["text"], row["title"]) for key, row in usable.items())
    return Source("planetmath", documents, known, {"entries": len(entries), "dropped": dict(dropped)})


def leetcode(data: Path, finder: LeakFinder, embedder: Embedder) -> Source:
    """Problems with others of the same technique; see the module."""
    problems = [
        row for row in rows(data / "leetcode/problems.jsonl.gz") if row["problem"] and "Database" not in row["tags"]
    ]
    tests = rows(data / "bright_leetcode/examples.jsonl.gz")
    gold = {key for row in tests for key in row["gold_ids"]}
    texts = [row["problem"] for row in problems]
    vectors = cached_encode(embedder, texts, kind="document", progress=True)  # (n, d)
    asked = cached_encode(embedder, [row["query"] for row in tests], kind="document", progress=True)
    nearest = (vectors @ asked.T).max(axis=1)
    gold_vectors = vectors[[number for number, row in enumerate(problems) if row["id"] in gold]]
    near_gold = (vectors @ gold_vectors.T).max(axis=1)
    dropped: Counter[str] = Counter()
    kept = []
    for number, row in enumerate(problems):
        if row["id"] in gold or near_gold[number] >= 0.95:
            dropped["gold of a test query, or nearly"] += 1
        elif nearest[number] >= NEAREST or finder.query_leak(row["problem"]) is not None:
            dropped["nearly a test query"] += 1
        else:
            kept.append(number)
    problems = [problems[number] for number in kept]
    told = cached_encode(
        embedder,
        [cut(row["explanation"] or row["problem"], TEXT_WORDS) for row in problems],
        kind="document",
        progress=True,
    )
    known = []
    weights = information(row["tags"] for row in problems)
    for number, row in enumerate(problems):
        shared = np.array([overlap(row["tags"], other["tags"], weights) for other in problems])
        score = (
            (told @ told[number])
            * (shared >= LEAST_SHARED)
            * np.array([bool(other["explanation"]) for other in problems])
        )
        score[number] = 0
        best = [int(place) for place in np.argsort(-score)[:3] if score[place] >= 0.5]
        if row["explanation"] and best:
            alike = tuple(problems[int(place)]["id"] for place in np.flatnonzero(shared >= LEAST_SHARED))
            reasoning = f"{cut(row['problem'], 150)}\n\nSolution. {cut(row['explanation'], 200)}"
            pos = tuple(problems[place]["id"] for place in best)
            known.append(KnownQuery(cut(row["problem"], 200), pos, reasoning, (row["id"], *alike), row["id"]))
    documents = tuple(Document(row["id"], f"{row['problem']}\n\n{row['solution_python']}") for row in problems)
    return Source("leetcode", documents, known, {"problems": len(texts), "dropped": dict(dropped)})


def information(tags: Iterable[Sequence[str]]) -> dict[str, float]:
    """Tag -> -log of the share of problems that have it."""
    counts = Counter(tag for row in tags for tag in row)
    total = max(1, max(counts.values(), default=1) * 2)
    return {tag: math.log(total / n) for tag, n in counts.items()}


def overlap(mine: Sequence[str], theirs: Sequence[str], weights: dict[str, float]) -> float:
    """Weight of the tags in both over that of the tags in either."""
    both, either = set(mine) & set(theirs), set(mine) | set(theirs)
    return sum(weights[tag] for tag in both) / max(1e-9, sum(weights[tag] for tag in either))


def main() -> None:
    """Write the datasets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--books", type=Path, nargs="+", required=True)
    parser.add_argument("--planetmath", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    finder, theorems, embedder = held_out(arguments.data), theorem_texts(arguments.data), Embedder()
    manifest: dict[str, Any] = {"made": now(), "versions": versions(), "seed": SEED, "miners": {}, "datasets": {}}
    sources = (
        books(arguments.books, finder, theorems, embedder, arguments.out / "books-dev"),
        planetmath(arguments.planetmath, finder, theorems),
        leetcode(arguments.data, finder, embedder),
    )
    for source in sources:
        views = open_miners(MINERS, source.documents, manifest["miners"])
        unmined = Counter({NO_NEGATIVE: 0})
        samples = with_negatives(source.queries, source.documents, views, n=NEGATIVES, seed=SEED, counts=unmined)
        totals = Counter(samples=0, positives=0, negatives=0, with_reasoning=0)
        write_samples(arguments.out / f"{source.name}.jsonl.gz", counted(samples, totals))
        manifest["datasets"][source.name] = source.counts | totals | unmined
        logger.info("%s: %s", source.name, manifest["datasets"][source.name])
    write_json(arguments.out / "manifest.json", manifest)


if __name__ == "__main__":
    main()
