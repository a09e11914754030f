"""DOCX: headings by style, tables; archives that are bombs or broken."""

from __future__ import annotations

import zipfile

import docx
import pytest

from reasonembed.corpus.readers.docx import check_archive
from reasonembed.errors import DataError


def test_headings_paragraphs_and_tables_in_order(tmp_path, read):
    document = docx.Document()
    document.add_paragraph("Before.")
    document.add_heading("The title", 0)
    document.add_heading("One", 1)
    document.add_paragraph("Text\twith a tab.")
    document.add_heading("Deeper", 2)
    table = document.add_table(rows=2, cols=2)
    for row, texts in zip(table.rows, (("a", "b"), ("1", "2")), strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    table.rows[1].cells[0].merge(table.rows[1].cells[1])
    document.add_paragraph("item", style="List Bullet")
    document.save(tmp_path / "a.docx")
    assert [(p.id, p.title, p.text) for p in read(tmp_path / "a.docx").passages] == [
        ("a.docx#p1", "", "Before."),
        ("a.docx#p2", "", "The title"),
        ("a.docx#p4", "One", "Text with a tab."),
        ("a.docx#p6", "One > Deeper", "a | b\n1 2\n\nitem"),
    ]


def bomb(path, size, *, name="word/document.xml"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as file:
        for _ in range(size // 1_000_000):
            file.write(b" " * 1_000_000)
    return path


def test_a_bomb_is_not_unpacked(tmp_path, read):
    (skipped,) = read(bomb(tmp_path / "a.docx", 150_000_000)).skipped
    assert skipped.reason.startswith("unpacks to 150,000,000 bytes, 150,000,000 of them XML; the limits are")
    (skipped,) = read(bomb(tmp_path / "b.docx", 50_000_000, name="word/media/a.bmp")).skipped
    assert "times its size, the limit is 200: a zip bomb" in skipped.reason


def test_an_archive_that_lies_about_its_size(tmp_path, read):
    """The central directory says 1,000 bytes, the member unpacks to 20 million."""
    path = bomb(tmp_path / "a.docx", 20_000_000)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (1_000).to_bytes(4, "little")
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].file_size == 1_000
    (skipped,) = read(path).skipped
    assert "Bad CRC-32" in skipped.reason or "bomb" in skipped.reason


def test_the_real_sizes_are_checked(tmp_path):
    path = bomb(tmp_path / "a.docx", 5_000_000)
    check_archive(path)
    with pytest.raises(DataError, match="the limits are 1,000 and"):
        check_archive(path, max_unpacked=1_000)


def test_many_files_and_no_archive(tmp_path, read):
    with zipfile.ZipFile(tmp_path / "many.docx", "w") as archive:
        for number in range(20_001):
            archive.writestr(str(number), "")
    assert read(tmp_path / "many.docx").skipped[0].reason.startswith("an archive of 20,001 files")
    (tmp_path / "no.docx").write_bytes(b"PK\x03\x04 no archive")
    assert "BadZipFile" in read(tmp_path / "no.docx").skipped[0].reason
    with zipfile.ZipFile(tmp_path / "other.docx", "w") as archive:
        archive.writestr("hello.txt", "no document")
    assert "cannot be read" in read(tmp_path / "other.docx").skipped[0].reason


def test_entities_are_not_expanded_and_depth_is_no_danger(tmp_path, read):
    docx.Document().save(tmp_path / "good.docx")
    laughs = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    main = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    for name, body in (("laughs", "<w:p><w:r><w:t>&j;</w:t></w:r></w:p>"), ("deep", "<w:p>" * 100_000)):
        xml = f'<?xml version="1.0"?>{laughs}]><w:document xmlns:w="{main}"><w:body>{body}</w:body></w:document>'
        with zipfile.ZipFile(tmp_path / "good.docx") as good, zipfile.ZipFile(tmp_path / f"{name}.docx", "w") as bad:
            for member in good.namelist():
                bad.writestr(member, xml if member == "word/document.xml" else good.read(member))
        result = read(tmp_path / f"{name}.docx")
        assert not result.passages
        assert result.skipped
