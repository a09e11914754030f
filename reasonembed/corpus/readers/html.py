"""HTML through selectolax (Lexbor): headings, paragraphs, lists, tables and code; navigation, scripts and forms are dropped.

The tree is walked with a loop, so that its depth is no danger. Places count the paragraphs of the file: `p7`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reasonembed.corpus.chunking import Section
from reasonembed.corpus.cleaning import decode
from reasonembed.corpus.readers.outline import Outline
from reasonembed.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

DROPPED = frozenset(
    ("script", "style", "nav", "footer", "aside", "template", "noscript", "svg", "iframe", "object", "head", "button",
     "select", "textarea", "canvas", "audio", "video", "dialog", "-comment", "!doctype")
)  # fmt: skip
"""Elements whose text is not the page's own."""

INLINE = frozenset(
    ("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img",
     "ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt",
     "u", "var", "wbr", "math", "mi", "mn", "mo", "mrow", "msup", "msub", "mfrac", "msqrt")
)  # fmt: skip
"""Elements that do not end a paragraph; every other one does."""

PARTS_OF_A_PAGE = frozenset(("h1", "h2", "h3", "h4", "pre", "table", "article", "section", "main"))
"""A table that holds one of these only arranges the page; its cells are read as parts of the page."""

MAX_DEPTH = 5_000
"""Elements inside each other: Lexbor's time grows with the square of it (0.1 s here, 30 s at 100,000). Browsers stop at 512."""

CHARSET_WITHIN = 4096
"""Bytes in which a page declares its encoding; the standard says 1,024, and pages are late."""

_CHARSET = re.compile(rb"charset\s{0,10}=\s{0,10}[\"']?([A-Za-z0-9_:.\-]{1,40})|encoding=[\"']([A-Za-z0-9_\-]{1,40})")
_NESTING = re.compile(
    r"<(/?)(?!/|(?:p|li|d[td]|t[dhr]|tbody|thead|tfoot|option|br|hr|img|input|link|meta|wbr|col|source|area)\b)[A-Za-z]",
    re.IGNORECASE,
)
"""Begins and ends of elements, except those that need no end."""
_HEADING = re.compile(r"h[1-6]")


def read(path: Path, key: str) -> Iterator[Section]:
    """Yield the sections of a page; `<title>` is the title of what stands before the first heading.

    Raises:
        MissingExtraError: selectolax is not installed.
        DataError: Binary content, or nested too deep.
    """
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError as error:
        raise MissingExtraError("selectolax", "docs", "reading HTML") from error
    data = path.read_bytes()
    found = _CHARSET.search(data[:CHARSET_WITHIN])
    text = decode(data, declared=(found[1] or found[2]).decode() if found else None)
    check_depth(text)
    tree = LexborHTMLParser(text)
    title = tree.css_first("title")
    page = _Page(Outline(title.text() if title is not None else ""))
    if tree.root is not None:
        page.walk(tree.root)
    yield from page.outline.sections()


def check_depth(text: str) -> None:
    """Refuse a page before it is parsed if its elements stand deeper in each other than `MAX_DEPTH`.

    Raises:
        DataError: It is too deep.
    """
    depth = 0
    for match in _NESTING.finditer(text):
        depth = max(depth - 1, 0) if match[1] else depth + 1
        if depth > MAX_DEPTH:
            raise DataError(f"elements nested more than {MAX_DEPTH:,} deep", fix="repair the page")


class _Page:
    """Text that has been walked over and belongs to no paragraph yet, and what it stands in."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self._parts: list[str] = []
        self._number = 0  # of the paragraph
        self._level = 0  # of the heading that is open
        self._code = 0  # how many are open
        self._tables: list[bool] = []  # those that are open; False where a table only arranges the page

    @property
    def _in_table(self) -> bool:
        return bool(self._tables) and self._tables[-1]

    def walk(self, root: LexborNode) -> None:
        """Depth first, without recursion."""
        node: LexborNode | None = root
        while node is not None:
            if node.tag not in DROPPED:
                self._enter(node)
                if node.child is not None:
                    node = node.child
                    continue
                self._leave(node)
            while node is not None and node.next is None:
                node = node.parent
                if node is not None:
                    self._leave(node)
            node = node.next if node is not None else None

    def _enter(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "-text":
            self._parts.append(node.text_content or "")
        elif tag in ("td", "th") and self._in_table:
            self._parts.append(" | ")
        elif tag == "br" or (tag == "tr" and self._in_table):
            self._parts.append("\n")
        elif tag == "img":
            self._parts.append(node.attributes.get("alt") or "")
        elif self._in_table and tag not in PARTS_OF_A_PAGE:
            self._parts.append("" if tag in INLINE else " ")
        elif tag not in INLINE:
            self._end()
            if self._in_table:
                self._tables[-1] = False
            self._code += tag == "pre"
            if tag == "table":
                self._tables.append(True)
            self._level = int(tag[1]) if _HEADING.fullmatch(tag) else self._level
            if tag == "li":
                self._parts.append("- ")

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "-text" or tag in INLINE or tag == "br" or (self._in_table and tag != "table"):
            return
        self._end()
        self._code -= tag == "pre"
        if tag == "table":
            self._tables.pop()
        self._level = 0 if _HEADING.fullmatch(tag) else self._level

    def _end(self) -> None:
        """A paragraph ends here."""
        text = "".join(self._parts)
        self._parts = []
        if not text.strip(" \t\r\n-|"):
            return
        self._number += 1
        place = f"p{self._number}"
        if self._level:
            self.outline.heading(self._level, text, place)
        elif self._in_table:
            rows = (" ".join(row.split()).strip("| ") for row in text.split("\n"))
            self.outline.paragraph("\n".join(row for row in rows if row), place, layout=True)
        else:
            self.outline.paragraph(text, place, layout=bool(self._code))
