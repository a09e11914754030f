"""PDF through pypdf, page by page: its place is `page=3`, its headings those of the document's outline.

Lines are joined to paragraphs, words parted at a line end are made whole, what stands at the edge of many pages is dropped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonembed.corpus.chunking import Paragraph, Section
from reasonembed.corpus.cleaning import clean
from reasonembed.corpus.sources import Skipped
from reasonembed.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from pypdf import PdfReader

Headings = tuple[str, ...]
"""Headings, outermost first."""

MAX_PAGES = 20_000
"""Above the longest books; a page tree that claims more is made to keep a reader busy."""

EDGE_LINES = 2
"""Lines at the head and the foot of a page that may be its running title or number."""

EDGE_SHARE, EDGE_PAGES = 0.2, 3
"""A line at the edge of this share of the pages, and of at least so many, is no text. A fifth: running titles
often name the chapter."""

FULL_LINE = 0.8
"""A line shorter than this share of the page's longest ends its paragraph if it also ends a sentence."""

_HYPHEN = re.compile(r"(?<=[^\W\d_])[-‐\u00ad]\n(?=[^\W\d_])(?=[a-zß-ÿ])")
_DIGITS = re.compile(r"\d+")
_ENDS = (".", "!", "?", ":", "。", "！", "？", '"', "”", ")")


def read(path: Path, key: str) -> Iterator[Section | Skipped]:
    """Yield the sections, none longer than a page; a page that cannot be read is skipped alone.

    Raises:
        MissingExtraError: pypdf is not installed.
        DataError: A password is needed, or there are too many pages.
    """
    try:
        from pypdf import PdfReader
    except ImportError as error:
        raise MissingExtraError("pypdf", "docs", "reading PDF") from error
    reader = PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise DataError("protected by a password", fix="save a copy without it")
    count = len(reader.pages)
    if count > MAX_PAGES:
        raise DataError(f"{count:,} pages, the limit is {MAX_PAGES:,}", fix="split the document")
    texts: list[list[str]] = []
    for number in range(count):
        try:
            texts.append(_lines(reader.pages[number].extract_text()))
        except Exception as error:  # pypdf raises many kinds over a broken page
            texts.append([])
            yield Skipped(f"{key}#page={number + 1}", f"cannot be read: {type(error).__name__}: {error}")
    outline = _outline(reader)
    above: Headings = ()
    for number, lines in enumerate(_without_edges(texts)):
        entries = outline.get(number, ())
        for headings, block in _under_headings(lines, entries, above):
            paragraphs = tuple(Paragraph(text, f"page={number + 1}") for text in _paragraphs(block))
            if paragraphs:
                yield Section(headings, paragraphs)
        above = entries[-1] if entries else above


def _lines(text: str) -> list[str]:
    """Lines of a page without blanks around them; a blank line stays as a mark, but not at the edges."""
    return [line.strip() for line in text.strip().split("\n")] if text.strip() else []


def _without_edges(pages: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """The pages without lines that, digits aside, stand at the edge of many of them."""

    def edges(lines: Sequence[str]) -> set[str]:
        return {_DIGITS.sub("#", line) for line in (*lines[:EDGE_LINES], *lines[-EDGE_LINES:]) if line}

    seen = Counter(line for lines in pages for line in edges(lines))
    least = max(EDGE_PAGES, EDGE_SHARE * len(pages))
    running = {line for line, times in seen.items() if times >= least}
    for lines in pages:
        start, end = 0, len(lines)
        while start < min(EDGE_LINES, end) and (not lines[start] or _DIGITS.sub("#", lines[start]) in running):
            start += 1
        while end > max(start, len(lines) - EDGE_LINES) and (
            not lines[end - 1] or _DIGITS.sub("#", lines[end - 1]) in running
        ):
            end -= 1
        yield lines[start:end]


def _paragraphs(lines: Sequence[str]) -> Iterator[str]:
    """Lines to paragraphs: one ends at a blank line, or where a short line ends a sentence."""
    full = FULL_LINE * max((len(line) for line in lines), default=0)
    block: list[str] = []
    for line in (*lines, ""):
        if line:
            block.append(line)
        if block and (not line or (len(line) < full and line.endswith(_ENDS))):
            if text := clean(_HYPHEN.sub("", "\n".join(block))):
                yield text
            block = []


def _outline(reader: PdfReader) -> dict[int, list[Headings]]:
    """Page from 0 -> the heading paths that begin on it, in the outline's order; empty where the outline is broken."""
    pages: dict[int, list[Headings]] = {}
    try:
        for path, page in _entries(reader):
            pages.setdefault(page, []).append(path)
    except Exception:  # it costs the headings, not the text
        return {}
    return pages


def _under_headings(
    lines: Sequence[str], entries: Sequence[Headings], path: Headings
) -> Iterator[tuple[Headings, Sequence[str]]]:
    """The lines of a page by the heading they stand under.

    A line (or two) that reads as an entry of the outline is its heading, and no text. Entries that are not found count from
    the beginning of the page, unless one before them is found.
    """
    marks: list[tuple[int, int, Headings]] = []  # first line of a heading, first line after it, path
    for entry in entries:
        start = marks[-1][1] if marks else 0
        wanted = "".join(entry[-1].split())
        for at in range(start, len(lines)):
            taken = next((n for n in (1, 2) if "".join("".join(lines[at : at + n]).split()) == wanted), 0)
            if taken:
                marks.append((at, at + taken, entry))
                break
        else:
            path = path if marks else entry  # begins before the first heading that is found
    start = 0
    for at, after, entry in marks:
        yield path, lines[start:at]
        start, path = after, entry
    yield path, lines[start:]


def _entries(reader: PdfReader) -> Iterator[tuple[Headings, int]]:
    """(heading path, page from 0) of every entry of the outline, in order; a list stands for the children of its elder."""
    stack: list[tuple[Iterator[Any], Headings]] = [(iter(reader.outline), ())]
    path: Headings = ()
    while stack:
        entries, above = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
        elif isinstance(entry, list):
            stack.append((iter(entry), path))
        else:
            title = clean(str(entry.title or ""))
            path = (*above, title) if title else above
            page = reader.get_destination_page_number(entry)
            if title and page is not None and page >= 0:
                yield path, page
