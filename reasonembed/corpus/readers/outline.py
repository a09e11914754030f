"""Headings and paragraphs as they come in a file -> sections with their heading paths; shared by the readers."""

from __future__ import annotations

from collections.abc import Iterator

from reasonembed.corpus.chunking import Paragraph, Section
from reasonembed.corpus.cleaning import clean


class Outline:
    """Collects the headings and paragraphs of one file, in order.

    Args:
        title: Stands above what comes before the first heading; may be empty.
    """

    def __init__(self, title: str = "") -> None:
        self._title = clean(title)
        self._open: list[tuple[int, str, str]] = []  # (level, text, place) of the headings that hold here
        self._paragraphs: list[Paragraph] = []
        self._sections: list[Section] = []
        self._bare = False  # whether nothing has followed the last heading yet

    def heading(self, level: int, text: str, place: str) -> None:
        """A heading; level 1 is the outermost. One without text under it becomes a paragraph of its own."""
        text = clean(text)
        if not text:
            return
        deeper = bool(self._open) and level > self._open[-1][0]
        if self._bare and not deeper:
            _, bare, bare_place = self._open.pop()
            self._paragraphs.append(Paragraph(bare, bare_place))
        self._close()
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        self._open.append((level, text, place))
        self._bare = True

    def paragraph(self, text: str, place: str, *, layout: bool = False) -> None:
        """A paragraph; `layout` keeps its line ends (see `clean`). Nothing happens where no text is left."""
        text = clean(text, layout=layout)
        if text:
            self._paragraphs.append(Paragraph(text, place))
            self._bare = False

    def sections(self) -> Iterator[Section]:
        """Yield everything, once the file has ended."""
        if self._bare:
            _, bare, place = self._open.pop()
            self._paragraphs.append(Paragraph(bare, place))
            self._bare = False
        self._close()
        yield from self._sections

    def _close(self) -> None:
        if self._paragraphs:
            headings = tuple(text for _, text, _ in self._open) or ((self._title,) if self._title else ())
            self._sections.append(Section(headings, tuple(self._paragraphs)))
            self._paragraphs = []
