"""Documents streamed from JSON-lines files and BEIR folders: constant memory, checked before work starts.

`survey` reads everything once: it refuses what is wrong (file and line), counts, and gives a fingerprint of
the content. `read_documents` reads again and yields.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError
from reasonembed.io.jsonl import read_jsonl, text_field
from reasonembed.io.manifest import fingerprint
from reasonembed.io.rows import find_file, id_field
from reasonembed.types import Document

JSONL_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


@dataclass(frozen=True, slots=True)
class Survey:
    """What a checked set of files holds.

    Attributes:
        files: The files, in the order they are read.
        count: Documents that will be read.
        n_empty: Empty documents left out.
        fingerprint: 32 hex digits over ids, titles and texts in order; independent of compression and file
            names.
    """

    files: tuple[Path, ...]
    count: int
    n_empty: int
    fingerprint: str


def document_files(inputs: Sequence[Path | str]) -> tuple[Path, ...]:
    """The files of documents behind paths: a JSON-lines file is itself, a BEIR or BRIGHT folder its corpus.

    Raises:
        DataError: A path does not exist, is another kind of file, or a folder without a corpus file.
    """
    if not inputs:
        raise DataError("no input was given", fix="name a .jsonl file or a BEIR folder")
    return tuple(_one_file(Path(path)) for path in inputs)


def _one_file(path: Path) -> Path:
    if path.is_dir():
        found = find_file(path, "corpus") or find_file(path, "documents")
        if found is None:
            raise DataError(
                "a folder without corpus.jsonl or documents.jsonl (plain or .gz)",
                path=path, fix="name a .jsonl file, or a folder in BEIR's or BRIGHT's layout",
            )  # fmt: skip
        return found
    if not path.exists():
        raise DataError("no such file", path=path)
    if not path.name.endswith(JSONL_SUFFIXES):
        raise DataError(
            f"files of kind {path.suffix or path.name!r} cannot be read yet",
            path=path,
            fix=f"convert it to JSON lines ({', '.join(JSONL_SUFFIXES)}): one {{id, text, title?}} a line",
        )
    return path


def read_documents(files: Sequence[Path], *, skip_empty: bool = False) -> Iterator[Document]:
    """Yield the documents of JSON-lines files, in order.

    A row is `{id | _id, text | content, title?}`: BEIR's and BRIGHT's names alike.

    Args:
        files: As `document_files` gives them.
        skip_empty: Leave out documents without a visible character instead of refusing them.

    Raises:
        DataError: Broken JSON, a field missing or of the wrong type, a text too long, an empty document; with
            file and line.
    """
    for _, _, document in _located(files, skip_empty=skip_empty):
        if document is not None:
            yield document


def survey(inputs: Sequence[Path | str], *, skip_empty: bool = False) -> Survey:
    """Read and check everything once; 8 bytes of memory a document.

    Args:
        inputs: JSON-lines files and BEIR folders.
        skip_empty: See `read_documents`.

    Raises:
        DataError: As `read_documents`, or an id occurs twice, or there is no document.
    """
    files = document_files(inputs)
    hashes = array("Q")
    empty = 0

    def parts() -> Iterator[str]:
        nonlocal empty
        for _, _, document in _located(files, skip_empty=skip_empty):
            if document is None:
                empty += 1
                continue
            hashes.append(_hash(document.id))
            yield from (document.id, document.title, document.text)

    digest = fingerprint(parts())
    if not hashes:
        raise DataError("no document with text", path=files[0], fix="check that this is the corpus file")
    _refuse_duplicates(files, np.frombuffer(hashes, np.uint64), skip_empty=skip_empty)
    return Survey(files, len(hashes), empty, digest)


def _located(files: Sequence[Path], *, skip_empty: bool) -> Iterator[tuple[Path, int, Document | None]]:
    """(file, line, document) of every row; None for an empty document that is left out."""
    for path in files:
        for line, row in read_jsonl(path):
            document = document_from(row, path=path, line=line)
            if document.content.strip():
                yield path, line, document
            elif skip_empty:
                yield path, line, None
            else:
                raise DataError(
                    f"document {document.id!r} is empty",
                    path=path, line=line, fix="remove it, or leave such documents out with --skip-empty",
                )  # fmt: skip


def document_from(row: Mapping[str, Any], *, path: Path, line: int) -> Document:
    """The document of a row `{id | _id, text | content, title?}`.

    Raises:
        DataError: A field is missing, of the wrong type, or too long.
    """
    key = id_field(row, "_id" if "_id" in row else "id", path=path, line=line)
    text_name = "content" if "content" in row and "text" not in row else "text"
    text = text_field(row, text_name, path=path, line=line)
    title = text_field(row, "title", path=path, line=line) if row.get("title") is not None else ""
    return Document(key, text, title)


def _hash(identifier: str) -> int:
    data = identifier.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _refuse_duplicates(files: Sequence[Path], hashes: npt.NDArray[np.uint64], *, skip_empty: bool) -> None:
    """Two equal hashes are rare, so the ids behind them are compared in a second reading."""
    values, counts = np.unique(hashes, return_counts=True)
    suspects = set(values[counts > 1].tolist())
    seen: dict[str, tuple[Path, int]] = {}
    for path, line, document in _located(files, skip_empty=skip_empty) if suspects else ():
        if document is None or _hash(document.id) not in suspects:
            continue
        if document.id in seen:
            first = "{}:{}".format(*seen[document.id])
            raise DataError(
                f"duplicate document id {document.id!r}, first at {first}",
                path=path, line=line, fix="give every document its own id",
            )  # fmt: skip
        seen[document.id] = (path, line)
