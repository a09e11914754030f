"""BEIR folders: what is read, and every kind of bad input with its file and line."""

from __future__ import annotations

import gzip
import json

import pytest

from reasonembed.errors import DataError
from reasonembed.io.beir import read_beir, read_ids
from reasonembed.io.jsonl import MAX_TEXT_CHARS

CORPUS = [
    {"_id": "d1", "title": "Groups", "text": "Every group has one unit."},
    {"_id": "d2", "title": "", "text": "A ring has two operations."},
    {"_id": "d3", "text": "No title here."},
]
QUERIES = [
    {"_id": "q2", "text": "How many units has a group?", "excluded_ids": ["d3"]},
    {"_id": "q1", "text": "What has two operations?"},
    {"_id": "q3", "text": "Nobody judged this."},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td2\t1\nq2\td1\t2\nq2\td2\t0\n"


def _lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "tiny"
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text(_lines(CORPUS))
    (root / "queries.jsonl").write_text(_lines(QUERIES))
    (root / "qrels/test.tsv").write_text(QRELS)
    return root


def test_reads_documents_queries_and_judgements(folder):
    task = read_beir(folder)
    assert (task.name, task.benchmark, task.split) == ("tiny", "beir", "test")
    assert [document.content for document in task.documents] == [
        "Groups Every group has one unit.", "A ring has two operations.", "No title here.",
    ]  # fmt: skip
    assert [query.id for query in task.queries] == ["q2", "q1"]  # file order; q3 is not judged
    assert task.qrels.relevance == {"q2": {"d1": 2, "d2": 0}, "q1": {"d2": 1}}
    assert task.excluded == {"q2": {"d3"}}


def test_gzip_and_a_header_less_qrels_file_are_the_same(folder):
    plain = read_beir(folder)
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    (folder / "qrels/test.tsv").write_text(QRELS.split("\n", 1)[1])
    assert read_beir(folder) == plain


def test_keep_filters_queries(folder):
    (folder / "qrels/test.tsv").rename(folder / "qrels/all.tsv")
    (folder / "ids.txt").write_text("q1\n\n")
    wanted = read_ids(folder / "ids.txt")
    task = read_beir(folder, split="all", keep=wanted.__contains__)
    assert [query.id for query in task.queries] == ["q1"]
    assert task.qrels.relevance.keys() == {"q1"}
    with pytest.raises(DataError, match="no query is left"):
        read_beir(folder, split="all", keep=lambda query: False)
    with pytest.raises(DataError, match=r"no qrels of split 'test'.*one of the splits here: all"):
        read_beir(folder)


def test_empty_documents_are_refused_or_skipped(folder, caplog):
    (folder / "corpus.jsonl").write_text(_lines([*CORPUS, {"_id": "d4", "text": " \n"}, {"_id": "d5", "text": ""}]))
    with pytest.raises(DataError, match=r"corpus.jsonl:4: document 'd4' is empty.*--skip-empty"):
        read_beir(folder)
    (folder / "qrels/test.tsv").write_text(QRELS + "q1\td4\t1\n")
    task = read_beir(folder, skip_empty=True)
    assert [document.id for document in task.documents] == ["d1", "d2", "d3"]
    assert task.qrels.relevance["q1"] == {"d2": 1, "d4": 1}  # judged, though no search can find it
    assert "2 empty documents were left out" in caplog.text


def _corpus(folder, text):
    (folder / "corpus.jsonl").write_text(_lines(CORPUS[:1]) + text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"_id": "x", "text": "cut of', r"corpus.jsonl:2: broken JSON"),
        ('["a list"]', r"corpus.jsonl:2: a JSON object was expected, found list"),
        ('{"_id": "x", "title": "t"}', r"corpus.jsonl:2: field 'text' is missing \(found: _id, title\)"),
        ('{"text": "t"}', r"corpus.jsonl:2: field '_id' is missing"),
        ('{"_id": " ", "text": "t"}', r"corpus.jsonl:2: field '_id' is empty"),
        ('{"_id": "x", "text": 5}', r"corpus.jsonl:2: field 'text' must be a string, found int"),
        ('{"_id": "d1", "text": "again"}', r"corpus.jsonl:2: duplicate document id 'd1'"),
    ],
)
def test_bad_corpus_lines(folder, line, message):
    _corpus(folder, line + "\n")
    with pytest.raises(DataError, match=message) as error:
        read_beir(folder)
    assert error.value.line == 2


def test_a_text_of_ten_million_characters_is_refused(folder):
    _corpus(folder, json.dumps({"_id": "x", "text": "a" * 10_000_000}) + "\n")
    with pytest.raises(DataError, match=rf"corpus.jsonl:2: .*10,000,000 characters, the limit is {MAX_TEXT_CHARS:,}"):
        read_beir(folder)


def test_bytes_that_are_not_utf8_are_refused(folder):
    (folder / "corpus.jsonl").write_bytes(_lines(CORPUS[:1]).encode() + '{"_id": "x", "text": "Ä"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match=r"corpus.jsonl:2: not UTF-8: byte 0xc4"):
        read_beir(folder)


def test_an_empty_corpus_is_refused(folder):
    (folder / "corpus.jsonl").write_text("\n")
    with pytest.raises(DataError, match="the corpus is empty"):
        read_beir(folder)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"_id": "q1", "text": "twice"}, "queries.jsonl:4: duplicate query id 'q1'"),
        ({"_id": "q9", "text": ""}, "queries.jsonl:4: query 'q9' is empty"),
        (
            {"_id": "q9", "text": "x", "excluded_ids": "d1"},
            "queries.jsonl:4: field 'excluded_ids' must be a list",
        ),
    ],
)
def test_bad_queries(folder, row, message):
    (folder / "queries.jsonl").write_text(_lines([*QUERIES, row]))
    with pytest.raises(DataError, match=message):
        read_beir(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q8\td1\t1", "test.tsv:5: unknown query 'q8'"),
        ("q1\td8\t1", "test.tsv:5: unknown document 'd8'"),
        ("q1 d1 1", "test.tsv:5: 3 columns were expected, found 1"),
        ("q1\td1\tyes", "test.tsv:5: the grade 'yes' is no whole number"),
        ("q1\td2\t3", "test.tsv:5: query 'q1' and document 'd2' are judged twice, 1 and 3"),
    ],
)
def test_bad_judgements(folder, line, message):
    (folder / "qrels/test.tsv").write_text(QRELS + line + "\n")
    with pytest.raises(DataError, match=message):
        read_beir(folder)


def test_a_relevant_document_must_not_be_excluded(folder):
    (folder / "qrels/test.tsv").write_text(QRELS + "q2\td3\t1\n")
    with pytest.raises(DataError, match="'d3' is both relevant to and excluded for query 'q2'"):
        read_beir(folder)


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_beir(tmp_path / "nowhere")
    (folder / "queries.jsonl").unlink()
    with pytest.raises(DataError, match=r"queries.jsonl \(or .jsonl.gz\) is missing"):
        read_beir(folder)
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(DataError, match="no id in the file"):
        read_ids(tmp_path / "none.txt")
