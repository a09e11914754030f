"""Markdown, line by line: headings, fenced code and front matter are known, everything else stays as it is written.

Of links and pictures the text is kept, not the address. One pass over the lines, whatever the nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from reasonembed.corpus.chunking import Section
from reasonembed.corpus.cleaning import decode
from reasonembed.corpus.readers.outline import Outline

FRONT_MATTER_LINES = 200
"""Longest front matter; a rule `---` that opens a text is not closed that soon."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_RULE = re.compile(r" {0,3}(?:[-*_][ \t]*){3,}$")
_MARK = re.compile(r"[-*+][ \t]|\d{1,9}[.)][ \t]|\|")
_QUOTE = re.compile(r"[ \t]{0,3}>[> \t]*")
_DATA = re.compile(r"\(data:[^()\s]*\)")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\((?:[^()\s]{0,2000})(?:[ \t]+\"[^\"]{0,500}\")?\)")
_TITLE = re.compile(r"title:[ \t]*(.+)")


def read(path: Path, key: str) -> Iterator[Section]:
    """Yield the sections; a place is the line a paragraph begins at, `L12`."""
    lines = decode(path.read_bytes()).splitlines()
    first, title = _front_matter(lines)
    scan = _Scan(Outline(title))
    for number, line in enumerate(lines[first:], start=first + 1):
        scan.line(number, line)
    scan.flush()
    yield from scan.outline.sections()


def _front_matter(lines: list[str]) -> tuple[int, str]:
    """How many lines the front matter takes, and the title it gives."""
    if not lines or lines[0].rstrip() != "---":
        return 0, ""
    for number, line in enumerate(lines[1:FRONT_MATTER_LINES], start=1):
        if line.rstrip() in ("---", "..."):
            titles = (match[1].strip().strip("\"'") for match in map(_TITLE.match, lines[1:number]) if match)
            return number + 1, next(titles, "")
    return 0, ""


class _Scan:
    """Lines to headings and paragraphs: the lines of the open paragraph, and the fence or comment they stand in."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self._lines: list[str] = []
        self._start = 0
        self._fence = ""
        self._comment = False

    def line(self, number: int, line: str) -> None:
        if self._fence:
            self._in_fence(line)
        elif self._comment or line.lstrip().startswith("<!--"):
            self._comment = "-->" not in line
        elif not line.strip():
            self.flush()
        elif (fence := _FENCE.match(line)) and "`" not in line[fence.end() :]:
            self.flush()
            self._fence, self._start = fence[1], number + 1
        else:
            self._text(number, _QUOTE.sub("", line, count=1) if line.lstrip().startswith(">") else line)

    def _in_fence(self, line: str) -> None:
        if line.strip().startswith(self._fence) and not line.strip().strip(self._fence[0]):
            self.flush()
        else:
            self._lines.append(line)

    def _text(self, number: int, line: str) -> None:
        if heading := _HEADING.match(line):
            self.flush()
            text = line[heading.end() :].strip()
            closed = text.rstrip("#")
            self.outline.heading(
                len(heading[1]), _plain(closed if closed[-1:] in ("", " ", "\t") else text), f"L{number}"
            )
        elif self._lines and _UNDERLINE.match(line) and not _has_layout(self._lines[-1]):
            text, self._lines = " ".join(self._lines), []
            self.outline.heading(1 if "=" in line else 2, _plain(text), f"L{self._start}")
        elif _RULE.match(line):
            self.flush()
        else:
            if not self._lines:
                self._start = number
            self._lines.append(line)

    def flush(self) -> None:
        """End the open paragraph or block of code."""
        text = "\n".join(self._lines)
        layout = bool(self._fence) or any(map(_has_layout, self._lines))
        self.outline.paragraph(text if self._fence else _plain(text), f"L{self._start}", layout=layout)
        self._lines, self._fence = [], ""


def _has_layout(line: str) -> bool:
    """Whether this is a line of a list, a table or indented code: its end means something."""
    return line.startswith(("    ", "\t")) or " | " in line or _MARK.match(line.lstrip()) is not None


def _plain(text: str) -> str:
    """Text without the addresses of its links and pictures; twice, for a picture inside a link."""
    if "](" not in text:
        return text
    return _LINK.sub(r"\1", _LINK.sub(r"\1", _DATA.sub("()", text)))
