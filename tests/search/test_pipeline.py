"""A whole pipeline against plain NumPy, with the real rewriter, rerankers and client over a scripted language model."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import pairwise

import numpy as np
import pytest
from scripted_llm import scripted

from reasonembed.errors import DataError
from reasonembed.llm.types import Answer
from reasonembed.search import pipeline as module
from reasonembed.search.outcome import Corpus, Questions, explained
from reasonembed.search.pipeline import Pipeline, with_rest
from reasonembed.search.pipeline_config import parse_config
from reasonembed.search.ranking import ranked
from reasonembed.types import Document, Hit

IDS = [f"doc{number:02}" for number in range(30)]
DOCUMENTS = {key: Document(key, f"body of {key}") for key in IDS}
QUESTIONS = [f"question {number}" for number in range(7)]
EXCLUDE = [{IDS[(7 * number + step) % 30] for step in range(3)} for number in range(7)]
CONFIG = {
    "views": {"left": {"kind": "dense", "depth": 20}, "right": {"kind": "bm25", "depth": 12}},
    "fusion": {"weights": {"left": 0.75, "right": 0.25}},
    "rewrite": {"n": 3},
    "rerank": {
        "left-judge": {"kind": "rubric", "of": "left", "depth": 8, "stages": [[8, 1], [3, 4]]},
        "right-judge": {"kind": "rubric", "of": "right", "depth": 6, "stages": [[6, 2]]},
    },
    "final": {"weights": {"hybrid": 14, "left-judge": 8, "right-judge": 3}},
}


def number_of(*parts):
    """A number in [0, 1) that a text always gives."""
    return int(hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:8], 16) / 16**8


class TableView:
    """Scores that are a function of query and document: 0 for what it does not know."""

    def __init__(self, name):
        self.name = name
        self.asked = []

    def score(self, query, key):
        return round(10 * number_of(self.name, query, key), 1)

    def search(self, queries, k, exclude=None):
        self.asked.append(len(queries))
        return [
            ranked(((key, self.score(query, key)) for key in IDS if key not in (exclude[row] if exclude else ())), k)
            for row, query in enumerate(queries)
        ]


def said(request):
    """The scripted model: a rewrite for a question, a score for a document, both a function of what is asked."""
    text = request.messages[-1].content
    question = re.search(r"question \d", text).group()
    if document := re.search(r"body of (doc\d\d)", text):
        score = int(100 * number_of("judge", question, document.group(1), request.sample))
        return f"Because of {document.group(1)}. <score>{score}</score>"
    return Answer(f"rewrite {request.sample} of {question}", prompt_tokens=10, completion_tokens=5)


def oracle_list(name, texts, banned, depth):
    """One view in plain NumPy: lists of each text cut at the depth, summed, cut again."""
    total = np.full((len(texts), len(IDS)), 0.0)
    held = np.zeros((len(texts), len(IDS)), bool)
    for row, text in enumerate(texts):
        scores = np.array([round(10 * number_of(name, text, key), 1) for key in IDS])
        allowed = [place for place in range(len(IDS)) if IDS[place] not in banned]
        for place in sorted(allowed, key=lambda place: (-scores[place], IDS[place]))[:depth]:
            total[row, place], held[row, place] = scores[place], True
    summed = total.sum(0)
    order = sorted(np.flatnonzero(held.any(0)), key=lambda place: (-round(summed[place], 9), IDS[place]))[:depth]
    return {IDS[place]: summed[place] for place in order}


def oracle_judge(question, keys, stages):
    """Score integration in plain Python: the first stage over all, the best of it asked again, the mean of all samples."""
    samples = {key: [] for key in keys}
    order = list(keys)
    for budget, k in stages:
        for key in order[:budget]:
            for sample in range(len(samples[key]), k):
                samples[key].append(int(100 * number_of("judge", question, key, sample)))
        order = sorted(keys, key=lambda key: (-np.mean(samples[key]), keys.index(key)))
    return {key: float(np.mean(samples[key])) for key in order}


def oracle_fuse(parts):
    total, weights = {}, sum(weight for _, weight in parts)
    for scores, weight in parts:
        low, high = min(scores.values()), max(scores.values())
        for key, score in scores.items():
            total[key] = total.get(key, 0) + weight / weights * (score - low) / (high - low)
    return total


@pytest.fixture
def corpus():
    return Corpus({"left": TableView("left"), "right": TableView("right")}, DOCUMENTS.__getitem__)


def run(config, corpus, *, k=30, questions=None, script=said):
    llm, asked = scripted(script)
    with llm, Pipeline(parse_config(config), name="test", llm=llm) as pipeline:
        wanted = questions or Questions(QUESTIONS, exclude=EXCLUDE)
        return list(pipeline.run(corpus, wanted, k=k)), asked


def test_every_stage_equals_numpy(corpus):
    (outcome,), _ = run(CONFIG, corpus)
    for row, (question, banned) in enumerate(zip(QUESTIONS, EXCLUDE, strict=True)):
        texts = [f"rewrite {sample} of {question}" for sample in range(3)]
        assert outcome.asked[row] == tuple(texts)
        left, right = oracle_list("left", texts, banned, 20), oracle_list("right", texts, banned, 12)
        hybrid = oracle_fuse([(left, 0.75), (right, 0.25)])
        judged = {
            "left-judge": oracle_judge(question, list(left)[:8], [(8, 1), (3, 4)]),
            "right-judge": oracle_judge(question, list(right)[:6], [(6, 2)]),
        }
        final = oracle_fuse([(hybrid, 14), (judged["left-judge"], 8), (judged["right-judge"], 3)])
        expected = {"left": left, "right": right, "hybrid": hybrid}
        for name, scores in expected.items():
            assert {hit.id: hit.score for hit in outcome.lists[name][row]} == pytest.approx(scores)
        for name, scores in judged.items():
            assert {one.id: one.score for one in outcome.rerankings[name][row].judged} == pytest.approx(scores)
        assert {hit.id: hit.score for hit in outcome.hits[row]} == pytest.approx(final, abs=1e-4)
        assert [hit.id for hit in outcome.hits[row]] == sorted(final, key=lambda key: (-round(final[key], 9), key))


def test_excluded_documents_never_return(corpus):
    (outcome,), asked = run(CONFIG, corpus)
    for row, banned in enumerate(EXCLUDE):
        for lists in (*outcome.lists.values(), outcome.hits):
            assert not banned & {hit.id for hit in lists[row]}
        for request in asked:
            if f"question {row}" in request.messages[-1].content:
                assert not any(f"body of {key}" in request.messages[-1].content for key in banned)


def test_blocks_change_nothing(corpus, monkeypatch):
    (whole,), _ = run(CONFIG, corpus)
    monkeypatch.setattr(module, "BLOCK", 2)
    for view in corpus.views.values():
        view.asked.clear()
    parts, _ = run(CONFIG, corpus)
    assert [hits for part in parts for hits in part.hits] == whole.hits
    assert [len(part.hits) for part in parts] == [2, 2, 2, 1]
    assert max(corpus.views["left"].asked) == 3, "a view is asked one question's rewrites at a time"


def test_the_account_of_a_hit(corpus):
    (outcome,), asked = run(CONFIG, corpus, k=5)
    hits = explained(outcome, 2, corpus.document)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    for hit in hits:
        assert hit.document == DOCUMENTS[hit.document.id]
        for name, place in hit.places.items():
            assert outcome.lists[name][2][place.rank - 1] == Hit(hit.document.id, place.score)
        for name, verdict in hit.verdicts.items():
            source = outcome.lists[name.removesuffix("-judge")][2]
            assert source[verdict.before - 1].id == hit.document.id
            assert outcome.lists[name][2][verdict.after - 1].id == hit.document.id
            assert verdict.score == pytest.approx(np.mean(verdict.samples))
            assert f"Because of {hit.document.id}" in verdict.reason
    assert any(hit.verdicts for hit in hits)
    spent = outcome.spent
    assert list(spent) == ["rewrite", "left", "right", "hybrid", "left-judge", "right-judge"]
    assert spent["rewrite"].counts["requests"] == 21
    assert spent["rewrite"].counts["completion_tokens"] == 105
    assert sum(stage.counts.get("requests", 0) for stage in spent.values()) == len(asked)


def test_one_reranker_leaves_the_rest_below_it(corpus):
    config = {
        "views": {"left": {"kind": "dense", "depth": 20}},
        "rerank": {"judge": {"kind": "rubric", "depth": 4, "stages": [[4, 1]]}},
    }
    (outcome,), _ = run(config, corpus, k=15)
    for row in range(len(QUESTIONS)):
        first, answer = outcome.lists["left"][row], outcome.hits[row]
        assert {hit.id for hit in answer[:4]} == {hit.id for hit in first[:4]}
        assert [hit.id for hit in answer[4:]] == [hit.id for hit in first[4:15]]
        assert all(one.score > two.score for one, two in pairwise(answer))
    assert with_rest([], [Hit("a", 3.0)]) == [Hit("a", -1.0)]


def test_what_fails_is_counted_and_the_search_goes_on(corpus):
    def broken(request):
        if "body of" in request.messages[-1].content:
            return "no number here"
        return None if "question 3" in request.messages[-1].content else said(request)

    (outcome,), _ = run(CONFIG, corpus, script=broken)
    assert outcome.asked[3] == ("question 3",), "without any rewrite the question itself is asked"
    assert outcome.spent["rewrite"].counts["failed_rewrites"] == 3
    assert outcome.spent["rewrite"].counts["failed"] == 3
    assert outcome.spent["right-judge"].counts["unparsed"] == 7 * 6 * 2
    for row in range(len(QUESTIONS)):
        assert [hit.id for hit in outcome.lists["left-judge"][row]] == [
            hit.id for hit in outcome.lists["left"][row][:8]
        ], "without a score every document keeps its place"


def test_views_choose_whether_they_ask_with_rewrites(corpus):
    config = CONFIG | {"views": {"left": {"kind": "dense", "rewrites": False}, "right": {"kind": "bm25"}}}
    (outcome,), _ = run(config, corpus)
    assert {hit.id: hit.score for hit in outcome.lists["left"][0]} == pytest.approx(
        oracle_list("left", [QUESTIONS[0]], EXCLUDE[0], 1000)
    )


def test_rewrites_from_a_file(corpus, tmp_path):
    ids = [f"q{number}" for number in range(7)]
    rows = [{"id": key, "rewrites": [f"rewrite 0 of {key}", f"rewrite 1 of {key}"]} for key in ids]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"views": {"left": {"kind": "dense"}}, "rewrite": {"file": str(tmp_path / "old.jsonl")}}
    (outcome,), asked = run(config, corpus, questions=Questions(QUESTIONS, ids))
    assert asked == []
    assert outcome.asked[6] == ("rewrite 0 of q6", "rewrite 1 of q6")
    assert {hit.id: hit.score for hit in outcome.hits[6]} == pytest.approx(
        oracle_list("left", outcome.asked[6], (), 1000)
    )
    assert Pipeline(parse_config(config)).describe()["rewrites_file"]["digest"]
    with pytest.raises(DataError, match="no rewrite for 1 of 1 queries: 'q9'"):
        run(config, corpus, questions=Questions(["x"], ["q9"]))
    with pytest.raises(DataError, match="a question has none"):
        run(config, corpus, questions=Questions(["x"]))


def test_a_view_that_finds_nothing(corpus):
    class Nothing:
        def search(self, queries, k, exclude=None):
            return [[] for _ in queries]

    (outcome,), _ = run(CONFIG, Corpus({**corpus.views, "right": Nothing()}, corpus.document))
    assert outcome.lists["right-judge"] == [[]] * 7
    assert all(outcome.hits)


def test_description_names_prompts_models_and_settings():
    llm, _ = scripted(said)
    with llm, Pipeline(parse_config(CONFIG), name="test", llm=llm) as pipeline:
        told = pipeline.describe("bright/biology")
        other = pipeline.describe("bright/leetcode")
    assert told["config"]["final"]["weights"]["hybrid"] == 14
    assert told["rewriter"]["llm"] == {"model": "scripted"}
    assert told["rewriter"]["sampling"]["temperature"] == 0.6
    assert told["rerankers"]["left-judge"] != other["rerankers"]["left-judge"]
    assert json.dumps(told)


def test_refusals(corpus):
    with pytest.raises(DataError, match="add --llm"):
        list(Pipeline(parse_config(CONFIG)).run(corpus, Questions(["x"]), k=1))
    with pytest.raises(DataError, match="question 1 is empty"):
        run(CONFIG, corpus, questions=Questions(["question 1", " "]))
    with pytest.raises(DataError, match="k is 0"):
        run(CONFIG, corpus, k=0)
    with pytest.raises(DataError, match="exclude has 1 entries for 2"):
        run(CONFIG, corpus, questions=Questions(["a", "b"], exclude=[set()]))
