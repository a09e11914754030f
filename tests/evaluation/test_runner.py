"""The runner with BM25 and with a real (tiny) model: scores, files, provenance, reuse, plans."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from reasonembed import Embedder
from reasonembed.errors import DataError, StorageError
from reasonembed.evaluation import runner
from reasonembed.evaluation.metrics import score_run
from reasonembed.evaluation.plan import Wanted, make_plan
from reasonembed.evaluation.retrievers import BM25Retriever, DenseRetriever
from reasonembed.evaluation.runner import evaluate, read_result, read_results
from reasonembed.io.trec import read_run
from reasonembed.search.expansion import Question, expanded, identity
from reasonembed.types import Document, Qrels, Query, RetrievalTask

WORDS = [
    "matrix",
    "eigenvalue",
    "theorem",
    "query",
    "document",
    "insect",
    "light",
    "group",
    "ring",
    "field",
    "prime",
    "graph",
    "tree",
    "colour",
]


def make_task(name="tiny", benchmark="beir", excluded=None, **changes):
    documents = tuple(
        Document(f"d{i}", f"The {word} and the {WORDS[i - 1]}.", word.title()) for i, word in enumerate(WORDS)
    )
    queries = tuple(Query(f"q{i}", f"Which {word} is meant?") for i, word in enumerate(WORDS[:6]))
    qrels = Qrels({f"q{i}": {f"d{i}": 1, f"d{i + 1}": 1} for i in range(6)})
    values = {
        "name": name,
        "benchmark": benchmark,
        "documents": documents,
        "queries": queries,
        "qrels": qrels,
    }
    return RetrievalTask(**values, excluded=excluded or {}, **changes)


@pytest.fixture(scope="module")
def embedder(tiny_qwen3):
    return Embedder(tiny_qwen3, engine="torch", device="cpu", dtype="float32")


def test_bm25_scores_are_those_of_its_run(tmp_path):
    task = make_task()
    result = evaluate(task, BM25Retriever(), out=tmp_path)
    assert result.scores == score_run(read_run(tmp_path / "beir/tiny.trec"), task.qrels)
    assert 0.5 < result.headline <= 1
    stored = json.loads((tmp_path / "beir/tiny.scores.json").read_text())
    assert stored["score"] == result.headline
    assert read_result(tmp_path / "beir/tiny.scores.json").scores.means == result.scores.means


def test_dense_run_is_the_order_of_the_cosines(embedder, tmp_path):
    task = make_task()
    result = evaluate(task, embedder, out=tmp_path, cache=False)
    documents = embedder.encode_corpus([document.content for document in task.documents], max_length=32)
    instruction = result.made_by["instruction"]
    queries = embedder.encode_queries([query.text for query in task.queries], instruction=instruction)
    for query, row in zip(task.queries, queries @ documents.T, strict=True):
        order = [f"d{number}" for number in np.argsort(-row)]
        assert [hit.id for hit in result.run.hits[query.id]] == order
        assert [hit.score for hit in result.run.hits[query.id]] == pytest.approx(sorted(row, reverse=True), abs=1e-5)


def test_a_score_says_everything_that_made_it(embedder, tmp_path):
    evaluate(make_task("pony", "bright"), embedder, out=tmp_path, max_length=12)
    made = json.loads((tmp_path / "bright/pony.scores.json").read_text())["made_by"]
    assert made["protocol"] == "reasonembed"
    assert made["instruction"] == "Given a Pony question, retrieve relevant passages that help answer the question."
    assert (made["query_max_length"], made["document_max_length"], made["depth"]) == (12, 12, 2000)
    assert made["model"] == embedder.name
    assert made["fingerprint"] == embedder.fingerprint
    assert (made["engine"], made["dtype"], made["pooling"]) == ("torch", "float32", "last")
    assert {"revision", "device", "versions", "date", "query_format"} <= made.keys()
    tokens = [embedder.tokenizer.count(document.content) for document in make_task().documents]
    assert made["documents"]["cut"] == sum(count + 1 > 12 for count in tokens) > 0  # EOS takes one
    assert made["queries"]["texts"] == made["queries"]["cut"] == 6  # the instruction alone is longer
    assert made["documents"]["seconds"] > 0


def test_excluded_documents_are_left_out_before_the_cut(embedder):
    excluded = {"q0": frozenset({"d0", "nowhere"}), "q2": frozenset({"d2", "d3", "d4"})}
    task = make_task(excluded=excluded)
    for system in (BM25Retriever(), DenseRetriever(embedder, cache=False)):
        run = evaluate(task, system, depth=5).run
        for query, ids in excluded.items():
            assert not ids & {hit.id for hit in run.hits[query]}
        if isinstance(system, DenseRetriever):
            assert {len(hits) for hits in run.hits.values()} == {5}


def test_documents_expanded_by_questions(embedder, tmp_path):
    task = make_task()
    questions = [Question(document.id, f"Where is the {document.title} used?") for document in task.documents[:9]]
    made = evaluate(task, DenseRetriever(embedder, questions=[*questions, Question("gone", "What?")]), out=tmp_path)
    facts = made.made_by["expansion"]
    assert made.made_by["expanded_by"] == identity([*questions, Question("gone", "What?")])
    assert (facts["texts"], facts["documents"], facts["unknown"]) == (9, 9, 1)
    plain = embedder.encode_corpus([document.content for document in task.documents])
    asked = embedder.encode_queries([question.text for question in questions], instruction=made.made_by["instruction"])
    queries = embedder.encode_queries([query.text for query in task.queries], instruction=made.made_by["instruction"])
    scores = queries @ expanded(plain, asked, np.arange(9)).T
    for query, row in zip(task.queries, scores, strict=True):
        assert made.run.hits[query.id][0].score == pytest.approx(row.max(), abs=1e-5)
    other = evaluate(task, DenseRetriever(embedder), out=tmp_path / "plain")
    assert made.made_by["evaluation"] != other.made_by["evaluation"]
    with pytest.raises(
        DataError, match="1 of 10 questions of the expansion are queries of tiny, the first: ' which MATRIX"
    ):
        evaluate(task, DenseRetriever(embedder, questions=[*questions, Question("d0", " which MATRIX  is meant?")]))


class _Forbidden:
    """A retriever that must not search again."""

    def __init__(self, retriever):
        self._retriever = retriever
        self.plan, self.describe = retriever.plan, retriever.describe

    def retrieve(self, task, plan, *, progress=False):
        raise AssertionError("searched again")


def test_the_same_evaluation_is_read_and_another_is_made(tmp_path):
    first = evaluate(make_task(), BM25Retriever(), out=tmp_path)
    again = evaluate(make_task(), _Forbidden(BM25Retriever()), out=tmp_path)
    assert again.scores.means == first.scores.means
    for other in (
        {"task": make_task(excluded={"q0": frozenset({"d0"})})},
        {"depth": 3},
        {"protocol": "mteb"},
        {"retriever": _Forbidden(BM25Retriever("bright"))},
    ):
        options = {"task": make_task(), "retriever": _Forbidden(BM25Retriever()), **other}
        with pytest.raises(AssertionError, match="searched again"):
            evaluate(options.pop("task"), options.pop("retriever"), out=tmp_path, **options)


def test_a_damaged_score_file_is_made_again(tmp_path):
    first = evaluate(make_task(), BM25Retriever(), out=tmp_path)
    (tmp_path / "beir/tiny.scores.json").write_text('{"task": "beir/ti')
    assert evaluate(make_task(), BM25Retriever(), out=tmp_path).scores == first.scores
    assert read_result(tmp_path / "beir/tiny.scores.json").headline == first.headline


def test_cached_vectors_give_the_same_scores_and_the_same_count_of_cut_texts(embedder, tmp_path):
    first = evaluate(make_task(), embedder, out=tmp_path / "a", cache_dir=tmp_path / "cache", max_length=12)
    second = evaluate(make_task(), embedder, out=tmp_path / "b", cache_dir=tmp_path / "cache", max_length=12)
    assert second.scores == first.scores
    assert (first.made_by["documents"]["encoded"], second.made_by["documents"]["encoded"]) == (14, 0)
    assert second.made_by["documents"]["texts_per_second"] is None
    for what in ("documents", "queries"):
        assert second.made_by[what]["cut"] == first.made_by[what]["cut"] > 0


def test_no_scores_are_left_when_writing_fails(tmp_path, monkeypatch):
    def full(path, run):
        raise StorageError(f"{path}: disk full")

    monkeypatch.setattr(runner, "write_run", full)
    with pytest.raises(StorageError):
        evaluate(make_task(), BM25Retriever(), out=tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_a_score_without_its_origin_is_not_written(tmp_path):
    result = evaluate(make_task(), BM25Retriever())
    del result.made_by["instruction"]
    with pytest.raises(DataError, match="must say what made it; missing: instruction"):
        runner.write_result(tmp_path / "x", result)
    assert not list(tmp_path.iterdir())


def test_plan_of_a_model_that_takes_instructions(embedder, caplog):
    plan = make_plan(make_task("Biology", "r2med"), embedder)
    own = embedder.checkpoint.document_max_length
    assert plan.instruction.startswith("Given a Biology post")
    assert plan.document_max_length == min(512, own)
    with caplog.at_level(logging.WARNING):
        assert make_plan(make_task("pony", "bright"), embedder).query_max_length == min(8192, own)
    assert "8192 tokens, the model takes" in caplog.text
    assert make_plan(make_task(), embedder, Wanted(instruction="")).instruction == ""
    assert make_plan(make_task("pony", "bright-long"), embedder, Wanted("mteb")).metric == "recall@1"


def test_plan_of_an_encoder_that_takes_none(tiny):
    embedder = Embedder(tiny("bert"), engine="torch", device="cpu", dtype="float32")
    assert make_plan(make_task("pony", "bright"), embedder).instruction is None
    assert make_plan(make_task("pony", "bright"), embedder, Wanted(instruction="Find it.")).instruction == "Find it."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "paper"}, "protocol 'paper' is unknown"),
        ({"metric": "accuracy"}, "metric 'accuracy' is unknown"),
        ({"depth": 0}, "depth is 0"),
        ({"max_length": -1}, "max_length is -1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        evaluate(make_task(), BM25Retriever(), **options)


def test_reading_results(tmp_path):
    evaluate(make_task("a"), BM25Retriever(), out=tmp_path)
    evaluate(make_task("b", split="dev"), BM25Retriever(), out=tmp_path)
    assert list(read_results(tmp_path)) == ["beir/a", "beir/b (dev)"]
    assert list(read_results(tmp_path / "beir/a.scores.json")) == ["beir/a"]
    (tmp_path / "copy.scores.json").write_text((tmp_path / "beir/a.scores.json").read_text())
    with pytest.raises(DataError, match="two score files of beir/a"):
        read_results(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataError, match="not a score file"):
        read_results(tmp_path / "other.json")
    with pytest.raises(DataError, match="no such file or folder"):
        read_results(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \*.scores.json below"):
        read_results(tmp_path / "empty")
