"""Leaks: each kind is found and named, at the similarity that sets of words give; unlike texts are no leak."""

from __future__ import annotations

import json
import random

import pytest

from reasonembed.dataset.leaks import HeldOut, HeldOutSet, LeakFinder, read_test_set
from reasonembed.errors import DataError
from reasonembed.types import TrainingSample

WORDS = [f"w{number}" for number in range(40)]
TEXT = " ".join(WORDS[:20])


def finder(*texts, gold=(), **options):
    queries = tuple(HeldOut(f"query {place}", text) for place, text in enumerate(texts))
    return LeakFinder(
        [HeldOutSet(queries, tuple(HeldOut(f"document {place}", t) for place, t in enumerate(gold)))], **options
    )


def runs(words, width=5):
    return {tuple(words[start : start + width]) for start in range(len(words) - width + 1)}


def test_exact_and_normalised():
    found = finder("Is π > 3?", "b")
    assert found.query_leak("Is π > 3?").kind == "exact"
    leak = found.query_leak("is  Π, 3")
    assert (leak.kind, leak.similarity, leak.test.place) == ("normalised", 1.0, "query 0")
    assert found.query_leak("is tau, 3") is None


@pytest.mark.parametrize("changed", range(0, 20, 3))
def test_similarity_is_jaccards_by_an_independent_count(changed):
    words = WORDS[:20]
    words[changed] = "other"
    ours, test = runs(words), runs(WORDS[:20])
    expected = len(ours & test) / len(ours | test)
    leak = finder("something else entirely", TEXT, near=0.3).query_leak(" ".join(words))
    assert leak.kind == "near"
    assert leak.similarity == pytest.approx(expected)
    assert leak.test.place == "query 1"


def test_the_threshold_decides():
    words = WORDS[:20]
    words[10] = "other"  # 11 of 21 runs
    assert finder(TEXT, near=11 / 21).query_leak(" ".join(words)).kind == "near"
    assert finder(TEXT, near=0.53).query_leak(" ".join(words)) is None
    with pytest.raises(DataError, match="near=0"):
        finder(TEXT, near=0)


def test_a_test_query_inside_a_long_post_and_the_other_way_round():
    post = " ".join(["hello", *WORDS[20:], TEXT, *WORDS[20:], "thanks"])
    for training, test in ((post, TEXT), (TEXT, post)):
        leak = finder(test).query_leak(training)
        assert (leak.kind, leak.similarity) == ("contained", 1.0)
    short = " ".join(WORDS[:11])  # 7 runs: too short to say anything
    assert finder(short).query_leak(post) is None


def test_random_texts_do_not_leak():
    dice = random.Random(0)
    texts = [" ".join(dice.choices(WORDS, k=30)) for _ in range(200)]
    found = finder(*texts[:100])
    assert not any(found.query_leak(text) for text in texts[100:])


def test_leaking_passages_are_taken_out_with_their_scores():
    gold = finder("q", gold=[TEXT])
    sample = TrainingSample("why?", ("a", TEXT), ("b", "c"), pos_scores=(3.0, 4.0), neg_scores=(1.0, 2.0))
    kept, leaks = gold.clean(sample)
    assert (kept.pos, kept.pos_scores, kept.neg_scores) == (("a",), (3.0,), (1.0, 2.0))
    assert [(leak.where, leak.kind) for leak in leaks] == [("pos[1]", "exact")]
    assert gold.clean(TrainingSample("why?", (TEXT,), ("b",)))[0] is None
    assert gold.clean(TrainingSample("why?", ("a",), (TEXT,)))[0] is None
    assert gold.clean(TrainingSample("q", ("a",), ("b",)))[0] is None
    assert gold.clean(TrainingSample("other", ("a",), ("b",))) == (TrainingSample("other", ("a",), ("b",)), ())


def test_test_sets_in_beirs_and_brights_layout_and_as_a_file(tmp_path):
    beir, bright = tmp_path / "beir", tmp_path / "bright"
    (beir / "qrels").mkdir(parents=True)
    bright.mkdir()
    put(beir / "corpus.jsonl", {"_id": "d", "title": "T", "text": "gold"}, {"_id": "e", "title": "", "text": "other"})
    put(beir / "queries.jsonl", {"_id": "1", "text": "test query"}, {"_id": "2", "text": "train query"})
    (beir / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n1\td\t1\n1\te\t0\n")
    read = read_test_set(beir, gold=True)
    assert [held.text for held in read.queries] == ["test query"]
    assert [held.text for held in read.gold] == ["T gold"]
    assert read_test_set(beir).gold == ()
    put(bright / "documents.jsonl", {"id": "d", "content": "gold"})
    put(bright / "examples.jsonl", {"query": "ask", "id": "1", "gold_ids": ["d"], "excluded_ids": ["N/A"]})
    read = read_test_set(bright, gold=True)
    assert (read.queries[0].place, read.queries[0].text, read.gold[0].text) == ("bright query 1", "ask", "gold")
    read = read_test_set(bright / "examples.jsonl")
    assert [(held.place, held.text) for held in read.queries] == [("examples.jsonl line 1", "ask")]
    with pytest.raises(DataError, match="names no relevant documents"):
        read_test_set(bright / "examples.jsonl", gold=True)
    with pytest.raises(DataError, match="no qrels of split 'dev'"):
        read_test_set(beir, split="dev")


def put(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
