"""The files of an index that hold its passages and where they came from, written in one go and read by the next build.

    documents.jsonl   every passage, {id, title, text} a line; near-duplicates too, which no offset points to
    lines.npy         (n + 1,) int64, the byte at which each line starts
    digests.npy       (n, 2) uint64, 128 bits over what is embedded of each line
    signatures.u32    (m, 128) uint32, MinHash signatures of the lines of signed sources, in order
    sources.json      a row a source: size, time, digest, number of lines; settings; what was skipped

`open_index` reads none of these but documents.jsonl.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from reasonembed.corpus.duplicates import WIDTH, Signatures
from reasonembed.errors import DataError
from reasonembed.io.atomic import atomic_write
from reasonembed.io.manifest import read_json, write_json
from reasonembed.io.vectors import open_array, write_blocks
from reasonembed.search.index import DOCUMENTS
from reasonembed.search.unfinished import Digests
from reasonembed.types import Document

LINES = "lines.npy"
DIGESTS = "digests.npy"
SIGNATURES = "signatures.u32"
SOURCES = "sources.json"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """What is kept of a source, to know it again and to report on it.

    Attributes:
        key: Name of the source.
        kind: Such as `md`.
        size: Bytes.
        modified_ns: Time of the last change; -1 where it was too near to the reading to be trusted.
        digest: SHA-256 of the file.
        passages: Lines in documents.jsonl.
        signed: Whether these have signatures, and so may be dropped as near-duplicates.
        characters: Of its text.
        truncated: Passages longer than the model's limit, which are embedded cut.
        empty: Records without text that were left out.
        clashes: Records left out since an earlier source has their id.
        skipped: (place, reason) of what could not be read.
    """

    key: str
    kind: str
    size: int
    modified_ns: int
    digest: str
    passages: int = 0
    signed: bool = False
    characters: int = 0
    truncated: int = 0
    empty: int = 0
    clashes: int = 0
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Passages on their way into an index.

    Attributes:
        ids: Of n passages.
        lines: Their lines of documents.jsonl.
        digests: (n, 2).
        signatures: (n, 128), or None where they are never dropped.
    """

    ids: Sequence[str]
    lines: Sequence[bytes]
    digests: Digests
    signatures: Signatures | None


