"""Which passages are held out, by document: train, dev or test by a hash of seed and document, so that a new document moves no other.

Gets passages with the ids of an index (`KEY#PLACE` of a chunk, a record's own), gives the part of each, and writes BEIR folders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from reasonembed.io.atomic import atomic_folder, atomic_write
from reasonembed.io.jsonl import write_jsonl
from reasonembed.io.manifest import fingerprint
from reasonembed.types import Document

Part = Literal["train", "dev", "test"]

FEWEST_DOCUMENTS = 20
"""Documents below which blocks of their passages are held out instead: whole documents would be too coarse a share."""
BLOCK = 10
"""Passages of a block; neighbours speak of one thing, so single passages would leak into each other."""
_TENTHS: tuple[Part, Part] = ("test", "dev")


def document_of(passage: str) -> str:
    """The document that a passage is of: what stands before the last `#` of its id; a record without one is its own.

    >>> document_of("book/c#/ch1.md#L12"), document_of("d7")
    ('book/c#/ch1.md', 'd7')
    """
    return passage.rpartition("#")[0] or passage


def parts_of(passages: Sequence[str], *, seed: int) -> list[Part]:
    """The part of each passage: of ten units (documents, or blocks where there are few) about one is test and one is dev.

    Args:
        passages: Ids, in the order of the corpus.
        seed: Of the hash.

    Returns:
        One part a passage, in order.
    """
    documents = [document_of(passage) for passage in passages]
    if len(set(documents)) >= FEWEST_DOCUMENTS:
        return [_part(document, seed) for document in documents]
    seen: Counter[str] = Counter()
    parts = []
    for document in documents:
        parts.append(_part(f"{document}#block {seen[document] // BLOCK}", seed))
        seen[document] += 1
    return parts


def _part(unit: str, seed: int) -> Part:
    tenth = int(fingerprint([str(seed), unit])[:8], 16) % 10
    return _TENTHS[tenth] if tenth < len(_TENTHS) else "train"


def pooled(relevant: Iterable[str], rankings: Sequence[Sequence[str]], most: int) -> set[str]:
    """Passages that stand for a large corpus: all relevant ones, then what any question has at rank 1, at rank 2, and so on.

    Args:
        relevant: Passages that are an answer to a question.
        rankings: Passages as a retriever ranks them for a question, best first.
        most: Passages, as far as the relevant ones allow.

    >>> sorted(pooled(["a"], [["a", "b", "c"], ["d", "e"]], 3))
    ['a', 'b', 'd']
    """
    chosen = set(relevant)
    for ranked in zip_longest(*rankings):
        for passage in ranked:
            if len(chosen) >= most:
                return chosen
            if passage is not None:
                chosen.add(passage)
    return chosen


def write_beir(
    folder: Path, documents: Iterable[Document], queries: Mapping[str, tuple[str, Sequence[str]]], *, split: str
) -> None:
    """Write a task in BEIR's layout, whole or not at all; it replaces what is there.

    Args:
        folder: Of the task.
        documents: Its corpus.
        queries: Query id -> (text, ids of its relevant documents).
        split: Name of its judgements.

    Raises:
        StorageError: It could not be written whole.
    """
    with atomic_folder(folder) as fresh:
        rows = ({"_id": document.id, "title": document.title, "text": document.text} for document in documents)
        write_jsonl(fresh / "corpus.jsonl", rows)
        write_jsonl(fresh / "queries.jsonl", ({"_id": key, "text": text} for key, (text, _) in queries.items()))
        with atomic_write(fresh / "qrels" / f"{split}.tsv") as file:
            file.write("query-id\tcorpus-id\tscore\n")  # type: ignore[call-overload]
            for key, (_, relevant) in queries.items():
                for document in relevant:
                    file.write(f"{key}\t{document}\t1\n")  # type: ignore[call-overload]


def document_row(document: Document) -> dict[str, Any]:
    """A document as a line of `corpus.jsonl`."""
    return {"id": document.id, "title": document.title, "text": document.text}
