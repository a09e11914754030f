"""PDF: pages, outline, running titles, parted words; files that are locked, broken, cyclic or slow."""

from __future__ import annotations

import pytest

from reasonembed.corpus.readers import guarded
from reasonembed.corpus.readers.pdf import _paragraphs

TEXT = "Each page of this document has a line that is long enough to be called full"


def found(result):
    return [(p.id, p.title, p.text) for p in result.passages]


def test_pages_and_the_headings_of_the_outline(tmp_path, read, make_pdf):
    pages = [["Introduction", "What it is.", "First", "chapter", "Its text."], ["More text."], ["Other words.", "End."]]
    outline = [("Introduction", 0, 0), ("First chapter", 0, 0), ("1.1 A section", 2, 1), ("Second", 2, 0)]
    assert found(read(make_pdf(tmp_path / "a.pdf", pages, outline))) == [
        ("a.pdf#page=1", "Introduction", "What it is."),
        ("a.pdf#page=1.2", "First chapter", "Its text."),
        ("a.pdf#page=2", "First chapter", "More text."),
        ("a.pdf#page=3", "Second", "Other words. End."),
    ]


def test_running_titles_and_page_numbers_are_dropped(tmp_path, read, make_pdf):
    pages = [["The Book", f"{TEXT} {word}", f"- {n} -"] for n, word in enumerate(("one", "two", "three", "four"))]
    texts = [text for _, _, text in found(read(make_pdf(tmp_path / "a.pdf", pages)))]
    assert texts == [f"{TEXT} {word}" for word in ("one", "two", "three", "four")]
    two = [text for _, _, text in found(read(make_pdf(tmp_path / "b.pdf", pages[:2])))]
    assert two[0].startswith("The Book")  # twice is no rule


def test_lines_are_joined_and_parted_words_made_whole():
    lines = ["This is a para-", "graph whose lines are wrapped and whose end", "comes here.", "The next is Anglo-",
             "Saxon in 1-", "2 lines", "", "and a third one"]  # fmt: skip
    assert list(_paragraphs(lines)) == [
        "This is a paragraph whose lines are wrapped and whose end comes here.", "The next is Anglo- Saxon in 1- 2 lines",
        "and a third one",
    ]  # fmt: skip


def test_a_password_is_told(tmp_path, read, make_pdf):
    (skipped,) = read(make_pdf(tmp_path / "a.pdf", [["secret"]], password="key")).skipped
    assert skipped.reason == "protected by a password. Fix: save a copy without it"
    assert found(read(make_pdf(tmp_path / "b.pdf", [["only the owner's"]], password="")))


def test_no_pdf_truncated_and_scanned(tmp_path, read, make_pdf):
    (tmp_path / "no.pdf").write_text("this is no PDF at all")
    assert "cannot be read" in read(tmp_path / "no.pdf").skipped[0].reason
    whole = make_pdf(tmp_path / "whole.pdf", [[TEXT]] * 3).read_bytes()
    for share in (0.1, 0.5, 0.9):
        (tmp_path / "cut.pdf").write_bytes(whole[: int(len(whole) * share)])
        result = read(tmp_path / "cut.pdf")
        assert result.skipped or result.passages
    (skipped,) = read(make_pdf(tmp_path / "scan.pdf", [[], []])).skipped
    assert skipped.reason == "no text in it; scanned pages need OCR first"


def test_a_page_tree_that_is_its_own_child_and_an_outline_that_is_its_own_next(tmp_path, read, make_pdf):
    from pypdf import PdfWriter
    from pypdf.generic import ArrayObject, NameObject

    writer = PdfWriter(clone_from=make_pdf(tmp_path / "a.pdf", [["text"]], [("One", 0, 0)]))
    pages = writer._root_object.raw_get("/Pages")
    pages.get_object()[NameObject("/Kids")] = ArrayObject([pages, *pages.get_object()["/Kids"]])
    writer.write(tmp_path / "tree.pdf")
    result = read(tmp_path / "tree.pdf")
    assert [s.reason for s in result.skipped if s.place == "tree.pdf"] or result.passages
    writer = PdfWriter(clone_from=tmp_path / "a.pdf")
    first = writer._root_object["/Outlines"].raw_get("/First")
    first.get_object()[NameObject("/Next")] = first
    writer.write(tmp_path / "next.pdf")
    assert read(tmp_path / "next.pdf").passages[0].text == "text"


def test_a_file_that_takes_too_long_is_stopped_and_the_next_is_read(tmp_path, read, make_pdf, monkeypatch):
    slow = make_pdf(tmp_path / "slow.pdf", [[TEXT] * 4_000] * 30)
    quick = make_pdf(tmp_path / "quick.pdf", [[TEXT]])
    monkeypatch.setattr(guarded, "SECONDS", 0.05)
    monkeypatch.setattr(guarded, "SECONDS_PER_MB", 0.0)
    (skipped,) = read(slow).skipped
    assert skipped.reason == "stopped after 0 seconds, the limit for its size"
    monkeypatch.undo()
    assert read(quick).passages


def test_a_file_that_kills_its_process_is_skipped_and_the_next_is_read(tmp_path, read, make_pdf):
    path = make_pdf(tmp_path / "a.pdf", [[TEXT]])
    assert read(path).passages
    for worker in guarded._idle:
        worker._process.kill()
        worker._process.wait()
    (skipped,) = read(path).skipped
    assert "the process that read it died" in skipped.reason
    assert read(path).passages


def test_a_stream_that_unpacks_to_too_much_costs_its_page_only(tmp_path, read, make_pdf):
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import DecodedStreamObject, NameObject

    writer = PdfWriter(clone_from=make_pdf(tmp_path / "a.pdf", [["bomb"], ["good text"]]))
    stream = DecodedStreamObject()
    stream.set_data(b" " * 300_000_000)
    writer.pages[0][NameObject("/Contents")] = writer._add_object(stream.flate_encode())
    writer.write(tmp_path / "bomb.pdf")
    assert len(PdfReader(tmp_path / "bomb.pdf").pages) == 2
    result = read(tmp_path / "bomb.pdf")
    assert [passage.text for passage in result.passages] == ["good text"]
    assert [skipped.place for skipped in result.skipped] == ["bomb.pdf#page=1"]


def test_readers_without_their_package_say_what_to_install(tmp_path, make_pdf, monkeypatch):
    import sys

    path = make_pdf(tmp_path / "a.pdf", [[TEXT]])
    monkeypatch.setitem(sys.modules, "pypdf", None)
    (skipped,) = guarded.parts_of("pdf", path, "a.pdf")
    assert skipped.reason == "reading PDF needs the package 'pypdf'. Fix: pip install 'reasonembed[docs]'"


@pytest.mark.parametrize("kind", ["html", "docx", "parquet"])
def test_so_do_the_others(tmp_path, kind, monkeypatch):
    import sys

    package = {"html": "selectolax.lexbor", "docx": "docx", "parquet": "pyarrow"}[kind]
    monkeypatch.setitem(sys.modules, package, None)
    (skipped,) = guarded.parts_of(kind, tmp_path / "x", "x")
    assert "Fix: pip install 'reasonembed[docs]'" in skipped.reason
