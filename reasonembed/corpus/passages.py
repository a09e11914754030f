"""A source to passages: read by the reader of its kind, chunked, each with an id that leads back to file and place.

A file that cannot be read, or a part of it, is a reason in the result and never an error, so that one file does not end a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reasonembed.corpus.chunking import CountTokens, Section, chunk, count_in_batches
from reasonembed.corpus.readers import KINDS
from reasonembed.corpus.sources import Skipped, Source
from reasonembed.types import Document

MAX_SKIPPED = 100
"""Reasons kept of one file; the others are counted."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What is embedded and found.

    Attributes:
        id: `KEY#PLACE` of a chunk, such as `book/ch1.md#L12`; a record's own id.
        text: The chunk or record.
        title: The heading path of a chunk, `Ch 1 > Sec 2`; a record's own title.
    """

    id: str
    text: str
    title: str

    @property
    def content(self) -> str:
        """What is embedded, as `Document.content`."""
        return Document(self.id, self.text, self.title).content


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What a file gave.

    Attributes:
        source: The file.
        passages: In the order of the file.
        skipped: Parts that were left out; the whole file, or its rest, where its place is the source's key.
        n_characters: Characters of text read.
        n_cut: Records over the limit, whose end will not be embedded; chunks never are.
    """

    source: Source
    passages: tuple[Passage, ...]
    skipped: tuple[Skipped, ...]
    n_characters: int
    n_cut: int


def read_file(source: Source, *, limit: int, count_tokens: CountTokens) -> ReadFile:
    """Read and chunk a file.

    Args:
        source: As `find_sources` gives it.
        limit: Most tokens of a chunk's `content`, special tokens not counted.
        count_tokens: Tokens of each text, special tokens not counted.

    Raises:
        DataError: The limit is below `chunking.MIN_LIMIT`.
    """
    sections: list[Section] = []
    records: list[Passage] = []
    skipped: list[Skipped] = []
    for part in _parts(source):
        if isinstance(part, Skipped):
            skipped.append(part)
        elif isinstance(part, Passage):
            records.append(part)
        else:
            sections.append(part)
    passages = [*records, *_chunks(source.key, sections, limit, count_tokens)]
    if not passages and not skipped:
        skipped.append(Skipped(source.key, f"no text in it{KINDS[source.kind].hint}"))
    characters = sum(len(paragraph.text) for section in sections for paragraph in section.paragraphs)
    characters += sum(len(record.text) for record in records)
    lengths = count_in_batches([record.content for record in records], count_tokens)
    n_cut = sum(tokens > limit for tokens in lengths)
    return ReadFile(source, tuple(passages), _bounded(source.key, skipped), characters, n_cut)


def _parts(source: Source) -> Iterator[Section | Passage | Skipped]:
    from reasonembed.corpus.readers.guarded import parts_of, read_guarded

    kind = KINDS[source.kind]
    if kind.max_bytes is not None and source.size > kind.max_bytes:
        reason = f"{source.size:,} bytes, the limit for {source.kind} is {kind.max_bytes:,}"
        yield Skipped(source.key, f"{reason}. Fix: split it")
    elif kind.guarded:
        yield from read_guarded(source.kind, source.path, source.key, size=source.size)
    else:
        yield from parts_of(source.kind, source.path, source.key)


def _chunks(key: str, sections: Sequence[Section], limit: int, count_tokens: CountTokens) -> Iterator[Passage]:
    """Chunks with their ids; a second one that begins in the same place gets `.2`."""
    seen: Counter[str] = Counter()
    for piece in chunk(sections, limit=limit, count_tokens=count_tokens):
        seen[piece.place] += 1
        times = seen[piece.place]
        yield Passage(f"{key}#{piece.place}" + (f".{times}" if times > 1 else ""), piece.text, piece.title)


def _bounded(key: str, skipped: Sequence[Skipped]) -> tuple[Skipped, ...]:
    if len(skipped) <= MAX_SKIPPED:
        return tuple(skipped)
    return (*skipped[:MAX_SKIPPED], Skipped(key, f"{len(skipped) - MAX_SKIPPED:,} more parts were skipped"))
