"""Rewritten queries in files: those that the field shares (BRIGHT's `gpt4_reason`, ...) and our own.

A row is `{"id", "rewrites": [str]}` (ours) or `{"id", "query"}` (a BRIGHT file of examples, where the query is the rewrite).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError
from reasonembed.io.jsonl import read_jsonl, text_field, write_jsonl
from reasonembed.io.rows import find_file, id_field

_STEMS = ("rewrites", "gpt4_reason", "claude-3-opus_reason", "llama3-70b_reason", "grit_reason", "Gemini-1.0_reason")
"""Files looked for in a folder: ours, and the configurations of xlangai/BRIGHT (paper.md section 4)."""


def read_rewrites(path: Path | str) -> dict[str, tuple[str, ...]]:
    """Read rewritten queries.

    Args:
        path: A `.jsonl` or `.jsonl.gz` file, or a folder that holds exactly one of the known names.

    Returns:
        query id -> its rewrites, at least one each, in file order.

    Raises:
        DataError: A line is broken or names an id twice, or a rewrite is empty or no text.
    """
    file = _file(Path(path))
    found: dict[str, tuple[str, ...]] = {}
    for line, row in read_jsonl(file):
        key = id_field(row, "_id" if "_id" in row else "id", path=file, line=line)
        if key in found:
            raise DataError(f"duplicate query id {key!r}", path=file, line=line, fix="one line a query")
        found[key] = _texts(row, path=file, line=line)
    return found


def rewrites_for(ids: Sequence[str], found: Mapping[str, tuple[str, ...]], *, path: Path) -> list[tuple[str, ...]]:
    """The rewrites of some queries, in their order.

    Args:
        ids: Of the queries that will be searched.
        found: From `read_rewrites`; may hold more.
        path: Where they came from, for the message.

    Raises:
        DataError: A query has none.
    """
    if missing := [key for key in ids if key not in found]:
        named = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"no rewrite for {len(missing)} of {len(ids)} queries: {named}",
            path=path, fix="take the file of this task, or add the missing queries with their own text as the rewrite",
        )  # fmt: skip
    return [found[key] for key in ids]


def write_rewrites(path: Path | str, rewrites: Mapping[str, Sequence[str]]) -> int:
    """Write rewritten queries so that `read_rewrites` gives them back; returns how many queries.

    Args:
        path: Destination, `.jsonl`.
        rewrites: query id -> its rewrites.

    Raises:
        StorageError: The file could not be written whole.
    """
    return write_jsonl(path, ({"id": key, "rewrites": list(texts)} for key, texts in rewrites.items()))


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = [file for stem in _STEMS if (file := find_file(path, stem))]
    if len(files) != 1:
        there = ", ".join(file.name for file in files) or "none"
        raise DataError(
            f"a folder must hold exactly one file of rewrites, found {there}",
            path=path, fix=f"name the file itself; in a folder are looked for {', '.join(_STEMS)} (.jsonl or .jsonl.gz)",
        )  # fmt: skip
    return files[0]


def _texts(row: Mapping[str, Any], *, path: Path, line: int) -> tuple[str, ...]:
    """The rewrites of a row, each checked like any other text."""
    fields: Mapping[str, Any] = row
    names: Sequence[str] = ("query",)
    if "rewrites" in row:
        listed = row["rewrites"]
        if not isinstance(listed, list) or not listed:
            raise DataError(
                f"field 'rewrites' must be a list of at least one string, found {str(listed)[:60]!r}",
                path=path, line=line, fix='write it like ["first rewrite", "second"]',
            )  # fmt: skip
        fields = {f"rewrites[{place}]": text for place, text in enumerate(listed)}
        names = tuple(fields)
    texts = tuple(text_field(fields, name, path=path, line=line) for name in names)
    for name, text in zip(names, texts, strict=True):
        if not text.strip():
            raise DataError(f"field {name!r} is empty", path=path, line=line, fix="remove it, or put the query itself")
    return texts
