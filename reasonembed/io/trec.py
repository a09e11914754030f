"""TREC's text formats: runs (`query Q0 document rank score tag`) and judgements (`query 0 document grade`).

Columns are separated by blanks, or by tabs where an id contains a blank (BRIGHT's do); both are read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from pathlib import Path

from reasonembed.errors import DataError
from reasonembed.io.atomic import atomic_write
from reasonembed.io.jsonl import read_lines
from reasonembed.types import Hit, Qrels, Run


def write_run(path: Path | str, run: Run) -> None:
    """Write a run; reading it gives the same scores, float32 ones to float32. No hits, no line.

    Raises:
        DataError: An id contains a tab or a line end.
        StorageError: The file could not be written whole.
    """
    rows = (
        (query, "Q0", hit.id, str(rank), _score(hit.score), run.name)
        for query, hits in run.hits.items()
        for rank, hit in enumerate(hits, start=1)
    )
    _write(path, rows, {run.name, *run.hits, *(hit.id for hits in run.hits.values() for hit in hits)})


def read_run(path: Path | str) -> Run:
    """Read a run; hits are ordered by score, best first, then by rank.

    Raises:
        DataError: A line has not six columns, its rank or score is no number, or a document occurs twice for
            a query.
    """
    name = Path(path).stem
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for line, cells in _cells(path, 6):
        query, _, document, rank, score, name = cells
        hits = found.setdefault(query, {})
        if document in hits:
            raise DataError(f"document {document!r} occurs twice for query {query!r}", path=path, line=line)
        try:
            hits[document] = (float(score), int(rank))
        except ValueError:
            problem = f"rank {rank!r} or score {score!r} is no number"
            raise DataError(problem, path=path, line=line, fix="query Q0 document rank score tag") from None
        if math.isnan(hits[document][0]):
            raise DataError("the score is NaN", path=path, line=line, fix="make the run again")
    ranked = {
        query: tuple(
            Hit(key, score) for key, (score, _) in sorted(hits.items(), key=lambda item: (-item[1][0], item[1][1]))
        )
        for query, hits in found.items()
    }
    return Run(name, ranked)


def write_qrels(path: Path | str, qrels: Qrels) -> None:
    """Write judgements.

    Raises:
        DataError: An id contains a tab or a line end.
        StorageError: The file could not be written whole.
    """
    rows = [
        (query, "0", document, str(grade))
        for query, grades in qrels.relevance.items()
        for document, grade in grades.items()
    ]
    _write(path, rows, {text for row in rows for text in (row[0], row[2])})


def read_qrels(path: Path | str) -> Qrels:
    """Read judgements.

    Raises:
        DataError: A line has not four columns, its grade is no whole number, or a pair is judged twice.
    """
    relevance: dict[str, dict[str, int]] = {}
    for line, (query, _, document, grade) in _cells(path, 4):
        grades = relevance.setdefault(query, {})
        if document in grades:
            raise DataError(f"query {query!r} and document {document!r} are judged twice", path=path, line=line)
        try:
            grades[document] = int(grade)
        except ValueError:
            raise DataError(f"the grade {grade!r} is no whole number", path=path, line=line) from None
    return Qrels(relevance)


def _score(score: float) -> str:
    """The shortest usual form: nine digits tell all float32 numbers apart, 17 all others."""
    single = struct.unpack("f", struct.pack("f", score))[0]
    return f"{score:.9g}" if single == score else repr(float(score))


def _write(path: Path | str, rows: Iterable[tuple[str, ...]], ids: set[str]) -> None:
    for text in ids:
        if not text or any(mark in text for mark in "\t\r\n"):
            raise DataError(f"{text!r} cannot stand in a TREC file", path=path, fix="ids without tabs and line ends")
    separator = "\t" if any(len(text.split()) != 1 or text.strip() != text for text in ids) else " "
    with atomic_write(path) as file:
        for row in rows:
            file.write(separator.join(row) + "\n")  # type: ignore[call-overload]


def _cells(path: Path | str, columns: int) -> Iterable[tuple[int, list[str]]]:
    for line, text in read_lines(path):
        if not text.strip():
            continue
        cells = text.split("\t")
        if len(cells) != columns:
            cells = text.split()
        if len(cells) != columns:
            raise DataError(f"{columns} columns were expected, found {len(cells)}", path=path, line=line)
        yield line, cells
