"""Rows of a file of records -> passages with their own ids, checked one by one: a bad row is skipped, the others are read.

Shared by the readers of JSON lines, CSV and Parquet; texts stay as they are, so that a benchmark's corpus is itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reasonembed.corpus.passages import Passage
from reasonembed.corpus.sources import Skipped
from reasonembed.errors import DataError
from reasonembed.io.documents import document_from

TEXT_FIELDS = ("text", "content")
ID_FIELDS = ("_id", "id")

Row = tuple[int, Mapping[str, Any] | str]
"""(line or row number from 1, fields; or the reason why there are none)."""


def passages_from(rows: Iterable[Row], *, path: Path, key: str, unit: str = "row=") -> Iterator[Passage | Skipped]:
    """Yield a passage a row `{id | _id, text | content, title?}`, or why it is none.

    Args:
        rows: The rows.
        path: Their file, for messages.
        key: Of the source; a row without an id gets `KEY#row=N`.
        unit: What stands before the number in places of skipped rows.
    """
    seen: set[str] = set()
    for number, row in rows:
        place = f"{key}#{unit}{number}"
        if isinstance(row, str):
            yield Skipped(place, row)
            continue
        row = {name: value for name, value in row.items() if value is not None}
        if not any(name in row for name in ID_FIELDS):
            row["id"] = f"{key}#row={number}"
        try:
            document = document_from(row, path=path, line=number)
        except DataError as error:
            yield Skipped(place, str(error).removeprefix(f"{path}:{number}: "))
            continue
        if document.id in seen:
            yield Skipped(place, f"id {document.id!r} a second time")
        elif not document.content.strip():
            yield Skipped(place, f"document {document.id!r} is empty")
        else:
            seen.add(document.id)
            yield Passage(document.id, document.text, document.title)


def check_columns(columns: Iterable[str]) -> None:
    """Refuse a table without a column of texts.

    Raises:
        DataError: None of `TEXT_FIELDS` is there.
    """
    columns = list(columns)
    if not any(name in columns for name in TEXT_FIELDS):
        raise DataError(
            f"no column {' or '.join(map(repr, TEXT_FIELDS))} (found: {', '.join(map(str, columns))[:200] or 'none'})",
            fix="name the column of texts so",
        )
