"""Rows of any benchmark -> documents, queries and judgements, checked once for all formats.

A row is (line or row number, mapping); where it came from (a JSON-lines file, a Hub table) is only a name for
the message.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError
from reasonembed.io.jsonl import text_field
from reasonembed.types import Document, Query

logger = logging.getLogger(__name__)

Rows = Iterable[tuple[int, Mapping[str, Any]]]
"""(line or row number from 1, fields)."""

NO_IDS = "N/A"
"""What BRIGHT writes in `excluded_ids` and `gold_ids_long` for "none"."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of the fields of a row; an empty `title` means that the format has none."""

    id: str
    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents and the ids of those left out because they were empty.

    Attributes:
        documents: In file order.
        skipped: Ids of empty documents (only with `skip_empty`).
    """

    documents: tuple[Document, ...]
    skipped: frozenset[str] = frozenset()

    def known(self) -> frozenset[str]:
        """Every id that a judgement may name: a skipped gold document is one that no search can find."""
        return frozenset(document.id for document in self.documents) | self.skipped


def id_field(row: Mapping[str, Any], name: str, *, path: Path | str, line: int) -> str:
    """The id in a field, as a string without blanks around it; whole numbers are accepted.

    Raises:
        DataError: The field is missing, empty, or neither a string nor a whole number.
    """
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = text_field(row, name, path=path, line=line).strip()
    if not text:
        raise DataError(f"field {name!r} is empty", path=path, line=line, fix="give every row an id")
    return text


def id_list(row: Mapping[str, Any], name: str, *, path: Path | str, line: int) -> tuple[str, ...]:
    """The ids in a list field, each once, in order, without "N/A"; a missing field or null is an empty list.

    Raises:
        DataError: The field is no list, or holds something that is no string.
    """
    value = row.get(name)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise DataError(
            f"field {name!r} must be a list of strings, found {str(value)[:60]!r}",
            path=path, line=line, fix=f'write it like ["id1", "id2"], or ["{NO_IDS}"] for none',
        )  # fmt: skip
    return tuple(item for item in dict.fromkeys(value) if item != NO_IDS)


def documents_from(rows: Rows, fields: Fields, *, path: Path | str, skip_empty: bool = False) -> Corpus:
    """Collect a corpus.

    Args:
        rows: The rows of the corpus.
        fields: Names of their fields.
        path: Where they come from, for messages.
        skip_empty: Leave documents without a visible character out (and log how many) instead of refusing
            them.

    Raises:
        DataError: A field is missing or no string, an id occurs twice, a document is empty or too long, or
            there is none.
    """
    documents: dict[str, Document] = {}
    skipped: set[str] = set()
    for line, row in rows:
        key = id_field(row, fields.id, path=path, line=line)
        if key in documents or key in skipped:
            raise DataError(
                f"duplicate document id {key!r}", path=path, line=line, fix="give every document its own id"
            )
        text = text_field(row, fields.text, path=path, line=line)
        has_title = bool(fields.title) and row.get(fields.title) is not None
        title = text_field(row, fields.title, path=path, line=line) if has_title else ""
        if text.strip() or title.strip():
            documents[key] = Document(id=key, text=text, title=title)
        elif skip_empty:
            skipped.add(key)
        else:
            raise DataError(
                f"document {key!r} is empty",
                path=path,
                line=line,
                fix="remove it, or leave such out with --skip-empty",
            )
    if not documents:
        raise DataError(
            "the corpus is empty: no document with text", path=path, fix="check that this is the corpus file"
        )
    if skipped:
        logger.warning("%s: %d empty documents were left out", path, len(skipped))
    return Corpus(tuple(documents.values()), frozenset(skipped))


def query_from(row: Mapping[str, Any], fields: Fields, seen: Collection[str], *, path: Path | str, line: int) -> Query:
    """One query.

    Args:
        row: Its row.
        fields: Names of the fields.
        seen: Ids met so far in the same file.
        path: Where the row comes from, for messages.
        line: Its number.

    Raises:
        DataError: A field is missing or no string, the id occurs twice, or the text is empty or too long.
    """
    key = id_field(row, fields.id, path=path, line=line)
    if key in seen:
        raise DataError(f"duplicate query id {key!r}", path=path, line=line, fix="give every query its own id")
    text = text_field(row, fields.text, path=path, line=line)
    if not text.strip():
        raise DataError(f"query {key!r} is empty", path=path, line=line, fix="remove it, and its judgements")
    return Query(id=key, text=text)


def check_disjoint(
    query: str, gold: Iterable[str], excluded: Collection[str], *, path: Path | str, line: int | None = None
) -> None:
    """Refuse a query whose relevant document is excluded: it could never be found.

    Raises:
        DataError: A document is both relevant and excluded.
    """
    for key in gold:
        if key in excluded:
            raise DataError(
                f"document {key!r} is both relevant to and excluded for query {query!r}",
                path=path, line=line, fix="take it out of one of the two",
            )  # fmt: skip


def find_file(folder: Path, stem: str, suffixes: Iterable[str] = (".jsonl", ".jsonl.gz")) -> Path | None:
    """The file `stem` + one of the suffixes in a folder; None if there is none."""
    for suffix in suffixes:
        candidate = folder / f"{stem}{suffix}"
        if candidate.is_file():
            return candidate
    return None
