"""Conversion: no passage is lost, triplets come back as samples, a BEIR folder opens with our own reader."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonembed.dataset.convert import read_triplets, write_beir, write_triplets
from reasonembed.errors import DataError
from reasonembed.io.beir import read_beir
from reasonembed.types import TrainingSample

word = st.sampled_from(["a", "b", "c", "d e", "ä"])
sample = st.builds(
    TrainingSample,
    st.just("q"),
    st.lists(word, min_size=1, unique=True).map(tuple),
    st.lists(word, min_size=1, unique=True).map(tuple),
)


@given(sample)
def test_triplets_and_back(tmp_path_factory, sample):
    path = tmp_path_factory.mktemp("t") / "t.jsonl"
    assert write_triplets(path, [sample]) == max(len(sample.pos), len(sample.neg))
    assert list(read_triplets(path)) == [sample]


def test_rows_of_one_query_are_one_sample(tmp_path):
    rows = [("q", "a", "x"), ("q", "a", "y"), ("r", "b", "z")]
    path = tmp_path / "t.jsonl"
    names = ("anchor", "positive", "negative")
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    assert list(read_triplets(path)) == [TrainingSample("q", ("a",), ("x", "y")), TrainingSample("r", ("b",), ("z",))]
    path.write_text('{"anchor": "q", "positive": "a", "negative": ""}\n')
    with pytest.raises(DataError, match=r"t.jsonl:1: field 'negative' is empty"):
        list(read_triplets(path))


def test_a_sample_without_negatives_gives_no_triplet(tmp_path):
    with pytest.raises(DataError, match="has no negative"):
        write_triplets(tmp_path / "t.jsonl", [TrainingSample("q", ("a",), ())])
    assert not (tmp_path / "t.jsonl").exists()


def test_beir_folder_opens(tmp_path):
    samples = [TrainingSample("q", ("a", "b"), ("c",)), TrainingSample("r", ("c",), ("a", "d"))]
    assert write_beir(tmp_path / "out", samples) == 2
    task = read_beir(tmp_path / "out", split="train")
    texts = {document.id: document.text for document in task.documents}
    assert sorted(texts.values()) == ["a", "b", "c", "d"]
    grades = {query: {texts[key]: grade for key, grade in row.items()} for query, row in task.qrels.relevance.items()}
    assert grades == {"1": {"a": 1, "b": 1, "c": 0}, "2": {"c": 1, "a": 0, "d": 0}}
