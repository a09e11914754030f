"""Sources to passages of an index: named record files strictly, all else leniently, what has not changed from the old index.

A named JSON-lines file or benchmark folder is refused with file and line where it is wrong. Files of folders are
skipped with a reason.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reasonembed.corpus.duplicates import signatures
from reasonembed.corpus.passages import Passage, read_file
from reasonembed.corpus.readers import kind_of
from reasonembed.corpus.sources import Source, benchmark_corpus, find_sources
from reasonembed.errors import DataError
from reasonembed.io.documents import JSONL_SUFFIXES, read_documents, survey
from reasonembed.io.manifest import versions
from reasonembed.search.index import parse_line
from reasonembed.search.passage_files import (
    Batch,
    Passages,
    PassageWriter,
    SourceRow,
    Sources,
    batch_of,
    batches,
)  # fmt: skip
from reasonembed.types import Document

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

RECORDS = frozenset(("jsonl", "table", "parquet"))
"""Kinds whose passages are records with ids of their own: never cut, never dropped as near-duplicates."""
READERS = ("reasonembed", "pypdf", "selectolax", "python-docx", "pyarrow", "datasketch")
"""Packages whose version can change a passage or a signature."""
BATCH = 1024
"""Passages held at a time where a source is streamed."""
TRUSTED_AGE_NS = 2_000_000_000
"""A file changed this shortly before it was read may change again under the same date (file systems keep it to 1 ms,
FAT to 2 s), so its date is not trusted and its content decides."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run will read.

    Attributes:
        sources: In the order of the index; first the strict ones as named, then the others by key.
        strict: Keys of the sources that are refused rather than skipped.
        named: Keys of the other sources that the user named, not found in a folder.
        skipped: (place, reason) of what is no source.
    """

    sources: tuple[Source, ...]
    strict: frozenset[str]
    named: frozenset[str]
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """All that changes what is read from a source, beside the source.

    Attributes:
        max_tokens: Longest passage, prompt and special tokens included.
        skip_empty: Leave out empty records of strict sources.
        model_limit: Tokens beyond which the model cuts.
        versions: Of the packages that read files; none where one is not installed.
    """

    max_tokens: int
    skip_empty: bool
    model_limit: int
    versions: Mapping[str, str]


def reader_versions() -> dict[str, str]:
    """Installed versions of what reads files: with another one the same file may give another text."""
    return versions(READERS)


def find_inputs(inputs: Sequence[Path | str], out: Path) -> Inputs:
    """The files behind what the user named.

    Args:
        inputs: Files and folders.
        out: The index, absolute; its own files are no documents, wherever it lies.

    Raises:
        DataError: No input, a path that does not exist, or a named file of a kind that is not read.
    """
    strict, others = [], []
    for path in map(Path, inputs):
        corpus = benchmark_corpus(path) if path.is_dir() else path
        if corpus is not None and corpus.is_file() and corpus.name.endswith(JSONL_SUFFIXES):
            strict.append(_strict(corpus))
        elif path.is_file() and kind_of(path.name) is None:
            raise DataError(
                f"files of kind {path.suffix or path.name!r} cannot be read", path=path,
                fix="name text, Markdown, HTML, PDF, DOCX, JSON lines, CSV or Parquet, or a folder of such files",
            )  # fmt: skip
        else:
            others.append(path)
    taken = {source.key for source in strict}
    lenient: list[Source] = []
    skipped: list[tuple[str, str]] = []
    if others or not strict:
        found = find_sources(others)
        for source in found.sources:
            place = os.path.realpath(source.path)
            if place in taken:
                skipped.append((source.key, "named by itself as well"))
            elif not Path(place).is_relative_to(out):
                lenient.append(source)
        own = _own_keys(others, out)
        skipped += [
            (item.place, item.reason) for item in found.skipped if not any(key in f"/{item.place}/" for key in own)
        ]
    named = {os.path.realpath(path) for path in others}
    return Inputs(
        tuple(dict.fromkeys([*strict, *lenient])), frozenset(taken),
        frozenset(source.key for source in lenient if os.path.realpath(source.path) in named), tuple(skipped),
    )  # fmt: skip


def _own_keys(inputs: Sequence[Path], out: Path) -> list[str]:
    """A part of the keys of whatever lies in the index, for each folder that holds it."""
    roots = [Path(os.path.realpath(path)) for path in inputs]
    return [f"/{root.name}/{out.relative_to(root).as_posix()}/" for root in roots if root in out.parents]


def unchanged(source: Source, row: SourceRow | None) -> SourceRow | None:
    """The row of a source that is as it was, by size and date or else by content; None for one that must be read.

    Args:
        source: As it is now.
        row: What the old index knows of it.
    """
    if row is None or (row.size, row.kind) != (source.size, source.kind) or not row.digest:
        return None
    if row.modified_ns == source.modified_ns:
        return row
    if row.digest != _digest(source.path):
        return None
    return replace(row, modified_ns=_trusted(source))


def old_batches(old: Passages, first: int, first_signed: int, row: SourceRow) -> Iterator[Batch]:
    """The passages of an unchanged source from the old index.

    Args:
        old: Passages of the old index.
        first: Position of the source's first passage.
        first_signed: Position of its first signature.
        row: Of the source.

    Raises:
        DataError: The old index is damaged.
    """
    for start in range(0, row.passages, BATCH):
        count = min(BATCH, row.passages - start)
        places = range(first + start, first + start + count)
        lines = [old.line(place) for place in places]
        try:
            ids = [parse_line(line).id for line in lines]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"a line of the old index is damaged: {error}", fix="build it again with --full") from error
        signed = first_signed + start
        digests = old.digests[places.start : places.stop]
        yield Batch(ids, lines, digests, old.signatures[signed : signed + count] if row.signed else None)


def read_source(
    source: Source, writer: PassageWriter, embedder: Embedder, settings: Settings, *, strict: bool, named: bool
) -> SourceRow:
    """Read a source into an index.

    Args:
        source: The file.
        writer: Takes its passages.
        embedder: Counts tokens.
        settings: See `Settings`.
        strict: Refuse what is wrong.
        named: The user named this very file: refuse it where nothing of it, or not every record, can be read.

    Raises:
        DataError: See `strict` and `named`.
        MissingExtraError: The package that finds near-duplicates is not installed.
    """
    row = SourceRow(source.key, source.kind, source.size, _trusted(source), _digest(source.path))
    if strict:
        return _read_strict(source, row, writer, embedder, settings)
    limit = settings.max_tokens - embedder.document_overhead
    read = read_file(source, limit=limit, count_tokens=embedder.count_tokens)
    skipped = [(item.place, item.reason) for item in read.skipped]
    if named and skipped and (not read.passages or source.kind in RECORDS):
        raise DataError(skipped[0][1], path=skipped[0][0], fix="correct it, or name its folder to leave it out")
    row = replace(row, signed=source.kind not in RECORDS, characters=read.n_characters)
    for documents in batches(map(_document, read.passages), BATCH):
        row, clashing = _add(documents, row, writer, embedder, settings)
        skipped += [(f"{source.key} {identifier}", "the id occurs in an earlier file") for identifier in clashing]
    return replace(row, skipped=tuple(skipped))


def _read_strict(
    source: Source, row: SourceRow, writer: PassageWriter, embedder: Embedder, settings: Settings
) -> SourceRow:
    """Survey first: what is wrong is told before anything else is done, and in the words of `io.documents`."""
    found = survey([source.path], skip_empty=settings.skip_empty)
    row = replace(row, empty=found.n_empty)
    for documents in batches(read_documents(found.files, skip_empty=settings.skip_empty), BATCH):
        row = replace(row, characters=row.characters + sum(len(document.text) for document in documents))
        row, clashing = _add(documents, row, writer, embedder, settings)
        if clashing:
            raise DataError(
                f"document id {clashing[0]!r} occurs in an earlier file too", path=source.path,
                fix="give every document its own id",
            )  # fmt: skip
    return row


def _add(
    documents: Sequence[Document], row: SourceRow, writer: PassageWriter, embedder: Embedder, settings: Settings
) -> tuple[SourceRow, list[str]]:
    """Add passages; the row with their numbers, and the ids that were there before."""
    contents = [document.content for document in documents]
    clashing = writer.add(batch_of(documents, signatures(contents) if row.signed else None))
    counts = [] if row.signed else embedder.count_tokens(contents)  # a chunk was made to fit
    n_truncated = sum(count > settings.model_limit - embedder.document_overhead for count in counts)
    return (
        replace(
            row, passages=row.passages + len(documents) - len(clashing), clashes=row.clashes + len(clashing),
            truncated=row.truncated + n_truncated,
        ),
        clashing,
    )  # fmt: skip


def old_rows(sources: Sources | None) -> dict[str, tuple[SourceRow, int, int]]:
    """Key -> row, position of its first passage, position of its first signature."""
    found: dict[str, tuple[SourceRow, int, int]] = {}
    first = first_signed = 0
    for row in sources.rows if sources else ():
        found[row.key] = row, first, first_signed
        first += row.passages
        first_signed += row.passages if row.signed else 0
    return found


def _strict(path: Path) -> Source:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=path) from error
    return Source(path, os.path.realpath(path), "jsonl", status.st_size, status.st_mtime_ns)


def _trusted(source: Source) -> int:
    return source.modified_ns if time.time_ns() - source.modified_ns > TRUSTED_AGE_NS else -1


def _digest(path: Path) -> str:
    """SHA-256 of a file; empty where it cannot be read, which its reader will say."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _document(passage: Passage) -> Document:
    return Document(passage.id, passage.text, passage.title)
