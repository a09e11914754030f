"""JSON lines, plain or gzip, read one object at a time; a bad line is refused with its file and number."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError
from reasonembed.io.atomic import atomic_write

MAX_TEXT_CHARS = 5_000_000
"""Longest text in characters: above BRIGHT's longest document, below what a tokenizer takes in seconds."""


def read_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 text file; `.gz` is decompressed.

    Raises:
        DataError: The file does not exist, is not UTF-8, or is a damaged gzip file.
    """
    path = Path(path)
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8: byte 0x{error.object[error.start]:02x} at byte {error.start} of the line"
        raise DataError(problem, path=path, line=number, fix="convert the file, e.g. `iconv -t UTF-8`") from error
    except FileNotFoundError as error:
        raise DataError("no such file", path=path) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"damaged gzip file: {error}", path=path, line=number + 1, fix="fetch it again") from error
    except IsADirectoryError as error:
        raise DataError("is a folder, a file was expected", path=path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=path, line=number + 1) from error


def read_jsonl(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for every line of a JSON-lines file; blank lines are skipped.

    Raises:
        DataError: A line is not a JSON object.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"broken JSON: {error.msg} at column {error.colno}",
                path=path,
                line=number,
                fix="one JSON object a line",
            ) from error
        if not isinstance(value, dict):
            raise DataError(
                f"a JSON object was expected, found {type(value).__name__}",
                path=path,
                line=number,
                fix="one JSON object a line",
            )
        yield number, value


def text_field(row: Mapping[str, Any], name: str, *, path: Path | str, line: int) -> str:
    """The string in field `name` of a row.

    Raises:
        DataError: The field is missing, is no string, is longer than `MAX_TEXT_CHARS`, or holds a lone surrogate.
    """
    if name not in row:
        found = ", ".join(sorted(row)) or "none"
        raise DataError(f"field {name!r} is missing (found: {found})", path=path, line=line, fix=f"add {name!r}")
    value = row[name]
    if not isinstance(value, str):
        raise DataError(f"field {name!r} must be a string, found {type(value).__name__}", path=path, line=line)
    if len(value) > MAX_TEXT_CHARS:
        raise DataError(
            f"field {name!r} has {len(value):,} characters, the limit is {MAX_TEXT_CHARS:,}",
            path=path,
            line=line,
            fix="split the document into passages",
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"field {name!r} has half a character (surrogate U+{ord(value[error.start]):X}) at {error.start}",
            path=path, line=line, fix="remove the lone surrogate; no tokenizer accepts it",
        ) from error  # fmt: skip
    return value


def write_jsonl(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSON lines (UTF-8, atomically), `.gz` compressed; the same rows give the same bytes.

    Returns:
        How many rows.

    Raises:
        StorageError: The file could not be written whole.
    """
    count = 0
    with contextlib.ExitStack() as stack:
        file: Any = stack.enter_context(atomic_write(path, "wb"))
        if Path(path).suffix == ".gz":
            file = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0))  # neither name nor time in it
        for row in rows:
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
            count += 1
    return count
