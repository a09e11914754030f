"""Training samples: the released layout opens unchanged, what is wrong is refused with its line, what is written is read back."""

from __future__ import annotations

import gzip
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonembed.dataset.samples import dataset_name, read_samples, sample_files, sample_from, sample_row, write_samples
from reasonembed.errors import DataError
from reasonembed.types import TrainingSample

RELEASED = {
    "prompt": "Given a Math problem, retrieve relevant theorems that help answer the problem.",
    "query": "What is the rank?", "reasoning_query": "The rank is the number of pivots.",
    "pos": ["Rank-nullity."], "neg": ["Rain.", "Snow."], "train_group_size": 16, "batch_size": 8,
}  # fmt: skip
"""A line as paper.md 1.6 describes the released files."""


def lines(tmp_path, *rows):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_released_line_is_read_and_written_unchanged(tmp_path):
    path = tmp_path / "biology-formatted.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(RELEASED) + "\n").encode()))
    (sample,) = read_samples(path)
    assert sample.reasoning_query == RELEASED["reasoning_query"]
    assert (sample.pos, sample.neg, sample.pos_scores) == (("Rank-nullity.",), ("Rain.", "Snow."), None)
    assert write_samples(tmp_path / "again.jsonl", [sample]) == 1
    assert json.loads((tmp_path / "again.jsonl").read_text()) == RELEASED
    assert dataset_name(path) == "biology"


def test_unknown_fields_are_passed_over_and_null_is_missing(tmp_path):
    (sample,) = read_samples(lines(tmp_path, {**RELEASED, "pos_id": ["7"], "prompt": None, "neg_scores": None}))
    assert sample.prompt is None
    assert sample.neg_scores is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": None}, "'query' must be a string, found NoneType"),
        ({"query": " "}, "'query' is empty"),
        ({"pos": "Rank-nullity."}, "'pos' must be a list of texts, found str"),
        ({"neg": None}, "'neg' must be a list of texts, found nothing"),
        ({"pos": []}, "'pos' is empty"),
        ({"neg": ["Rain.", 3]}, r"'neg\[1\]' must be a string, found int"),
        ({"neg": ["Rain.", ""]}, r"neg\[1\] is empty"),
        ({"neg": ["\ud800"]}, r"'neg\[0\]' has half a character"),
        ({"pos_scores": [4, 5]}, "2 pos_scores for 1 texts in 'pos'"),
        ({"neg_scores": ["1", "2"]}, "'neg_scores' must be a list of numbers"),
        ({"neg_scores": [True, 1]}, "'neg_scores' must be a list of numbers"),
        ({"batch_size": 0}, "'batch_size' must be a whole number from 1, found 0"),
        ({"train_group_size": True}, "'train_group_size' must be a whole number"),
        ({"reasoning_query": 5}, "'reasoning_query' must be a string"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(tmp_path, change, message):
    path = lines(tmp_path, RELEASED, {**RELEASED, **change})
    with pytest.raises(DataError, match=message) as caught:
        list(read_samples(path))
    assert caught.value.line == 2


texts = st.text(string.printable + "äß漢 \u2028", min_size=1).filter(str.strip)
passages = st.lists(texts, min_size=1, max_size=4).map(tuple)


@given(texts, passages, st.none() | texts, st.data())
def test_what_is_written_is_read_back(query, pos, prompt, data):
    scores = data.draw(st.none() | st.lists(st.floats(1, 5), min_size=len(pos), max_size=len(pos)).map(tuple))
    sample = TrainingSample(query, pos, (), prompt=prompt, pos_scores=scores)
    row = json.loads(json.dumps(sample_row(sample)))
    assert sample_from(row, path="x", line=1) == sample


def test_files_of_a_folder_by_name(tmp_path):
    for name in ("b.jsonl", "a.jsonl.gz", "notes.txt", ".hidden.jsonl"):
        (tmp_path / name).touch()
    assert [file.name for file in sample_files([tmp_path])] == ["a.jsonl.gz", "b.jsonl"]
    with pytest.raises(DataError, match="no such file or folder"):
        sample_files([tmp_path / "c"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no JSON-lines file"):
        sample_files([tmp_path / "empty"])
