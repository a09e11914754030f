"""Plain text: paragraphs are parted by blank lines; their place is the line they begin at, `L12`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from reasonembed.corpus.chunking import Section
from reasonembed.corpus.cleaning import decode
from reasonembed.corpus.readers.outline import Outline

WRAPPED = (40, 120)
"""Characters of the lines of prose that an editor has wrapped; lines of other lengths mean something by their ends."""


def read(path: Path, key: str) -> Iterator[Section]:
    """Yield the text as one section without a heading."""
    outline = Outline()
    lines: list[str] = []
    for number, line in enumerate([*decode(path.read_bytes()).splitlines(), ""], start=1):
        if line.strip():
            lines.append(line)
        elif lines:
            outline.paragraph("\n".join(lines), f"L{number - len(lines)}", layout=not _is_wrapped(lines))
            lines = []
    yield from outline.sections()


def _is_wrapped(lines: Sequence[str]) -> bool:
    """Whether the line ends are those of an editor: all but the last about as long, none indented."""
    shortest, longest = WRAPPED
    return all(shortest <= len(line) <= longest and not line[0].isspace() for line in lines[:-1])
