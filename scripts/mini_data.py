"""Dev sets and mined training samples of textbook problems, PlanetMath's proofs and examples, written questions.

The first small models were trained on the samples (docs/lab.md, 1 to 5); the one that ships is not. The dev sets are in use.

    python scripts/mini_data.py DATA -o OUT --books BOOK... [--pretext BOOK...] --planetmath planetmath/entries.jsonl.gz

Books are folders that `scripts/openstax_books.py` and `scripts/pretext_books.py` wrote, entries what `scripts/planetmath.py` wrote. Writes
`books.jsonl.gz`, `planetmath.jsonl.gz`, `openstax.jsonl.gz`, with `--pretext` `pretext.jsonl.gz`, `manifest.json`, and dev sets (BEIR):
`books-dev/` and `pretext-dev/`, exercises of every tenth module of the books, whose passages are in no training sample; `openstax-dev/`,
exercises of books that no training problem is from (`data/dev/` names those of books and openstax). Relevant are all passages of
an exercise's module. What each dataset is:

- books: a problem and the passage it needs. In the text that is the passage it follows; at the end of a module it is the two passages
  of that module that are nearest to problem and solution together. No passage of the module is a negative.
- pretext: the same of mathematics, where a solution that cites theorems or definitions has these as its passages.
- planetmath: a proof or an example with the statement it is of; a title with the text under it.
- openstax: the queries of `data/synth/openstax` with the passages they were written for.

`reasoning_query` is the problem with its solution. No query nearly repeats a query of a test or dev set, and no passage
of books or planetmath nearly repeats a document of theoremqa (`dataset.leaks`).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train_data import SEED, Source, counted, held_out, open_miners

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

NEGATIVES = {"books": 8, "pretext": 8, "planetmath": 8, "openstax": 30}
"""A sample; training draws one or a few of them each epoch."""
DEV = Path(__file__).parents[1] / "data/dev"
DEV_BOOKS = {"statistics", "psychology", "economics"}
SYNTH = Path(__file__).parents[1] / "data/synth/openstax/queries.jsonl.gz"
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


def books(
    name: str, folders: Sequence[Path], finder: LeakFinder, theorems: LeakFinder, embedder: Embedder, out: Path
) -> Source:
    """Problems with the passages they need; writes the dev set `OUT/NAME-dev` beside."""
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
    with_problems = {row["module"] for row in exercises if is_dev(row["module"])}
    ids = DEV / f"{name}.txt"
    chosen = (
        ids.read_text("utf-8").split() if ids.is_file() else [row["_id"] for row in exercises if is_dev(row["module"])]
    )
    write_dev([row for row in passages if row["module"] in with_problems], exercises, chosen, out / f"{name}-dev")
    train = [row for row in exercises if not is_dev(row["module"])]
    vectors = cached_encode(embedder, [content(row) for row in passages], kind="document", progress=True)
    place = {row["_id"]: number for number, row in enumerate(passages)}
    usable = {row["_id"] for rs in of_module.values() for row in rs if not is_dev(row["module"])}
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
            cited = tuple(key for key in row.get("cites", ()) if key in usable)
            pos = cited or ((row["after"],) if row["after"] in own else tuple(near))
            reasoning = f"{row['text']}\n\nSolution. {row['solution']}" if len(row["solution"].split()) > 5 else None
            known.append(KnownQuery(row["text"], pos, reasoning, tuple(own), row["_id"]))
        seen.add(row["text"])
    documents = tuple(
        Document(row["_id"], row["text"], row["title"])
        for rs in of_module.values()
        for row in rs
        if not is_dev(row["module"])
    )
    return Source(name, documents, known, {"exercises": len(exercises), "dropped": dict(dropped)})


def content(row: dict[str, Any]) -> str:
    """A passage as it is embedded."""
    return f"{row['title']} {row['text']}"


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


def openstax(data: Path, kept: Path) -> Source:
    """The queries that a language model wrote for passages of DATA/openstax, each with the passage it was written for."""
    passages = [Document(row["_id"], row["text"], row["title"]) for row in rows(data / "openstax/passages.jsonl.gz")]
    known = [KnownQuery(row["text"], (row["source"],), None, (), row["id"]) for row in rows(kept)]
    return Source("openstax", tuple(passages), known, {"queries": len(known)})


def write_dev(
    passages: Sequence[dict[str, Any]], exercises: Sequence[dict[str, Any]], ids: Sequence[str], out: Path
) -> None:
    """A dev set (BEIR): the named exercises among the given passages; relevant is what is of their module."""
    asked = {row["_id"]: row for row in exercises}
    chosen = [asked[key] for key in ids]
    of_module = defaultdict(list)
    for row in passages:
        of_module[row["module"]].append(row["_id"])
    (out / "qrels").mkdir(parents=True, exist_ok=True)
    write_jsonl(out / "corpus.jsonl", ({key: row[key] for key in ("_id", "title", "text")} for row in passages))
    write_jsonl(out / "queries.jsonl", ({key: row[key] for key in ("_id", "text")} for row in chosen))
    judged = [f"{row['_id']}\t{passage}\t1\n" for row in chosen for passage in of_module[row["module"]]]
    with atomic_write(out / "qrels/dev.tsv") as file:
        file.write("".join(["query-id\tcorpus-id\tscore\n", *judged]))


def write_openstax_dev(data: Path, out: Path) -> None:
    """The dev set of the books that no training problem is from."""
    exercises = rows(data / "openstax/exercises.jsonl.gz")
    passages = [row for row in rows(data / "openstax/passages.jsonl.gz") if row["module"].split("/")[0] in DEV_BOOKS]
    write_dev(passages, exercises, (DEV / "openstax.txt").read_text("utf-8").split(), out)


def main() -> None:
    """Write the datasets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--books", type=Path, nargs="+", required=True)
    parser.add_argument("--pretext", type=Path, nargs="*", default=[])
    parser.add_argument("--planetmath", type=Path, required=True)
    parser.add_argument(
        "--embedder", default="default", help="model directory that mines, beside BM25; default: what ships"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    miners = ("bm25", arguments.embedder)
    embedder = Embedder(None if arguments.embedder == "default" else arguments.embedder)
    finder, theorems = held_out(arguments.data), theorem_texts(arguments.data)
    manifest: dict[str, Any] = {"made": now(), "versions": versions(), "seed": SEED, "miners": {}, "datasets": {}}
    folders = {"books": arguments.books, "pretext": arguments.pretext}
    sources = (
        *(books(name, of, finder, theorems, embedder, arguments.out) for name, of in folders.items() if of),
        planetmath(arguments.planetmath, finder, theorems),
        openstax(arguments.data, SYNTH),
    )
    write_openstax_dev(arguments.data, arguments.out / "openstax-dev")
    for source in sources:
        views = open_miners(miners, source.documents, manifest["miners"])
        unmined = Counter({NO_NEGATIVE: 0})
        samples = with_negatives(
            source.queries, source.documents, views, n=NEGATIVES[source.name], seed=SEED, counts=unmined
        )
        totals = Counter(samples=0, positives=0, negatives=0, with_reasoning=0)
        write_samples(arguments.out / f"{source.name}.jsonl.gz", counted(samples, totals))
        manifest["datasets"][source.name] = source.counts | totals | unmined
        logger.info("%s: %s", source.name, manifest["datasets"][source.name])
    write_json(arguments.out / "manifest.json", manifest)


if __name__ == "__main__":
    main()
