"""The documents of a run, copied into it: found by id without being held in memory.

    documents.jsonl   {id, title, text} a line, as in an index
    offsets.npy       (n + 1,) int64, the byte at which each line starts
    ids.json          ids in the same order
    corpus.json       count, fingerprint of the content, where it came from, what was left out

Beside the ids (about 150 bytes a document) an opened store takes no memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from reasonembed.corpus.sources import find_sources
from reasonembed.errors import DataError
from reasonembed.io.atomic import atomic_folder
from reasonembed.io.jsonl import read_jsonl
from reasonembed.io.manifest import fingerprint, read_json, write_json
from reasonembed.io.vectors import open_array, write_blocks
from reasonembed.types import Document

TEXTS, OFFSETS, IDS, META = "documents.jsonl", "offsets.npy", "ids.json", "corpus.json"
PASSAGE_WORDS = 256
"""Words of a passage where files are cut into passages (records keep their own bounds)."""


class Documents(Sequence[Document]):
    """The documents of a run, in the order of the corpus.

    Args:
        folder: As `store_documents` wrote it.

    Raises:
        DataError: A file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta = read_json(folder / META)
        self._offsets = open_array(folder / OFFSETS, ndim=1, dtype="int64")
        self.ids: list[str] = read_json(folder / IDS)["ids"]
        self._places = {identifier: place for place, identifier in enumerate(self.ids)}
        if not len(self.ids) == len(self._offsets) - 1 == self.meta.get("count"):
            raise DataError("texts, offsets and count do not belong together", path=folder, fix="delete the folder")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return self.at(range(*place.indices(len(self))))
        return self.at([range(len(self))[place]])[0]

    def at(self, places: Iterable[int]) -> list[Document]:
        """The documents at some places."""
        with (self.folder / TEXTS).open("rb") as file:
            return [_document(json.loads(_line(file, int(self._offsets[place])))) for place in places]

    def __iter__(self) -> Iterator[Document]:
        return (_document(row) for _, row in read_jsonl(self.folder / TEXTS))

    def place_of(self, identifier: str) -> int:
        """Place of a document.

        Raises:
            DataError: There is no such document.
        """
        place = self._places.get(identifier)
        if place is None:
            raise DataError(
                f"no document {identifier!r}", path=self.folder, fix="the run's files do not belong together"
            )
        return place

    def get(self, identifier: str) -> Document:
        """A document by its id.

        Raises:
            DataError: There is no such document.
        """
        return self.at([self.place_of(identifier)])[0]


def store_documents(inputs: Sequence[Path], folder: Path) -> None:
    """Read a corpus once and keep it; it replaces what is there when it is whole.

    Records without text and records whose id occurred before are left out and counted.

    Args:
        inputs: Files and folders, as `corpus.sources.find_sources` takes them.
        folder: Of the store.

    Raises:
        DataError: A path does not exist, or there is no document.
        StorageError: The store could not be written whole.
    """
    skipped: list[list[str]] = []
    offsets, repeated, empty = [0], 0, 0
    seen: dict[str, None] = {}
    with atomic_folder(folder) as fresh:
        with (fresh / TEXTS).open("wb") as file:
            for document in _documents(inputs, lambda place, why: skipped.append([place, why])):
                if not document.content.strip():
                    empty += 1
                elif document.id in seen:
                    repeated += 1
                else:
                    seen[document.id] = None
                    row = {"id": document.id, "title": document.title, "text": document.text}
                    offsets.append(offsets[-1] + file.write((json.dumps(row) + "\n").encode("ascii")))
        if not seen:
            raise DataError("no document with text", path=inputs[0], fix="check that this is the corpus")
        with (fresh / OFFSETS).open("wb") as file:
            write_blocks(file, [np.array(offsets, np.int64)], (len(offsets),), "int64")
        write_json(fresh / IDS, {"ids": list(seen)})
        with (fresh / TEXTS).open("rb") as file:
            content = fingerprint(iter(lambda: file.read(1 << 20), b""))
        write_json(fresh / META, {
            "count": len(seen), "fingerprint": content, "inputs": [str(path) for path in inputs],
            "empty": empty, "repeated_ids": repeated, "skipped": skipped,
        })  # fmt: skip


def _documents(inputs: Sequence[Path], skip: Callable[[str, str], None]) -> Iterator[Document]:
    from reasonembed.corpus.passages import read_file

    found = find_sources(inputs)
    for left_out in found.skipped:
        skip(left_out.place, left_out.reason)
    for source in found.sources:
        read = read_file(source, limit=PASSAGE_WORDS, count_tokens=_words)
        for left_out in read.skipped:
            skip(left_out.place, left_out.reason)
        for passage in read.passages:
            yield Document(passage.id, passage.text, passage.title)


def _words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def _line(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    return file.readline()


def _document(row: dict[str, Any]) -> Document:
    return Document(row["id"], row["text"], row["title"])
