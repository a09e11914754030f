"""Files of rewritten queries: BRIGHT's and ours, and every way in which they are refused."""

from __future__ import annotations

import gzip
import json

import pytest

from reasonembed.errors import DataError
from reasonembed.io.rewrites import read_rewrites, rewrites_for, write_rewrites


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_ours_come_back_as_written(tmp_path):
    rewrites = {"q1": ("first {brace}\nline", "second ∑"), "q 2": ("only",)}
    assert write_rewrites(tmp_path / "r.jsonl", rewrites) == 2
    assert read_rewrites(tmp_path / "r.jsonl") == rewrites


def test_brights_files_of_examples(tmp_path):
    row = {"query": "reasoned", "reasoning": "x", "id": "7", "excluded_ids": ["N/A"], "gold_ids": ["a"]}
    path = tmp_path / "gpt4_reason.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(row).encode()))
    assert read_rewrites(path) == {"7": ("reasoned",)}
    assert read_rewrites(tmp_path) == {"7": ("reasoned",)}


def test_a_folder_with_several_files_wants_one_named(tmp_path):
    write(tmp_path / "gpt4_reason.jsonl", {"id": "1", "query": "a"})
    write(tmp_path / "grit_reason.jsonl", {"id": "1", "query": "b"})
    with pytest.raises(DataError, match=r"exactly one file of rewrites, found gpt4_reason\.jsonl, grit_reason\.jsonl"):
        read_rewrites(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found none"):
        read_rewrites(tmp_path / "empty")


def test_ids_that_are_missing_are_named(tmp_path):
    path = write(tmp_path / "r.jsonl", {"id": "1", "rewrites": ["a"]}, {"id": "x", "rewrites": ["b"]})
    found = read_rewrites(path)
    assert rewrites_for(["x"], found, path=path) == [found["x"]]
    with pytest.raises(DataError, match="no rewrite for 2 of 3 queries: '2', '3'"):
        rewrites_for(["1", "2", "3"], found, path=path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "1"}, "field 'query' is missing"),
        ({"id": "1", "rewrites": []}, "list of at least one string"),
        ({"id": "1", "rewrites": "text"}, "list of at least one string"),
        ({"id": "1", "rewrites": ["a", 3]}, r"'rewrites\[1\]' must be a string, found int"),
        ({"id": "1", "rewrites": ["a", " \n"]}, r"'rewrites\[1\]' is empty"),
        ({"id": "1", "rewrites": ["a", "\ud800"]}, "surrogate"),
        ({"id": "1", "query": ""}, "'query' is empty"),
        ({"id": "0", "query": "again"}, "duplicate query id '0'"),
        ({"query": "no id"}, "field 'id' is missing"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path, row, message):
    path = write(tmp_path / "r.jsonl", {"id": "0", "rewrites": ["fine"]}, row)
    with pytest.raises(DataError, match=message) as caught:
        read_rewrites(path)
    assert caught.value.line == 2
