"""A folder of every kind at once, good and hostile: what is read keeps its ids, what is not has a reason, the run goes on."""

from __future__ import annotations

import docx
import pytest

from reasonembed.corpus.passages import read_file
from reasonembed.corpus.readers import KINDS
from reasonembed.corpus.sources import find_sources
from reasonembed.errors import DataError
from reasonembed.types import Document


def words(texts):
    return [len(text.split()) for text in texts]


@pytest.fixture
def folder(tmp_path, make_pdf):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# One\ntext of one\n")
    (folder / "b.html").write_text("<h1>Two</h1><p>text of two")
    (folder / "c.txt").write_text("text of three")
    (folder / "d.jsonl").write_text('{"id": "four", "text": "text of four"}\n{broken\n')
    (folder / "e.csv").write_text("id,text\nfive,text of five\n")
    make_pdf(folder / "f.pdf", [["text of six"]])
    document = docx.Document()
    document.add_paragraph("text of seven")
    document.save(folder / "g.docx")
    (folder / "h.pdf").write_bytes(b"%PDF-1.7 broken")
    (folder / "i.docx").write_bytes(b"broken")
    (folder / "j.parquet").write_bytes(b"broken")
    (folder / "k.txt").write_bytes(bytes(256))
    return folder


def run(folder, **options):
    return [
        read_file(source, **{"limit": 100, "count_tokens": words, **options})
        for source in find_sources([folder]).sources
    ]


def test_every_kind_is_read_and_every_broken_file_skipped(folder):
    results = run(folder)
    assert {p.id: p.text for r in results for p in r.passages} == {
        "docs/a.md#L2": "text of one", "docs/b.html#p2": "text of two", "docs/c.txt#L1": "text of three",
        "four": "text of four", "five": "text of five", "docs/f.pdf#page=1": "text of six",
        "docs/g.docx#p1": "text of seven",
    }  # fmt: skip
    assert {s.place.split("/")[1] for r in results for s in r.skipped} == {
        "d.jsonl#L2", "h.pdf", "i.docx", "j.parquet", "k.txt"
    }  # fmt: skip
    assert {result.source.kind for result in results} == set(KINDS)
    assert all(s.reason.isprintable() for r in results for s in r.skipped)


def test_ids_stay_when_other_files_and_other_sections_come(folder):
    before = {p.id for r in run(folder) for p in r.passages}
    (folder / "a2.md").write_text("new")
    (folder / "b.html").write_text("<h1>Two</h1><p>text of two<p>and more" + "<h2>Three</h2><p>new")
    assert before < {p.id for r in run(folder) for p in r.passages}


def test_a_file_that_vanished_is_skipped(folder):
    (source,) = find_sources([folder / "a.md"]).sources
    source.path.unlink()
    (skipped,) = read_file(source, limit=100, count_tokens=words).skipped
    assert (skipped.place, skipped.reason) == (
        "a.md",
        "[Errno 2] No such file or directory: '" + str(source.path) + "'",
    )


def test_the_content_of_a_passage_is_that_of_its_document(folder):
    for result in run(folder):
        for passage in result.passages:
            assert passage.content == Document(passage.id, passage.text, passage.title).content


def test_what_the_caller_did_wrong_is_an_error(folder):
    with pytest.raises(DataError, match="a limit of 3 tokens"):
        run(folder, limit=3)

    def broken(texts):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(folder, count_tokens=broken)


def test_threads_read_with_a_process_each(folder, make_pdf):
    from concurrent.futures import ThreadPoolExecutor

    for n in range(6):
        make_pdf(folder / f"more{n}.pdf", [[f"{word} of {n}"] for word in ("one", "two", "three")])
    sources = [source for source in find_sources([folder]).sources if "more" in source.key]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda source: read_file(source, limit=100, count_tokens=words), sources))
    assert [[p.text for p in r.passages] for r in results] == [
        [f"{word} of {n}" for word in ("one", "two", "three")] for n in range(6)
    ]
