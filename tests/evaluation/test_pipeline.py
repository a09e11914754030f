"""A pipeline evaluated: the same hits as its parts evaluated alone and fused by hand, and what the score file says."""

from __future__ import annotations

import json

import pytest
from scripted_llm import scripted

from reasonembed import Embedder
from reasonembed.errors import DataError
from reasonembed.evaluation.pipeline import PipelineRetriever
from reasonembed.evaluation.retrievers import BM25Retriever, DenseRetriever
from reasonembed.evaluation.runner import evaluate, sampled
from reasonembed.search.expansion import Question, identity
from reasonembed.search.fusion import fuse
from reasonembed.search.index import build_index, open_index
from reasonembed.search.pipeline import Pipeline
from reasonembed.search.pipeline_config import parse_config
from reasonembed.types import Document, Qrels, Query, RetrievalTask

WORDS = ["matrix", "eigenvalue", "theorem", "insect", "light", "group", "ring", "field", "prime", "graph"]
HYBRID = {
    "views": {"dense": {"kind": "dense"}, "bm25": {"kind": "bm25", "variant": "bright"}},
    "fusion": {"weights": {"dense": 0.75, "bm25": 0.25}},
}
QUESTIONS = [Question(word, f"Where do the spectra of a {word} help?") for word in WORDS[3:]]
JUDGED = HYBRID | {"rerank": {"judge": {"kind": "rubric", "depth": 3, "stages": [[3, 1]]}}, "rewrite": {"n": 2}}


@pytest.fixture(scope="module")
def embedder():
    return Embedder()


@pytest.fixture
def task():
    documents = tuple(Document(word, f"All on the {word} and the {WORDS[i - 1]}.") for i, word in enumerate(WORDS))
    queries = tuple(Query(f"q{i}", f"Which {word} is meant?") for i, word in enumerate(WORDS[:6]))
    qrels = Qrels({f"q{i}": {WORDS[i]: 1} for i in range(6)})
    excluded = {"q1": frozenset({"theorem", "light"})}
    return RetrievalTask("tiny", "beir", documents, queries, qrels, excluded)


def retriever(config, embedder, llm=None):
    return PipelineRetriever(Pipeline(parse_config(config), name="test", llm=llm), DenseRetriever(embedder))


def test_hybrid_is_its_halves_fused(task, embedder):
    dense = evaluate(task, DenseRetriever(embedder), instruction="Find it").run
    words = evaluate(task, BM25Retriever("bright")).run
    found = evaluate(task, retriever(HYBRID, embedder), instruction="Find it")
    for query in task.queries:
        halves = {"dense": dense.hits[query.id], "bm25": words.hits[query.id]}
        assert list(found.run.hits[query.id]) == fuse(halves, weights=HYBRID["fusion"]["weights"], k=1000)
    assert not {hit.id for hit in found.run.hits["q1"]} & task.excluded["q1"]
    assert found.made_by["instruction"] == "Find it"
    assert found.made_by["documents"]["texts"] == 10
    assert found.made_by["queries"]["texts"] == 6


def test_both_halves_of_a_hybrid_are_expanded(task, embedder):
    dense = DenseRetriever(embedder, questions=QUESTIONS)
    halves = evaluate(task, dense).run, evaluate(task, BM25Retriever("bright", questions=QUESTIONS)).run
    config = parse_config(HYBRID)
    for system in (
        PipelineRetriever(Pipeline(config, name="test"), dense),
        PipelineRetriever(Pipeline(config, name="test"), DenseRetriever(embedder), questions=QUESTIONS),
    ):
        found = evaluate(task, system)
        for query in task.queries:
            lists = {name: run.hits[query.id] for name, run in zip(("dense", "bm25"), halves, strict=True)}
            assert list(found.run.hits[query.id]) == fuse(lists, weights=HYBRID["fusion"]["weights"], k=1000)
        assert found.made_by["expanded_by"] == identity(QUESTIONS)
        assert found.made_by["expansion"]["documents"] == 7


