"""Records of JSON lines, CSV and Parquet: own ids, bad rows skipped with their place, bombs."""

from __future__ import annotations

import gzip
import json

import pyarrow
import pytest
from pyarrow import parquet

from reasonembed.corpus.readers import jsonl
from reasonembed.io.documents import read_documents


def found(result):
    return [(p.id, p.title, p.text) for p in result.passages]


def reasons(result):
    return {s.place: s.reason for s in result.skipped}


def test_json_lines_keep_ids_and_texts_as_they_are(tmp_path, read):
    rows = [{"_id": "a b", "title": "T", "text": "two  blanks\n"}, {"id": 7, "content": "seven"}, {"text": "no id"}]
    path = tmp_path / "c.jsonl"
    path.write_text("\ufeff" + "\n".join(map(json.dumps, rows)) + "\n\n")
    result = read(path)
    assert found(result) == [("a b", "T", "two  blanks\n"), ("7", "", "seven"), ("c.jsonl#row=3", "", "no id")]
    assert (result.n_characters, result.n_cut, result.skipped) == (22, 0, ())


def test_they_are_the_documents_that_the_benchmark_reader_gives(tmp_path, read):
    path = tmp_path / "corpus.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for n in range(50):
            file.write(json.dumps({"_id": f"d{n}", "title": "t" * (n % 3), "text": f"text  {n} "}) + "\n")
    assert found(read(path)) == [(d.id, d.title, d.text) for d in read_documents([path])]


def test_a_bad_line_costs_itself_only(tmp_path, read):
    path = tmp_path / "c.jsonl"
    lines = [b'{"id": "a", "text": "good"}', b'{"id": "b", "text": ', b"\xff\xfe", b"[1]", b'{"id": "a", "text": "again"}',
             b'{"id": "c", "text": " "}', b'{"id": "d", "text": 5}', b"[" * 100_000, b'{"id": "e", "text": "\\ud800"}',
             b'{"id": "f"}', b'{"id": "z", "text": "last"}']  # fmt: skip
    path.write_bytes(b"\n".join(lines))
    result = read(path)
    assert found(result) == [("a", "", "good"), ("z", "", "last")]
    told = reasons(result)
    assert sorted(told) == sorted(f"c.jsonl#L{n}" for n in range(2, 11))
    assert told["c.jsonl#L2"].startswith("broken JSON: ")
    assert told["c.jsonl#L3"].startswith("not UTF-8: byte 0xff")
    assert told["c.jsonl#L4"] == "a JSON object was expected, found list"
    assert told["c.jsonl#L5"] == "id 'a' a second time"
    assert told["c.jsonl#L6"] == "document 'c' is empty"
    assert told["c.jsonl#L7"] == "field 'text' must be a string, found int"
    assert told["c.jsonl#L8"].startswith("broken JSON: ")
    assert "half a character" in told["c.jsonl#L9"]
    assert "field 'text' is missing" in told["c.jsonl#L10"]


def test_thousands_of_bad_lines_are_counted(tmp_path, read):
    (tmp_path / "c.jsonl").write_text("{\n" * 5_000)
    result = read(tmp_path / "c.jsonl")
    assert len(result.skipped) == 101
    assert result.skipped[-1].reason == "4,900 more parts were skipped"


def test_a_line_without_end_and_a_gzip_bomb(tmp_path, read, monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_LINE", 1_000)
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": "a", "text": "' + "x" * 5_000 + '"}\n{"id": "b", "text": "good"}\n')
    result = read(path)
    assert [p.id for p in result.passages] == ["b"]
    assert reasons(result) == {"c.jsonl#L1": "a line of more than 1,000 bytes"}
    monkeypatch.undo()
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb") as file:
        for _ in range(150):
            file.write(b" " * 1_000_000)
    (skipped,) = read(tmp_path / "bomb.jsonl.gz").skipped
    assert "a gzip bomb" in skipped.reason


def test_a_gzip_file_that_is_cut_off_gives_what_was_whole(tmp_path, read):
    path = tmp_path / "c.jsonl.gz"
    text = "".join(f'{{"id": "{n}", "text": "{hash(str(n))}"}}\n' for n in range(20_000))
    path.write_bytes(gzip.compress(text.encode())[:-5_000])
    result = read(path)
    assert 1_000 < len(result.passages) < 20_000
    assert "Compressed file ended" in reasons(result)["c.jsonl.gz"]


def test_records_over_the_limit_are_counted_not_cut(tmp_path, read):
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "a", "text": "w " * 50}) + '\n{"id": "b", "text": "w"}')
    result = read(tmp_path / "c.jsonl", limit=20)
    assert (len(result.passages), result.n_cut) == (2, 1)


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("b.tsv", "\t"), ("c.csv", ";")])
def test_tables(tmp_path, read, name, separator):
    rows = [["id", "title", "text"], ["1", "T", '"a ""quoted""\nline"'], ["2", "", "plain"], ["", "", "no id"]]
    (tmp_path / name).write_text("\n".join(separator.join(row) for row in rows), "utf-8-sig")
    assert found(read(tmp_path / name)) == [
        ("1", "T", 'a "quoted"\nline'), ("2", "", "plain"), (f"{name}#row=3", "", "no id")
    ]  # fmt: skip


def test_tables_of_excel_and_broken_rows(tmp_path, read):
    path = tmp_path / "a.csv"
    path.write_bytes("id,text\n1,café – €\n2,too,many\n3\n\n4,last\n".encode("cp1252"))
    result = read(path)
    assert found(result) == [("1", "", "café – €"), ("4", "", "last")]
    assert reasons(result) == {"a.csv#row=2": "3 cells, the header has 2", "a.csv#row=3": "1 cells, the header has 2"}
    path.write_text("name,value\n1,2\n")
    (skipped,) = read(path).skipped
    assert skipped.reason.startswith("no column 'text' or 'content' (found: name, value)")
    path.write_bytes(b"id,text\n1,\0\n")
    assert "binary content" in read(path).skipped[0].reason


def test_a_giant_field_costs_its_row_only(tmp_path, read):
    path = tmp_path / "a.csv"
    path.write_text("id,text\n1,good\n2," + "x" * 6_000_000 + "\n3,good\n")
    result = read(path)
    assert [p.id for p in result.passages] == ["1", "3"]
    assert "field larger than field limit" in reasons(result)["a.csv#row=2"]


def test_parquet(tmp_path, read):
    path = tmp_path / "a.parquet"
    table = {"id": ["a", None, "c"], "content": ["one", "two", None], "score": [1.0, 2.0, 3.0]}
    parquet.write_table(pyarrow.table(table), path)
    result = read(path)
    assert found(result) == [("a", "", "one"), ("a.parquet#row=2", "", "two")]
    assert "field 'text' is missing" in reasons(result)["a.parquet#row=3"]
    parquet.write_table(pyarrow.table({"id": [1], "value": [2]}), path)
    assert read(path).skipped[0].reason.startswith("no column 'text' or 'content' (found: id, value)")
    path.write_bytes(b"PAR1 no parquet")
    assert "cannot be read: ArrowInvalid" in read(path).skipped[0].reason
