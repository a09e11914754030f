"""JSON lines, plain or gzip: one record a line. A broken line is skipped, the lines after it are read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from reasonembed.corpus.passages import Passage
from reasonembed.corpus.readers.records import Row, passages_from
from reasonembed.corpus.sources import Skipped
from reasonembed.errors import DataError
from reasonembed.io.jsonl import MAX_TEXT_CHARS

MAX_LINE = 4 * MAX_TEXT_CHARS + 1_000_000
"""Bytes of a line: the longest text in UTF-8, and a megabyte for the other fields."""

MAX_RATIO, RATIO_FROM = 200, 100_000_000
"""Bytes unpacked a byte packed, asked from this size on: JSON packs 3 to 30 times, a bomb 1,000."""


def read(path: Path, key: str) -> Iterator[Passage | Skipped]:
    """Yield a passage a line, or why it is none.

    Raises:
        DataError: A gzip bomb.
    """
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
        yield from passages_from(_rows(cast("IO[bytes]", file), path.stat().st_size), path=path, key=key, unit="L")


def _rows(file: IO[bytes], packed: int) -> Iterator[Row]:
    number = unpacked = 0
    while raw := file.readline(MAX_LINE):
        number += 1
        unpacked += len(raw)
        too_long = False
        while not raw.endswith(b"\n") and (rest := file.readline(MAX_LINE)):
            too_long, raw = True, rest
            unpacked += len(rest)
            _check_ratio(unpacked, packed)
        _check_ratio(unpacked, packed)
        if too_long:
            yield number, f"a line of more than {MAX_LINE:,} bytes"
        elif line := raw.strip():
            yield number, _row(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)


def _row(line: bytes) -> dict[str, object] | str:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte 0x{error.object[error.start]:02x} at byte {error.start}"
    except (ValueError, RecursionError) as error:
        return f"broken JSON: {error}"
    return value if isinstance(value, dict) else f"a JSON object was expected, found {type(value).__name__}"


def _check_ratio(unpacked: int, packed: int) -> None:
    if unpacked > RATIO_FROM and unpacked > MAX_RATIO * packed:
        raise DataError(f"unpacks to more than {MAX_RATIO} times its {packed:,} bytes: a gzip bomb")
