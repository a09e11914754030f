"""Sections of a document to chunks within a token limit, cut at the best place that is enough.

A section is split between paragraphs; a paragraph that is too long alone at line ends and sentences; a sentence at words; a
word at characters. Neighbours of one section are packed together up to the limit. A chunk is a stretch of its section's text,
so that nothing is lost or doubled. Tokens are counted in a few large calls, whatever the number of texts.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from reasonembed.errors import DataError

TITLE_JOIN = " > "

CountTokens = Callable[[Sequence[str]], list[int]]
"""Tokens of each text, special tokens not counted."""

MIN_LIMIT = 16
"""Shortest limit in tokens: a heading, its blank, and a character of several byte tokens must have room."""

TITLE_SHARE = 0.5
"""Share of the limit that a heading path may take; of a longer one the outer headings are left out first."""

SLACK = 2
"""Tokens kept free: where stretches meet each other or the title, tokens can differ from the sum of the parts by one."""

MAX_CHARS_PER_TOKEN = 32
"""A stretch of more characters a token than this is taken for too long without counting; a hundred megabytes without a line
end never reach a tokenizer in one text. Prose has 4 to 5."""

BATCH_TEXTS, BATCH_CHARS = 1024, 4_000_000
"""Most texts and characters in one call of the counter; bounds its memory."""

_JOIN = "\n\n"
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s)|[。！？]|(?=\n)")
_WORD_END = re.compile(r"(?<=\S)(?=\s)")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph, list item, table or block of code: clean text, and its place within the file (`L12`, `p7`)."""

    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Section:
    """Neighbouring paragraphs under one heading path, outermost heading first; a page of a PDF."""

    headings: tuple[str, ...]
    paragraphs: tuple[Paragraph, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a section that is embedded as one text.

    Attributes:
        text: The stretch.
        title: The heading path, `Chapter 1 > Section 2`.
        place: Place of the paragraph it begins in.
    """

    text: str
    title: str
    place: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch [start, end) of a section's text, blanks before it included; tokens are -1 until they are counted."""

    section: int
    start: int
    end: int
    tokens: int = -1


_Group = tuple[_Piece, ...]
"""Neighbouring pieces that make a chunk."""


def chunk(sections: Sequence[Section], *, limit: int, count_tokens: CountTokens) -> Iterator[Chunk]:
    """Cut sections into chunks.

    Args:
        sections: The sections of a file, in order.
        limit: Most tokens of `title + " " + text` (what is embedded), special tokens not counted.
        count_tokens: Counts the tokens of many texts.

    Yields:
        The chunks, in order; each within the limit.

    Raises:
        DataError: The limit is below `MIN_LIMIT`.
    """
    if limit < MIN_LIMIT:
        raise DataError(f"a limit of {limit} tokens a passage", fix=f"at least {MIN_LIMIT}")
    paths = {section.headings: None for section in sections}
    fitted = _titles(list(paths), int(limit * TITLE_SHARE), count_tokens)
    titles = [fitted[section.headings][0] for section in sections]
    rooms = [limit - fitted[section.headings][1] - SLACK for section in sections]
    texts = [_JOIN.join(paragraph.text for paragraph in section.paragraphs) for section in sections]
    groups = _pack(_cut(sections, texts, rooms, count_tokens), rooms)
    starts = [[piece.start for piece in _paragraphs(number, section)] for number, section in enumerate(sections)]
    for group in _within(groups, texts, titles, rooms, limit, count_tokens):
        number, start, end = group[0].section, group[0].start, group[-1].end
        if body := texts[number][start:end].strip():
            paragraph = sections[number].paragraphs[bisect_right(starts[number], start) - 1]
            yield Chunk(body, titles[number], paragraph.place)


def count_in_batches(texts: Sequence[str], count_tokens: CountTokens) -> list[int]:
    """Tokens of any number of texts, in calls of bounded size."""
    counts: list[int] = []
    batch: list[str] = []
    chars = 0
    for text in texts:
        if batch and (len(batch) == BATCH_TEXTS or chars + len(text) > BATCH_CHARS):
            counts += count_tokens(batch)
            batch, chars = [], 0
        batch.append(text)
        chars += len(text)
    return counts + list(count_tokens(batch)) if batch else counts


def _titles(
    paths: Sequence[tuple[str, ...]], most: int, count_tokens: CountTokens
) -> dict[tuple[str, ...], tuple[str, int]]:
    """Heading path -> its title of at most `most` tokens, and how many it has."""
    fitted: dict[tuple[str, ...], tuple[str, int]] = {path: ("", 0) for path in paths}
    trial = {path: path for path in paths if path}
    while trial:
        written = [TITLE_JOIN.join(parts) for parts in trial.values()]
        counts = _counted(written, [most] * len(written), count_tokens)
        again = {}
        for (path, parts), title, tokens in zip(trial.items(), written, counts, strict=True):
            if tokens <= most:
                fitted[path] = (title, tokens)
            elif shorter := _shorter(parts):
                again[path] = shorter
        trial = again
    return fitted


def _shorter(parts: tuple[str, ...]) -> tuple[str, ...]:
    """A path without its outermost heading; a single heading cut to its first half."""
    if len(parts) > 1:
        return parts[1:]
    half = parts[0][: len(parts[0]) // 2].rstrip()
    return (half,) if half else ()


def _paragraphs(number: int, section: Section) -> list[_Piece]:
    ends = [0]
    for paragraph in section.paragraphs:
        ends.append(ends[-1] + len(paragraph.text) + (len(_JOIN) if len(ends) > 1 else 0))
    return [_Piece(number, start, end) for start, end in pairwise(ends)]


def _cut(
    sections: Sequence[Section], texts: Sequence[str], rooms: Sequence[int], count_tokens: CountTokens
) -> list[_Piece]:
    """The pieces of all sections: paragraphs, and where these are too long, sentences, words, slices of words."""
    pieces = [piece for number, section in enumerate(sections) for piece in _paragraphs(number, section)]
    for ends in (_sentence_ends, _word_ends, _slice_ends):
        pieces = _measured(pieces, texts, rooms, count_tokens)
        finer: list[_Piece] = []
        for piece in pieces:
            if piece.tokens <= rooms[piece.section]:
                finer.append(piece)
                continue
            text = texts[piece.section][piece.start : piece.end]
            cuts = sorted({0, *ends(text, rooms[piece.section]), len(text)})
            finer += [_Piece(piece.section, piece.start + a, piece.start + b) for a, b in pairwise(cuts)]
        pieces = finer
    return _measured(pieces, texts, rooms, count_tokens)


def _sentence_ends(text: str, room: int) -> list[int]:
    return [match.end() for match in _SENTENCE_END.finditer(text)]


def _word_ends(text: str, room: int) -> list[int]:
    return [match.end() for match in _WORD_END.finditer(text)]


def _slice_ends(text: str, room: int) -> list[int]:
    return list(range(0, len(text), max(1, room // 4)))  # a character is at most four byte tokens


def _measured(
    pieces: Sequence[_Piece], texts: Sequence[str], rooms: Sequence[int], count_tokens: CountTokens
) -> list[_Piece]:
    """The pieces with their tokens; those that have them already are not counted again."""
    new = [piece for piece in pieces if piece.tokens < 0]
    stretches = [texts[piece.section][piece.start : piece.end] for piece in new]
    counts = iter(_counted(stretches, [rooms[piece.section] for piece in new], count_tokens))
    return [replace(piece, tokens=next(counts)) if piece.tokens < 0 else piece for piece in pieces]


def _counted(texts: Sequence[str], rooms: Sequence[int], count_tokens: CountTokens) -> list[int]:
    """Tokens of each text; one more than the room, without counting, where the text is far longer than it."""
    huge = [len(text) > room * MAX_CHARS_PER_TOKEN for text, room in zip(texts, rooms, strict=True)]
    asked = [text for text, skip in zip(texts, huge, strict=True) if not skip]
    counts = iter(count_in_batches(asked, count_tokens))
    return [room + 1 if skip else next(counts) for skip, room in zip(huge, rooms, strict=True)]


def _pack(pieces: Sequence[_Piece], rooms: Sequence[int]) -> list[_Group]:
    """Neighbours of one section together, as many as the room takes."""
    groups: list[list[_Piece]] = []
    used = 0
    for piece in pieces:
        same = groups and groups[-1][-1].section == piece.section
        if same and used + piece.tokens <= rooms[piece.section]:
            groups[-1].append(piece)
            used += piece.tokens
        else:
            groups.append([piece])
            used = piece.tokens
    return [tuple(group) for group in groups]


def _within(
    groups: Sequence[_Group],
    texts: Sequence[str],
    titles: Sequence[str],
    rooms: Sequence[int],
    limit: int,
    count_tokens: CountTokens,
) -> list[_Group]:
    """The groups with what is over the limit as a whole cut in two, until nothing is.

    What stays below the limit even if every joint costs a token is not counted again.
    """

    def content(group: _Group) -> str:
        number = group[0].section
        return f"{titles[number]} {texts[number][group[0].start : group[-1].end].strip()}".strip()

    def is_safe(group: _Group) -> bool:
        used = sum(piece.tokens for piece in group) + len(group)
        return min(piece.tokens for piece in group) >= 0 and used <= rooms[group[0].section]

    done: dict[_Group, bool] = {group: True for group in groups if is_safe(group)}
    while new := [group for group in groups if group not in done]:
        counts = count_in_batches([content(group) for group in new], count_tokens)
        done |= {group: tokens <= limit for group, tokens in zip(new, counts, strict=True)}
        groups = [part for group in groups for part in ((group,) if done[group] else _halves(group))]
    return list(groups)


def _halves(group: _Group) -> tuple[_Group, ...]:
    if len(group) > 1:
        return group[: len(group) // 2], group[len(group) // 2 :]
    piece = group[0]
    middle = (piece.start + piece.end) // 2  # its halves are counted anew
    if middle == piece.start:
        return (group,)  # a single character
    return (replace(piece, end=middle, tokens=-1),), (replace(piece, start=middle, tokens=-1),)
