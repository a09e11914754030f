"""Paths that the user names to the files that will be read, each with a stable key; what is left out is told with a reason.

Folders are walked in order of names. Nothing is opened here: a file is known by its name, its size and its date.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reasonembed.corpus.readers import SUFFIXES, kind_of
from reasonembed.errors import DataError
from reasonembed.io.rows import find_file

MAX_NAME = 500
"""Longest place or reason of a `Skipped`, in characters: it stands on one line of a report."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that will be read.

    Attributes:
        path: Where it is.
        key: The named folder's name and the path below it, with `/`; the beginning of the ids of its passages.
        kind: A key of `readers.KINDS`.
        size: Bytes.
        modified_ns: Time of the last change, nanoseconds.
    """

    path: Path
    key: str
    kind: str
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was not read, and why.

    Attributes:
        place: Key of the file or folder, with `#place` where it is a part of a file; printable.
        reason: One printable line.
    """

    place: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", printable(self.place))
        object.__setattr__(self, "reason", printable(self.reason))


@dataclass(frozen=True, slots=True)
class Found:
    """What the named paths hold: sources and skipped, each sorted by key and place."""

    sources: tuple[Source, ...]
    skipped: tuple[Skipped, ...]


def printable(text: str) -> str:
    """One line of at most `MAX_NAME` characters; what no terminal should get is written as an escape."""
    safe = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return safe if len(safe) <= MAX_NAME else safe[: MAX_NAME - 3] + "..."


def find_sources(inputs: Sequence[Path | str]) -> Found:
    """The files behind paths.

    A folder in BEIR's or BRIGHT's layout (a corpus beside questions) gives its corpus alone. Hidden files and
    folders, kinds that cannot be read, and what is reached a second time (through a link, or named twice) are
    skipped. Links are followed. A key begins with the name of the folder that was named; where two named
    paths share a name, with as much of their parents as tells them apart.

    Args:
        inputs: Files and folders.

    Raises:
        DataError: No input, or a path that does not exist.
    """
    if not inputs:
        raise DataError("no input was given", fix="name files or folders of documents")
    roots = list(dict.fromkeys(Path(os.path.abspath(path)) for path in inputs))  # noqa: PTH100, links stay
    for root in roots:
        if not os.path.lexists(root):
            raise DataError("no such file or folder", path=printable(str(root)), fix="check the name")
    walk = _Walk()
    for root, key in zip(roots, _root_keys(roots), strict=True):
        walk.enter(root, key, named=True)
    return Found(
        tuple(sorted(walk.sources, key=lambda source: source.key)),
        tuple(sorted(walk.skipped, key=lambda skipped: skipped.place)),
    )


def _root_keys(roots: Sequence[Path]) -> list[str]:
    """The last parts of each path, as few as make all of them differ."""
    length = 1
    while length < max(len(root.parts) for root in roots):
        if len({root.parts[-length:] for root in roots}) == len(roots):
            break
        length += 1
    return ["/".join(part for part in root.parts[-length:] if part != root.anchor) or "root" for root in roots]


@dataclass(slots=True)
class _Walk:
    """The state of one search: what was found, and which files and folders (device, inode) were met, under which key."""

    sources: list[Source] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    met: dict[tuple[int, int], str] = field(default_factory=dict)

    def skip(self, key: str, reason: str) -> None:
        """Note what is left out."""
        self.skipped.append(Skipped(key, reason))

    def enter(self, path: Path, key: str, *, named: bool = False) -> None:
        """Take a file, or everything below a folder; a loop over an own stack, so that depth is no danger."""
        stack = [(path, key, named)]
        while stack:
            path, key, named = stack.pop()
            try:
                status = self._status(path, key, named=named)
                if status is None:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    stack += reversed(list(self._entries(path, key)))
                else:
                    self._file(path, key, status)
            except OSError as error:
                self.skip(key, f"cannot be opened: {error.strerror or error}")

    def _status(self, path: Path, key: str, *, named: bool) -> os.stat_result | None:
        """The status of a file or folder that is wanted and new; None (and a reason) for others."""
        if path.name.startswith(".") and not named:
            self.skip(key, "hidden")
            return None
        if not path.name.isprintable():
            self.skip(key, "the name holds a control character, or is not UTF-8; rename it")
            return None
        status = path.stat()
        identity = (status.st_dev, status.st_ino)
        folder = stat.S_ISDIR(status.st_mode)
        if identity in self.met:
            self.skip(key, f"the same {'folder' if folder else 'file'} as {self.met[identity]}")
        elif folder or stat.S_ISREG(status.st_mode):
            self.met[identity] = key
            return status
        else:
            self.skip(key, "no regular file (a pipe, socket or device)")
        return None

    def _entries(self, folder: Path, key: str) -> Iterator[tuple[Path, str, bool]]:
        corpus = benchmark_corpus(folder)
        for path in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
            if corpus is not None and path != corpus:
                self.skip(f"{key}/{path.name}", f"beside the corpus {corpus.name} of a benchmark folder")
            else:
                yield path, f"{key}/{path.name}", False

    def _file(self, path: Path, key: str, status: os.stat_result) -> None:
        kind = kind_of(path.name)
        if kind is None:
            known = " ".join(sorted(SUFFIXES))
            self.skip(key, f"files of kind {path.suffix or path.name!r} are not read (these are: {known})")
        elif not status.st_size:
            self.skip(key, "empty file")
        else:
            self.sources.append(Source(path, key, kind, status.st_size, status.st_mtime_ns))


def benchmark_corpus(folder: Path) -> Path | None:
    """The corpus of a folder in BEIR's layout (corpus beside queries) or BRIGHT's (documents beside examples)."""
    for corpus, questions in (("corpus", "queries"), ("documents", "examples"), ("long_documents", "examples")):
        found = find_file(folder, corpus)
        if found is not None and find_file(folder, questions) is not None:
            return found
    return None
