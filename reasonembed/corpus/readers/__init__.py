"""Readers of documents, one module a kind; a new kind is a new module with `read` and one line in `KINDS`.

`read(path, key)` yields the parts of a file: `Section` (prose, which will be chunked), `Passage` (a record with
its own id, which will not) and `Skipped` (a part that cannot be read). It may raise whatever its parser raises: the
caller turns that into a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file.

    Attributes:
        suffixes: Ends of file names, lower case.
        guarded: Read in a process of its own with limits on time and memory: the format can make its parser
            run for ever, or the parser is C code over a format that comes from anywhere.
        max_bytes: Longest file that is read whole into memory; None where it is streamed.
        hint: What to tell where the file gave no text.
    """

    suffixes: tuple[str, ...]
    guarded: bool = False
    max_bytes: int | None = 100_000_000
    hint: str = ""


KINDS: Mapping[str, Kind] = {
    "text": Kind((".txt", ".text", ".rst")),
    "markdown": Kind((".md", ".markdown")),
    "html": Kind((".html", ".htm", ".xhtml"), guarded=True, max_bytes=50_000_000),
    "pdf": Kind((".pdf",), guarded=True, max_bytes=500_000_000, hint="; scanned pages need OCR first"),
    "docx": Kind((".docx",), guarded=True, max_bytes=500_000_000),
    "jsonl": Kind((".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz"), max_bytes=None),
    "table": Kind((".csv", ".tsv"), max_bytes=None),
    "parquet": Kind((".parquet",), max_bytes=None),
}
"""Kind -> what is known of it; the reader is the module of the same name in this package. A text of 100 MB is a
hundred books; the tree of an HTML file takes some 8 times its size in memory; PDF and DOCX hold pictures."""

SUFFIXES: Mapping[str, str] = {suffix: name for name, kind in KINDS.items() for suffix in kind.suffixes}


def kind_of(name: str) -> str | None:
    """The kind of a file by its name; None where no reader takes it."""
    lower = name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if lower.endswith(suffix)), None)
