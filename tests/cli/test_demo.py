"""`reasonembed demo` as a user runs it, on all of TheoremQA with the model that ships."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from reasonembed import data
from reasonembed.cli.demo import demo
from reasonembed.demo import Demo
from reasonembed.io.beir import read_beir
from reasonembed.search.bm25 import BM25Searcher
from reasonembed.types import Qrels

app = typer.Typer()
app.command()(demo)


@pytest.fixture(scope="module")
def printed():
    """The JSON of one run; standard output holds nothing else."""
    result = CliRunner().invoke(app, ["--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_scores_are_those_of_the_data_card(printed):
    """shared/data/README.md: BM25 55.1, all-MiniLM-L6-v2 66.3 nDCG@10; docs/results.md: the model that ships 71.2."""
    words, minilm, vectors = printed["scores"]
    assert (words["system"], vectors["system"]) == ("BM25", printed["model"]["model"])
    assert 100 * words["ndcg_at_10"] == pytest.approx(55.1, abs=0.3)
    assert 100 * minilm["ndcg_at_10"] == pytest.approx(66.3, abs=0.1)
    assert 100 * vectors["ndcg_at_10"] == pytest.approx(71.2, abs=0.3)
    assert minilm["system"] == "all-MiniLM-L6-v2"
    assert minilm["seconds"] is minilm["texts_per_second"] is None
    for score in printed["scores"]:
        assert score["ndcg_at_10"] < score["recall_at_10"] < 1
    for score in (words, vectors):
        assert score["texts_per_second"] == pytest.approx((354 + 747) / score["seconds"])


def test_the_examples_are_right_about_right_and_wrong(printed):
    task = read_beir(data.theoremqa())
    titles = {document.id: document.title for document in task.documents}
    assert len(printed["examples"]) == 3
    for example in printed["examples"]:
        relevant = {titles[theorem] for theorem in task.qrels.relevance[example["id"]]}
        assert set(example["solved_by"]) == relevant
        assert {answer["right"] for answer in example["answers"]} == {False, True}
        for answer in example["answers"]:
            assert answer["right"] == (answer["theorem"] in relevant)


def test_json_says_what_made_the_scores(printed):
    assert {"model", "versions", "date", "dataset", "examples_are"} <= set(printed)
    assert printed["model"]["engine"] == "openvino"


@pytest.fixture
def small(monkeypatch):
    """The demo on the first 48 questions and 60 theorems that hold their answers: a test takes a second."""
    task = read_beir(data.theoremqa())
    queries = task.queries[:48]
    judged = {query.id: task.qrels.relevance[query.id] for query in queries}
    needed = {theorem for grades in judged.values() for theorem in grades}
    documents = sorted(task.documents, key=lambda document: document.id not in needed)[:60]
    part = replace(task, documents=tuple(documents), queries=queries, qrels=Qrels(judged))
    monkeypatch.setattr("reasonembed.demo.read_beir", lambda folder: part)
    return part


def test_the_examples_are_the_first_on_which_the_systems_disagree_each_of_another_theorem(small):
    shown = Demo()
    firsts = [
        [hits[0].id for hits in system.find([q.text for q in small.queries], progress=False)]
        for system in shown.systems
    ]
    disputed = {}
    for query, *found in zip(small.queries, *firsts, strict=True):
        solved_by = tuple(small.qrels.relevance[query.id])
        if len({theorem in solved_by for theorem in found}) == 2:
            disputed.setdefault(solved_by, query.id)
    assert len(disputed) >= 3
    assert [example.id for example in shown.examples()] == list(disputed.values())[:3]


def test_the_terminal_shows_examples_and_table(small):
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0, result.output
    for said in (
        "Which theorem solves this question?",
        "✓ right",
        "✗ wrong",
        "nDCG@10",
        "BM25",
        "48 questions",
    ):
        assert said in result.stdout


def test_a_question_without_hits_is_wrong(small, monkeypatch):
    monkeypatch.setattr(BM25Searcher, "search", lambda self, queries, k: [[] for _ in queries])
    for example in Demo().examples():
        words, *others = example.answers
        assert (words.theorem, words.right) == ("", False)
        assert any(other.right for other in others)
