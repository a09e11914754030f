"""The proof of `reasonembed adapt` on textbooks: books as folders of Markdown, and their own exercises as the judge.

    python scripts/adapt_openstax.py write DATA/openstax OUT --books astronomy microbiology
    reasonembed adapt OUT/astronomy OUT/microbiology -o RUN --llm model.gguf --kind exam --hours 2
    python scripts/adapt_openstax.py judge DATA/openstax RUN

or, without a language model at hand, with the questions of `data/written/books.jsonl.gz` as the user's own pairs:

    python scripts/adapt_openstax.py pairs OUT/pairs.csv
    reasonembed adapt OUT/astronomy OUT/microbiology -o RUN --pairs OUT/pairs.csv --hours 1

`write` makes a file `OUT/BOOK/MODULE.md` a module, its sections as headings. `pairs` names each question's file, as a user would.
`judge` searches every exercise of the books of a finished run (written by people, seen by nobody in the run) among all its passages
with the starting model, the tuned model, either with documents expanded by all questions of the run, and BM25: module hit@1 and
hit@10, the share of exercises with a passage of their own module among the first 1 and 10; paired with the start by permutation test.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from dev_sets import rows

from reasonembed.adaptation.expanding import all_questions
from reasonembed.adaptation.split import document_of
from reasonembed.encode.cache import cached_encode
from reasonembed.encode.embedder import Embedder
from reasonembed.evaluation.significance import compare_queries
from reasonembed.io.atomic import atomic_write
from reasonembed.io.documents import read_documents
from reasonembed.io.manifest import read_json, write_json
from reasonembed.search.bm25 import BM25Searcher
from reasonembed.search.exact import ExactSearcher
from reasonembed.search.expansion import Question, expanded, match_questions
from reasonembed.types import Document, Hit

DEPTHS = (1, 10)
WRITTEN = Path(__file__).parents[1] / "data/written/books.jsonl.gz"


def write(data: Path, out: Path, books: list[str]) -> None:
    """Modules as Markdown files; a passage's title is `MODULE TITLE - SECTION`."""
    modules = defaultdict(list)
    for row in rows(data / "passages.jsonl.gz"):
        if row["book"] in books:
            modules[row["module"]].append(row)
    _check_books(books, {module.partition("/")[0] for module in modules})
    for module, passages in modules.items():
        lines, before = [f"# {passages[0]['title'].partition(' - ')[0]}"], ""
        for row in passages:
            section = row["title"].partition(" - ")[2]
            lines += [f"## {section}"] * (section not in ("", before)) + [row["text"]]
            before = section
        path = out / f"{module}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write("\n\n".join(lines) + "\n")  # type: ignore[call-overload]
    print(f"{len(modules):,} files of {', '.join(books)} in {out}")


def pairs(out: Path, books: list[str]) -> None:
    """Questions that were written for passages, each with the file of its module."""
    asked = [row for row in rows(WRITTEN) if row["source"].partition("/")[0] in books]
    _check_books(books, {row["source"].partition("/")[0] for row in asked})
    with atomic_write(out) as file:
        lines = csv.writer(file)  # type: ignore[arg-type]
        lines.writerow(("query", "document"))
        lines.writerows((row["query"], f"{row['source'].rpartition('/')[0]}.md") for row in asked)
    print(f"{len(asked):,} questions in {out}")


def _check_books(told: Iterable[str], found: Collection[str]) -> None:
    """Refuse a book of which there is nothing."""
    if missing := sorted(set(told) - set(found)):
        raise SystemExit(f"no such book: {', '.join(missing)}")


def judge(data: Path, run: Path) -> None:
    """A table of the systems; stored as `exercises.json` in the run."""
    documents = list(read_documents([run / "corpus.jsonl"]))
    modules = [Path(document_of(document.id)).stem for document in documents]
    asked = [row for row in rows(data / "exercises.jsonl.gz") if row["module"].partition("/")[2] in set(modules)]
    queries, of = [row["text"] for row in asked], dict(zip((one.id for one in documents), modules, strict=True))
    models = {"start": read_json(run / "manifest.json")["result"]["start"], "tuned": str(run / "training/model")}
    hits = {}
    for name, place in models.items():
        hits |= _dense(name, Embedder(place, engine="torch"), documents, queries, all_questions(run))
    words = BM25Searcher()
    words.add(list(of), [document.content for document in documents])
    hits["BM25"] = words.search(queries, max(DEPTHS))
    found = {
        name: {depth: _hit(lists, asked, of, depth) for depth in DEPTHS} for name, lists in hits.items()
    }  # name -> depth -> (n,)
    print(f"{len(asked):,} exercises, {len(documents):,} passages of {len(set(modules)):,} modules")
    kept: dict[str, object] = {}
    for name, by_depth in found.items():
        kept[name] = {f"hit@{depth}": float(values.mean()) for depth, values in by_depth.items()}
        said = [f"hit@{depth} {100 * values.mean():.2f}" for depth, values in by_depth.items()]
        if name not in ("start", "BM25"):
            for depth, values in by_depth.items():
                p = compare_queries(values.astype(float), found["start"][depth].astype(float)).p_permutation
                said.append(f"p hit@{depth} {p:.4f}")
                kept[f"p hit@{depth} {name}"] = p
        print(f"{name:16}", "  ".join(said))
    write_json(run / "exercises.json", kept)


def _dense(
    name: str, embedder: Embedder, documents: list[Document], queries: list[str], questions: list[Question]
) -> dict[str, list[list[Hit]]]:
    """Hits of a model, with plain and with expanded documents."""
    ids, length = [document.id for document in documents], embedder.checkpoint.document_max_length
    contents = [document.content for document in documents]  # with the run's own length: their vectors are in the cache
    vectors = {name: cached_encode(embedder, contents, kind="document", max_length=length, progress=True)}
    matched = match_questions(questions, ids)
    texts = [question.text for question in matched.questions]
    print(f"{len(texts):,} questions of {len(set(matched.owners.tolist())):,} passages")
    asked = cached_encode(embedder, texts, kind="query")
    vectors[f"{name}, expanded"] = expanded(vectors[name], asked, matched.owners)
    searched, hits = embedder.encode_queries(queries), {}
    for system, of_system in vectors.items():
        searcher = ExactSearcher()
        searcher.add(ids, of_system)
        hits[system] = searcher.search(searched, max(DEPTHS))
    return hits


def _hit(lists: list[list[Hit]], asked: list[dict[str, str]], of: dict[str, str], depth: int) -> np.ndarray:
    """Whether an exercise's module is among the first, (n,)."""
    return np.array([
        row["module"].partition("/")[2] in {of[hit.id] for hit in found[:depth]}
        for row, found in zip(asked, lists, strict=True)
    ])  # fmt: skip


def main() -> None:
    """Write the books, their pairs, or judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for what, place in (("write", "folder for the books"), ("pairs", "CSV to write"), ("judge", "finished run")):
        command = commands.add_parser(what)
        if what != "pairs":
            command.add_argument("data", type=Path, help="openstax of the shared data")
        command.add_argument("place", type=Path, help=place)
        if what != "judge":
            command.add_argument("--books", nargs="+", default=["astronomy", "microbiology"])
    arguments = parser.parse_args()
    if arguments.what == "write":
        write(arguments.data, arguments.place, arguments.books)
    elif arguments.what == "pairs":
        pairs(arguments.place, arguments.books)
    else:
        judge(arguments.data, arguments.place)


if __name__ == "__main__":
    main()