class PassageWriter:
    """Writes the passages of an index; some 200 bytes of memory a passage (id, start, digest), never its text.

    Args:
        folder: Of the index that is being made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids: dict[str, None] = {}
        self._starts = array("q", [0])
        self._digests: list[Digests] = []
        self._sha = hashlib.sha256()
        self._texts = (folder / DOCUMENTS).open("wb")
        self._signatures = (folder / SIGNATURES).open("wb")

    def __enter__(self) -> PassageWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._texts.close()
        self._signatures.close()

    def add(self, batch: Batch) -> list[str]:
        """Add passages.

        Returns:
            Ids that were there before; these passages are left out.
        """
        fresh, clashing = [], []
        for place, identifier in enumerate(batch.ids):
            if identifier in self._ids:
                clashing.append(identifier)
                continue
            self._ids[identifier] = None
            fresh.append(place)
            line = batch.lines[place]
            self._starts.append(self._starts[-1] + self._texts.write(line))
            self._sha.update(line)
        self._digests.append(batch.digests[fresh])
        if batch.signatures is not None:
            self._signatures.write(np.ascontiguousarray(batch.signatures[fresh], np.uint32).data.cast("B"))
        return clashing

    def finish(self) -> Passages:
        """Write what stands beside the texts.

        Raises:
            OSError: The disk is full.
        """
        for file in (self._texts, self._signatures):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        lines = np.array(self._starts, np.int64)
        digests = np.concatenate([np.empty((0, 2), np.uint64), *self._digests])
        write_array(self._folder / LINES, lines)
        write_array(self._folder / DIGESTS, digests)
        signed = _open_signatures(self._folder)
        return Passages(list(self._ids), lines, digests, signed, _mapped(self._folder), self._sha.hexdigest())


@dataclass(frozen=True, slots=True)
class Passages:
    """All passages of an index, near-duplicates too.

    Attributes:
        ids: One a passage; empty where they were not asked for.
        lines: (n + 1,) int64, see the module.
        digests: (n, 2) uint64.
        signatures: (m, 128) uint32, memory-mapped.
        texts: (bytes,) uint8, memory-mapped documents.jsonl.
        checksum: SHA-256 of documents.jsonl; empty where it was not computed.
    """

    ids: Sequence[str]
    lines: npt.NDArray[np.int64]
    digests: Digests
    signatures: Signatures
    texts: npt.NDArray[np.uint8]
    checksum: str = ""

    def line(self, place: int) -> bytes:
        """One line of documents.jsonl."""
        return self.texts[self.lines[place] : self.lines[place + 1]].tobytes()


@dataclass(frozen=True, slots=True)
class Sources:
    """What sources.json holds.

    Attributes:
        settings: All that changes what is read from a source.
        skipped: (place, reason) of what was found and is no source.
        rows: In the order of their passages.
    """

    settings: Mapping[str, Any]
    skipped: tuple[tuple[str, str], ...]
    rows: tuple[SourceRow, ...]

    def write(self, folder: Path) -> None:
        """Write sources.json."""
        rows = [asdict(row) for row in self.rows]
        write_json(folder / SOURCES, {"settings": dict(self.settings), "skipped": self.skipped, "sources": rows})

    def undated(self) -> Sources:
        """The same without the dates of files."""
        return Sources(self.settings, self.skipped, tuple(replace(row, modified_ns=0) for row in self.rows))

    @classmethod
    def read(cls, folder: Path) -> Sources:
        """Read sources.json.

        Raises:
            DataError: It is missing or damaged.
        """
        stored = read_json(folder / SOURCES)
        try:
            rows = [SourceRow(**{**row, "skipped": _pairs(row["skipped"])}) for row in stored["sources"]]
            return cls(stored["settings"], _pairs(stored["skipped"]), tuple(rows))
        except (KeyError, TypeError, ValueError) as error:
            names = ", ".join(field.name for field in fields(SourceRow))
            raise DataError(f"rows must hold {names}: {error}", path=folder / SOURCES) from error


def open_passages(folder: Path, rows: Sequence[SourceRow]) -> Passages:
    """The passages of an index.

    Raises:
        DataError: A file is missing, damaged, or does not belong to the others.
    """
    lines = open_array(folder / LINES, ndim=1, dtype="int64")
    digests = open_array(folder / DIGESTS, ndim=2, dtype="uint64")
    signatures = _open_signatures(folder)
    texts = _mapped(folder)
    told = sum(row.passages for row in rows), sum(row.passages for row in rows if row.signed)
    if (len(lines) - 1, len(signatures)) != told or digests.shape != (told[0], 2) or lines[-1] != len(texts):
        raise DataError(f"{LINES}, {DIGESTS}, {SIGNATURES} and {SOURCES} do not belong together", path=folder)
    return Passages((), lines, digests, signatures, texts)


def batch_of(documents: Sequence[Document], signatures: Signatures | None) -> Batch:
    """Documents as lines and digests."""
    lines = [_line(document) for document in documents]
    return Batch([document.id for document in documents], lines, digests_of(documents), signatures)


def digests_of(documents: Sequence[Document]) -> Digests:
    """(n, 2) uint64, BLAKE2b over what is embedded of each document."""
    contents = (document.content.encode("utf-8", "surrogatepass") for document in documents)
    joined = b"".join(hashlib.blake2b(content, digest_size=16).digest() for content in contents)
    return np.frombuffer(joined, "<u8").reshape(len(documents), 2)


def batches(documents: Iterator[Document], size: int) -> Iterator[list[Document]]:
    """Documents in lists of at most `size`."""
    batch: list[Document] = []
    for document in documents:
        batch.append(document)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def write_array(path: Path, values: npt.NDArray[Any]) -> None:
    """Write an array as `.npy`, atomically."""
    with atomic_write(path, "wb") as file:
        write_blocks(cast("IO[bytes]", file), [values], values.shape, str(values.dtype))


def _line(document: Document) -> bytes:
    row = {"id": document.id, "title": document.title, "text": document.text}
    return (json.dumps(row) + "\n").encode("ascii")


def _pairs(stored: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((place, reason) for place, reason in stored)


def _open_signatures(folder: Path) -> Signatures:
    return _map_raw(folder / SIGNATURES, "uint32").reshape(-1, WIDTH)


def _mapped(folder: Path) -> npt.NDArray[np.uint8]:
    return _map_raw(folder / DOCUMENTS, "uint8")


def _map_raw(path: Path, dtype: str) -> npt.NDArray[Any]:
    """A raw file as a memory-mapped vector; the system cannot map an empty one."""
    try:
        return np.asarray(np.memmap(path, dtype, "r")) if path.stat().st_size else np.empty(0, dtype)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", path=path, fix="build the index again") from error