@pytest.mark.parametrize(("questions", "instruction"), [((), "Find it"), (QUESTIONS, "")])
def test_search_and_evaluation_give_the_same(task, embedder, tmp_path, questions, instruction):
    rows = [{"id": document.id, "text": document.text} for document in task.documents]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_index([tmp_path / "docs.jsonl"], tmp_path / "index", embedder, questions=questions)
    hybrid = PipelineRetriever(Pipeline(parse_config(HYBRID)), DenseRetriever(embedder, questions=questions))
    found = evaluate(task, hybrid, instruction=instruction)
    with Pipeline(parse_config(HYBRID)) as pipeline:
        answered = pipeline.search(
            open_index(tmp_path / "index", embedder=embedder), [query.text for query in task.queries],
            k=10, instruction=instruction, exclude=[task.excluded.get(query.id, ()) for query in task.queries],
        )  # fmt: skip
    for query, answer in zip(task.queries, answered, strict=True):
        assert [hit.document.id for hit in answer.hits] == [hit.id for hit in found.run.hits[query.id]]
        assert [hit.score for hit in answer.hits] == pytest.approx(
            [hit.score for hit in found.run.hits[query.id]], abs=1e-5
        )


def test_the_score_file_says_what_was_asked_and_spent(task, embedder, tmp_path):
    llm, asked = scripted(lambda request: "The matrix. <score>50</score>")
    with llm:
        first = evaluate(task, retriever(JUDGED, embedder, llm), out=tmp_path)
        assert len(asked) == 6 * (2 + 3)
        again = evaluate(task, retriever(JUDGED, embedder, llm), out=tmp_path)
        other = evaluate(task, retriever(JUDGED | {"k": 5}, embedder, llm), out=tmp_path)
    made = again.made_by
    assert again.run is None, "the same evaluation is read from its file"
    assert other.run is not None, "another pipeline is another evaluation"
    assert made["retriever"] == "pipeline"
    assert made["model"] == "test, reasonembed-mini"
    assert made["embedder"] == "reasonembed-mini"
    assert made["fingerprint"] == embedder.fingerprint
    assert made["bm25"]["bright"]["k1"] == 0.9
    assert made["pipeline"]["rerankers"]["judge"]["llm"] == {"model": "scripted"}
    assert list(made["stages"]) == ["rewrite", "dense", "bm25", "hybrid", "judge"]
    assert made["stages"]["judge"]["requests"] == 18
    assert made["llm"]["requests"] == 30
    assert made["llm"]["unparsed"] == 0
    assert made["queries"]["texts"] == 12, "the dense view is asked two rewrites a query"
    assert made["seconds_per_query"] > 0
    assert first.scores.means == again.scores.means


def test_prompts_follow_the_task(task, embedder):
    from dataclasses import replace

    llm, asked = scripted(lambda request: "<score>50</score>")
    with llm:
        evaluate(replace(task, benchmark="bright", name="leetcode"), retriever(JUDGED, embedder, llm))
    assert all("coding problem" in request.messages[-1].content for request in asked)


def test_a_sample_is_drawn_with_its_seed(task):
    drawn = sampled(task, 3, 5)
    assert drawn == sampled(task, 3, 5)
    assert drawn.split == "test-sample3-seed5"
    assert [query.id for query in drawn.queries] == sorted(query.id for query in drawn.queries)
    assert set(drawn.qrels.relevance) == {query.id for query in drawn.queries}
    assert {sampled(task, 3, seed).queries for seed in range(20)} != {drawn.queries}
    assert sampled(task, 6, 5) is task
    with pytest.raises(DataError, match="sample of 0"):
        sampled(task, 0, 5)
    result = evaluate(task, BM25Retriever(), sample=3, seed=5)
    assert result.made_by["sample"] == {"queries": 3, "of": 6, "seed": 5}
    assert set(result.run.hits) == {query.id for query in drawn.queries}


def test_a_dense_view_needs_an_embedder():
    with pytest.raises(DataError, match="has a dense view"):
        PipelineRetriever(Pipeline(parse_config(HYBRID)))
    words = {"views": {"bm25": {"kind": "bm25"}}}
    assert PipelineRetriever(Pipeline(parse_config(words))).describe()["engine"] == "bm25s"
