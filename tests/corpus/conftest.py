"""Fixtures of documents: a counter of tokens, a source of a file, and PDFs made from lines of text."""

from __future__ import annotations

import pytest

from reasonembed.corpus.passages import read_file
from reasonembed.corpus.readers.guarded import close_all
from reasonembed.corpus.sources import find_sources


def words(texts):
    """A tokenizer whose tokens are words."""
    return [len(text.split()) for text in texts]


@pytest.fixture(scope="session")
def read():
    """A function: path -> ReadFile, with words as tokens."""

    def read(path, limit=100):
        (source,) = find_sources([path]).sources
        return read_file(source, limit=limit, count_tokens=words)

    return read


@pytest.fixture(scope="session", autouse=True)
def _processes():
    yield
    close_all()


@pytest.fixture(scope="session")
def make_pdf():
    """A function: writes pages, each a list of lines, with outline entries (title, page from 0, level from 0)."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    def make(path, pages, outline=(), password=None):
        writer = PdfWriter()
        font = DictionaryObject(
            {NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
             NameObject("/BaseFont"): NameObject("/Helvetica")}
        )  # fmt: skip
        for lines in pages:
            page = writer.add_blank_page(width=600, height=800)
            shown = " T* ".join("({}) Tj".format(line.replace("(", r"\(").replace(")", r"\)")) for line in lines)
            stream = DecodedStreamObject()
            stream.set_data(f"BT /F1 10 Tf 14 TL 50 750 Td {shown} ET".encode("latin-1"))
            page[NameObject("/Contents")] = writer._add_object(stream)
            page[NameObject("/Resources")] = DictionaryObject(
                {NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})}
            )
        above = {}
        for title, page_number, level in outline:
            above[level] = writer.add_outline_item(title=title, page_number=page_number, parent=above.get(level - 1))
        if password is not None:
            writer.encrypt(password, algorithm="RC4-128")
        writer.write(path)
        return path

    return make
