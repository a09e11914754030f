"""DOCX through python-docx: headings by their style, paragraphs, tables. The archive is checked before anything is parsed.

Places count the paragraphs and tables of the file: `p7`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonembed.corpus.chunking import Section
from reasonembed.corpus.readers.outline import Outline
from reasonembed.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from docx.table import Table

MAX_XML = 100_000_000
"""Bytes of XML in one document, unpacked: its tree takes some ten times as much memory. War and Peace has 15 MB."""

MAX_UNPACKED = 1_000_000_000
"""Bytes of everything in the archive, unpacked; pictures are the rest of it."""

MAX_RATIO, RATIO_FROM = 200, 10_000_000
"""Bytes unpacked a byte packed, asked from this size on: XML of a real document packs 10 to 50 times, a bomb 1,000."""

MAX_MEMBERS = 20_000
"""Files in the archive; a document has a dozen, and one for each picture."""

_HEADING = re.compile(r"heading\s*([1-9])", re.IGNORECASE)


def read(path: Path, key: str) -> Iterator[Section]:
    """Yield the sections of a document.

    Raises:
        MissingExtraError: python-docx is not installed.
        DataError: The archive is a bomb.
    """
    try:
        import docx
        from docx.text.paragraph import Paragraph
    except ImportError as error:
        raise MissingExtraError("docx", "docs", "reading DOCX") from error
    check_archive(path)
    document = docx.Document(str(path))
    outline = Outline()
    levels: dict[str | None, int] = {}
    for number, item in enumerate(document.iter_inner_content(), start=1):
        if not isinstance(item, Paragraph):
            outline.paragraph(_table_text(item), f"p{number}", layout=True)
            continue
        style = item._p.style  # the style's id; the style itself is looked up once each
        if style not in levels:
            levels[style] = _level(item)
        if levels[style]:
            outline.heading(levels[style], item.text, f"p{number}")
        else:
            outline.paragraph(item.text, f"p{number}")
    yield from outline.sections()


def check_archive(
    path: Path, *, max_xml: int = MAX_XML, max_unpacked: int = MAX_UNPACKED, max_ratio: int = MAX_RATIO
) -> None:
    """Refuse an archive that unpacks to too much, by what it declares and then by what really comes out.

    Raises:
        DataError: Too many files, too many bytes, or a ratio that no document has.
        zipfile.BadZipFile: No archive, or a damaged one.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise DataError(f"an archive of {len(members):,} files, the limit is {MAX_MEMBERS:,}")
        packed = path.stat().st_size
        _check_sizes(members, [member.file_size for member in members], packed, max_xml, max_unpacked, max_ratio)
        sizes: list[int] = []
        for member in members:
            with archive.open(member) as file:
                size = 0
                while block := file.read(1 << 20):
                    size += len(block)
                    _check_sizes(members, [*sizes, size], packed, max_xml, max_unpacked, max_ratio)
            sizes.append(size)


def _check_sizes(
    members: list[zipfile.ZipInfo], sizes: list[int], packed: int, max_xml: int, max_unpacked: int, max_ratio: int
) -> None:
    total = sum(sizes)
    xml = sum(size for member, size in zip(members, sizes, strict=False) if member.filename.endswith((".xml", ".rels")))
    if xml > max_xml or total > max_unpacked:
        raise DataError(
            f"unpacks to {total:,} bytes, {xml:,} of them XML; the limits are {max_unpacked:,} and {max_xml:,}",
            fix="split the document",
        )
    if total > RATIO_FROM and total > max_ratio * packed:
        raise DataError(f"unpacks to {total / packed:,.0f} times its size, the limit is {max_ratio}: a zip bomb")


def _level(paragraph: Any) -> int:
    """1 to 9 for a heading's style, 0 for others; a document's title is level 1, as is its first heading."""
    name = (paragraph.style.name if paragraph.style is not None else "") or ""
    found = _HEADING.match(name)
    return int(found[1]) if found else int(name == "Title")


def _table_text(table: Table) -> str:
    """A row a line, cells parted by bars; a merged cell is told once."""
    rows = []
    for row in table.rows:
        cells = {id(cell._tc): " ".join(cell.text.split()) for cell in row.cells}
        rows.append(" | ".join(text for text in cells.values() if text))
    return "\n".join(row for row in rows if row)
