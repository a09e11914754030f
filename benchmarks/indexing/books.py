"""The openstax textbooks as folders of files: what the reading and the indexing of documents are measured on.

    from indexing.books import write_books
    files = write_books(Path("/tmp/books-md"), "md")            # "md", "html", "docx" or "pdf"; all 8 books
    files = write_books(Path("/tmp/few"), "pdf", modules=50)    # the first 50 modules only

    python benchmarks/indexing/books.py /tmp/books-md md                 # the same from the shell

A file is a module (`FOLDER/biology/m12345.md`), about 12 thousand characters under up to three levels of headings. "docx" needs
python-docx, "pdf" fpdf2 (`pip install fpdf2`), which nothing else of the project needs.
"""

from __future__ import annotations

import gzip
import html
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DATA = Path("/work/shared/data/openstax/passages.jsonl.gz")
FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
"""Font of the PDFs; without it they hold Latin-1 only."""

Module = list[tuple[tuple[str, ...], str]]
"""(heading path, paragraph) in order; the first heading is the module's title."""


def modules_of(data: Path = DATA) -> dict[str, Module]:
    """Read the passages: `biology/m12345` -> its paragraphs with their heading paths, in the order of the file."""
    modules: dict[str, Module] = {}
    with gzip.open(data, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            modules.setdefault(row["module"], []).append((tuple(row["title"].split(" - ")), row["text"]))
    return modules


def write_books(folder: Path, kind: str, *, data: Path = DATA, modules: int | None = None) -> list[Path]:
    """Write one file a module; files that are there are written anew.

    Args:
        folder: Gets a folder a book.
        kind: `md`, `html`, `docx` or `pdf`.
        data: The passages.
        modules: Only the first so many; None writes all.

    Returns:
        The files, in the order of the books.
    """
    write = WRITERS[kind]
    files = []
    for name, module in list(modules_of(data).items())[:modules]:
        path = folder / f"{name}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, items_of(module))
        files.append(path)
    return files


Item = tuple[int, str]
"""(level of a heading from 1, or 0 for a paragraph; its text)."""


def items_of(module: Module) -> list[Item]:
    """Headings where the path changes, and the paragraphs between them."""
    items: list[Item] = []
    before: tuple[str, ...] = ()
    for path, text in module:
        same = 0
        while same < min(len(path), len(before)) and path[same] == before[same]:
            same += 1
        items += [(level, path[level - 1]) for level in range(same + 1, len(path) + 1)]
        items.append((0, text))
        before = path
    return items


def _write_markdown(path: Path, items: Sequence[Item]) -> None:
    lines = [f"{'#' * level} {text}" if level else text for level, text in items]
    path.write_text("\n\n".join(lines) + "\n", "utf-8")


def _write_html(path: Path, items: Sequence[Item]) -> None:
    tags = ["p", "h1", "h2", "h3", "h4", "h5", "h6"]
    body = "\n".join(f"<{tags[level]}>{html.escape(text)}</{tags[level]}>" for level, text in items)
    page = (
        f'<!doctype html>\n<html><head><meta charset="utf-8"><title>{html.escape(items[0][1])} | OpenStax</title>'
        "<style>p { margin: 1em }</style><script>var page = 1;</script></head>\n<body><nav><ul><li>Contents</li></ul></nav>"
        f"\n<main>{body}</main>\n<footer>Access for free at openstax.org</footer></body></html>\n"
    )
    path.write_text(page, "utf-8")


def _write_docx(path: Path, items: Sequence[Item]) -> None:
    import docx

    document = docx.Document()
    for level, text in items:
        if level:
            document.add_heading(text, level)
        else:
            document.add_paragraph(text)
    document.save(str(path))


def _write_pdf(path: Path, items: Sequence[Item]) -> None:
    import logging

    import fpdf

    logging.getLogger("fontTools").setLevel(logging.ERROR)

    class Page(fpdf.FPDF):
        def header(self) -> None:
            self.set_font(font, size=8)
            self.cell(0, 8, plain(items[0][1]), new_x="LMARGIN", new_y="NEXT")

        def footer(self) -> None:
            self.set_y(-15)
            self.set_font(font, size=8)
            self.cell(0, 8, f"Page {self.page_no()}", align="C")

    pdf: Any = Page()
    font = "Helvetica"
    plain: Callable[[str], str] = lambda text: text.encode("latin-1", "replace").decode("latin-1")  # noqa: E731
    if FONT.exists():
        pdf.add_font("DejaVu", fname=str(FONT))
        font, plain = "DejaVu", str
    pdf.add_page()
    for level, text in items:
        if level:
            pdf.start_section(plain(text), level=level - 1, strict=False)
        pdf.set_font(font, size=(10, 18, 14, 12, 11, 11, 11)[level])
        pdf.multi_cell(0, 5 if not level else 8, plain(text), new_x="LMARGIN", new_y="NEXT")
        pdf.ln(2)
    pdf.output(str(path))


WRITERS: dict[str, Callable[[Path, Sequence[Item]], None]] = {
    "md": _write_markdown, "html": _write_html, "docx": _write_docx, "pdf": _write_pdf,
}  # fmt: skip

if __name__ == "__main__":
    print(f"{len(write_books(Path(sys.argv[1]), sys.argv[2])):,} files")
