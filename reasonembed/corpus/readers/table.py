"""CSV and TSV with a header line, streamed; one record a row. A broken row is skipped, the rows after it are read."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reasonembed.corpus.cleaning import decode
from reasonembed.corpus.passages import Passage
from reasonembed.corpus.readers.records import Row, check_columns, passages_from
from reasonembed.corpus.sources import Skipped
from reasonembed.errors import DataError
from reasonembed.io.jsonl import MAX_TEXT_CHARS

if TYPE_CHECKING:
    from _csv import Reader

HEAD = 1_000_000
"""Bytes at the beginning that tell the encoding and the separator."""


def read(path: Path, key: str) -> Iterator[Passage | Skipped]:
    """Yield a passage a row, or why it is none.

    Raises:
        DataError: No column of texts, or binary content.
    """
    with table(path) as rows:
        try:
            header = [name.strip() for name in next(rows, [])]
        except csv.Error as error:
            raise DataError(f"the header cannot be read: {error}") from error
        check_columns(header)
        yield from passages_from(_rows(rows, header), path=path, key=key)


@contextlib.contextmanager
def table(path: Path, *, strict: bool = False) -> Iterator[Reader]:
    """The rows of a table, the header first; encoding and separator are found out, a field has at most `MAX_TEXT_CHARS`.

    Args:
        path: The file.
        strict: A quote that is never closed, or text behind a closing one, is an error (`csv.Error`).

    Raises:
        DataError: Binary content.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    decode(head)  # refuses binary content
    with path.open(encoding=_encoding(head), errors="replace", newline="") as lines:
        before = csv.field_size_limit(MAX_TEXT_CHARS)
        try:
            yield csv.reader(lines, delimiter=_separator(head, path), strict=strict)
        finally:
            csv.field_size_limit(before)


def _rows(rows: Iterator[list[str]], header: list[str]) -> Iterator[Row]:
    """Numbered from 1 below the header; a field of `MAX_TEXT_CHARS` (a quote never closed) ends its row."""
    number = 0
    while True:
        number += 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, f"cannot be read: {error}"
            continue
        if not cells:
            number -= 1
        elif len(cells) != len(header):
            yield number, f"{len(cells)} cells, the header has {len(header)}"
        else:
            yield number, {name: cell for name, cell in zip(header, cells, strict=True) if cell or name == "text"}


def _encoding(head: bytes) -> str:
    """UTF-8 or UTF-16 by mark; UTF-8 where the head is it (its last character may be cut); cp1252 else."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        head[:-4].decode("utf-8") if len(head) == HEAD else head.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(head) < HEAD or error.start < HEAD - 8:
            return "cp1252"
    return "utf-8-sig"


def _separator(head: bytes, path: Path) -> str:
    """The tab of a .tsv; else whichever of comma, semicolon and tab the header has most of."""
    header = head.split(b"\n", 1)[0]
    return "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=lambda mark: header.count(mark.encode()))
