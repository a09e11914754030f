"""The parts of a report: sections, tables, notes, texts, and the whole page with its style sheet (`page.html` beside this file).

Gets plain text and numbers, gives HTML. What a function calls `html` is put in as it is; everything else is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from reasonembed.io.atomic import atomic_write
from reasonembed.llm.prompts import load_prompt, render

SHOWN_CHARS = 1000
"""Characters of a text that are shown where nothing else is said; the rest is cut and said so."""


def write_page(path: Path, *, title: str, summary: str, sections: Sequence[str]) -> Path:
    """Write a report, atomically.

    Args:
        path: The file.
        title: Of the page.
        summary: A sentence below the title.
        sections: HTML, as `section` gives it; empty ones are left out.

    Returns:
        The path.

    Raises:
        StorageError: The file could not be written.
    """
    body = "\n".join(part for part in sections if part)
    html = render(
        load_prompt("reasonembed.pages", "page.html"), title=escaped(title), summary=escaped(summary), sections=body
    )
    with atomic_write(path) as file:
        file.write(html)  # type: ignore[call-overload]
    return path


def section(title: str, *html: str) -> str:
    """A titled part of a page."""
    return f"<section>\n<h2>{escaped(title)}</h2>\n" + "\n".join(html) + "\n</section>"


def note(html: str) -> str:
    """A line in smaller letters."""
    return f'<p class="note">{html}</p>'


def paragraph(content: str, limit: int = SHOWN_CHARS) -> str:
    """A text with its line ends, cut to `limit` characters."""
    cut = f" … ({len(content) - limit:,} more characters)" if len(content) > limit else ""
    return f'<p class="text">{escaped(content[:limit])}{escaped(cut)}</p>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[int] = ()) -> str:
    """A table; the columns numbered in `words` are text."""
    kinds = [' class="words"' if place in words else "" for place in range(len(head))]
    top = "".join(f"<th{kind}>{escaped(cell)}</th>" for kind, cell in zip(kinds, head, strict=True))
    lines = ("".join(f"<td{kind}>{escaped(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>\n<tr>{top}</tr>\n{body}\n</table></div>'


def configuration(config: Mapping[str, Any]) -> str:
    """A section with a configuration, folded up."""
    shown = json.dumps(config, indent=2, ensure_ascii=False)
    return section(
        "Configuration", f'<details><summary>Show</summary><pre class="text">{escaped(shown)}</pre></details>'
    )


def duration(seconds: float) -> str:
    """Seconds in words: `12.5 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02} min"


def escaped(plain: str) -> str:
    """Text as HTML, without control characters."""
    shown = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in plain)
    return escape(shown, quote=True)
