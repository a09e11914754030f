"""Documents from files: what is read, and what is refused with file and line."""

from __future__ import annotations

import gzip
import json

import pytest

from reasonembed.errors import DataError
from reasonembed.io import documents
from reasonembed.io.documents import document_files, read_documents, survey
from reasonembed.types import Document


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


GOOD = [{"id": "a", "text": "one"}, {"_id": "b", "title": "T", "text": "two"}, {"id": 3, "content": "three"}]


def test_reads_beir_bright_and_plain_names(tmp_path):
    write(tmp_path / "beir/corpus.jsonl.gz", GOOD)
    write(tmp_path / "bright/documents.jsonl", [{"id": "x", "content": "y"}])
    found = survey([tmp_path / "beir", tmp_path / "bright"])
    assert found.count == 4
    assert list(read_documents(found.files)) == [
        Document("a", "one"), Document("b", "two", "T"), Document("3", "three"), Document("x", "y"),
    ]  # fmt: skip


def test_fingerprint_follows_content_not_packaging(tmp_path):
    plain = survey([write(tmp_path / "a.jsonl", GOOD)]).fingerprint
    assert survey([write(tmp_path / "b.jsonl.gz", GOOD)]).fingerprint == plain
    split = [write(tmp_path / "c.jsonl", GOOD[:1]), write(tmp_path / "d.jsonl", GOOD[1:])]
    assert survey(split).fingerprint == plain
    assert survey(split[::-1]).fingerprint != plain
    assert survey([write(tmp_path / "e.jsonl", [{**GOOD[0], "text": "One"}, *GOOD[1:]])]).fingerprint != plain


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([GOOD[0], '{"id": "b", "text": '], r"x\.jsonl:2: broken JSON"),
        ([GOOD[0], {"id": "b"}], r"x\.jsonl:2: field 'text' is missing \(found: id\)"),
        ([GOOD[0], {"text": "b"}], r"x\.jsonl:2: field 'id' is missing"),
        ([GOOD[0], {"id": "b", "text": None}], r"x\.jsonl:2: field 'text' must be a string, found NoneType"),
        ([GOOD[0], {"id": "b", "text": "t", "title": 5}], r"x\.jsonl:2: field 'title' must be a string"),
        ([GOOD[0], "[1]"], r"x\.jsonl:2: a JSON object was expected"),
        ([GOOD[0], {"id": "b", "text": " \n"}], r"x\.jsonl:2: document 'b' is empty.*--skip-empty"),
        (
            [*GOOD, {"id": "a", "text": "again"}],
            r"x\.jsonl:4: duplicate document id 'a', first at .*x\.jsonl:1",
        ),
        (
            [{"id": "b", "text": "x" * 10_000_000}],
            r"x\.jsonl:1: field 'text' has 10,000,000 characters, the limit",
        ),
        ([], r"x\.jsonl: no document with text"),
        (["", "  "], r"x\.jsonl: no document with text"),
    ],
)
def test_bad_rows_name_file_and_line(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        survey([write(tmp_path / "x.jsonl", rows)])


def test_skip_empty(tmp_path):
    path = write(tmp_path / "x.jsonl", [*GOOD, {"id": "e", "text": ""}, {"id": "f", "text": "", "title": "kept"}])
    found = survey([path], skip_empty=True)
    assert (found.count, found.n_empty) == (4, 1)
    assert [document.id for document in read_documents(found.files, skip_empty=True)] == ["a", "b", "3", "f"]
    with pytest.raises(DataError, match=r"x\.jsonl:4: document 'e' is empty"):
        list(read_documents(found.files))


def test_equal_hashes_of_different_ids_are_no_duplicates(tmp_path, monkeypatch):
    path = write(tmp_path / "x.jsonl", GOOD)
    monkeypatch.setattr(documents, "_hash", lambda identifier: 7)  # every id collides
    assert survey([path]).count == 3
    with pytest.raises(DataError, match="duplicate document id 'b'"):
        survey([path, write(tmp_path / "y.jsonl", [{"id": "b", "text": "z"}])])


def test_not_utf8_and_damaged_gzip(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"id": "a", "text": "one"}\n{"id": "b", "text": "\xff"}\n')
    with pytest.raises(DataError, match=r"x\.jsonl:2: not UTF-8: byte 0xff"):
        survey([tmp_path / "x.jsonl"])
    data = gzip.compress(b'{"id": "a", "text": "one"}\n' * 100)
    (tmp_path / "x.jsonl.gz").write_bytes(data[:-20])
    with pytest.raises(DataError, match="damaged gzip"):
        survey([tmp_path / "x.jsonl.gz"])


def test_other_kinds_of_input(tmp_path):
    (tmp_path / "paper.pdf").write_bytes(b"%PDF")
    with pytest.raises(DataError, match=r"kind '\.pdf' cannot be read yet.*JSON lines"):
        document_files([tmp_path / "paper.pdf"])
    with pytest.raises(DataError, match=r"without corpus\.jsonl or documents\.jsonl"):
        document_files([tmp_path])
    with pytest.raises(DataError, match="no such file"):
        document_files([tmp_path / "none.jsonl"])
    with pytest.raises(DataError, match="no input"):
        document_files([])
