"""Documents expanded by the questions of an adaptation: where only that helps it is what wins, and nothing finds itself."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from adaptation_small import TRAIN, documents, pairs, small, words

from reasonembed import Embedder
from reasonembed.adaptation.expanding import (
    CrossFitted,
    all_questions,
    held_out_questions,
    training_questions,
    without_repeats,
)
from reasonembed.adaptation.run import adapt
from reasonembed.evaluation.runner import evaluate, read_results
from reasonembed.io.manifest import read_json
from reasonembed.search.expansion import Question, expanded
from reasonembed.search.index import open_index
from reasonembed.types import Document, Qrels, Query, RetrievalTask

FORMS = ("which {} {} {} {}", "{} {} {} {} lemma", "{} {} {} {} proof")


@pytest.fixture(scope="module")
def start(tiny):
    return tiny("bert")


@pytest.fixture(scope="module")
def arbitrary(start, tmp_path_factory):
    """Three questions of each document by a word that has nothing to do with it, so that nothing carries over to held-out documents."""
    root = tmp_path_factory.mktemp("arbitrary")
    docs, known = documents(root / "docs"), words(160)
    with (root / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["query", "document"])
        for place in range(160):
            word = known[(place * 7 + 37) % 160]
            table.writerows([form.format(*[word] * 4), f"d{place}"] for form in FORMS)
    config = small(start, pairs=root / "pairs.csv", train={**TRAIN, "optimiser.steps": 4, "evaluate.every": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONEMBED_CACHE", str(root / "cache"))
        yield adapt([docs], root / "run", config=config, progress=False), root / "run"


def test_what_training_cannot_learn_an_expansion_finds(arbitrary):
    result, run = arbitrary
    manifest = read_json(run / "manifest.json")
    assert manifest["result"]["candidate"] in ("before-expanded", "after-expanded")
    assert result.better
    assert result.expanded
    assert "with documents expanded by questions, finds" in result.sentence
    scores = {
        name: read_results(run / f"scores/{name}")["beir/test"].headline
        for name in ("before", "after", "before-expanded")
    }
    assert scores["before-expanded"] > scores["after"] + 0.2
    chosen = max(
        (key for key in manifest["steps"]["expanded"] if key.startswith("dev ")), key=manifest["steps"]["expanded"].get
    )
    assert chosen == f"dev {manifest['result']['candidate']}"
    assert "documents expanded" in result.report.read_text()


def test_the_index_knows_all_questions_and_is_of_the_model_that_won(arbitrary):
    result, run = arbitrary
    index = open_index(result.index)
    assert index.manifest["expansion"]["questions"] == 480
    assert index.manifest["model_fingerprint"] == Embedder(result.model, engine="torch").fingerprint
    held = [one for questions in held_out_questions(run, "test").values() for one in questions]
    found = index.search_many([one.text for one in held], 10)
    hits = [one.source in {hit.document.id for hit in row} for row, one in zip(found, held, strict=True)]
    assert np.mean(hits) > result.after + 0.1  # now each is among the questions of its document


def test_few_questions_do_not_expand(start, tmp_path, monkeypatch):
    monkeypatch.setattr("reasonembed.adaptation.tuning.LEAST_COVERAGE", 1.01)
    config = small(start, pairs=pairs(tmp_path / "pairs.csv"), train={**TRAIN, "optimiser.steps": 2})
    result = adapt([documents(tmp_path / "docs")], tmp_path / "run", config=config, progress=False)
    step = read_json(tmp_path / "run/manifest.json")["steps"]["expanded"]
    assert (step["candidate"], step["passages with questions"]) == ("after", 160)
    assert not (tmp_path / "run/scores/after-expanded").exists()
    assert "documents expanded" not in result.report.read_text()


def test_a_part_has_only_its_own_questions(arbitrary):
    _, run = arbitrary
    train = {one.source for one in training_questions(run)}
    dev, test = (
        {one.source for of in held_out_questions(run, part).values() for one in of} for part in ("dev", "test")
    )
    assert not train & dev
    assert not train & test
    assert not dev & test
    assert len(all_questions(run)) == 480


# --- each half by the other -----------------------------------------------------------------------------------------------------


def task_of(texts, queries):
    documents = tuple(Document(f"d{place}", text) for place, text in enumerate(texts))
    asked = tuple(Query(f"q{place}", text) for place, (text, _) in enumerate(queries))
    relevance = {f"q{place}": {source: 1} for place, (_, source) in enumerate(queries)}
    held = {f"q{place}": [Question(source, text)] for place, (text, source) in enumerate(queries)}
    return RetrievalTask("tiny", "beir", documents, asked, Qrels(relevance), {}, "test"), held


KNOWN = words(24)
TEXTS = [f"lemma of {word} and the matrix" for word in KNOWN[:12]]


def run_of(start, known, queries):
    task, held = task_of(TEXTS, queries)
    embedder = Embedder(start, engine="torch")
    found = evaluate(task, CrossFitted(embedder, known, held), instruction=None, metric="ndcg@10").run
    plain = embedder.encode_corpus(TEXTS)
    return {key: {hit.id: hit.score for hit in hits} for key, hits in found.hits.items()}, embedder, plain


def test_a_question_alone_with_its_document_expands_nothing(start):
    queries = [(f"which {word} theorem", f"d{place}") for place, word in enumerate(KNOWN[12:18])]
    found, embedder, plain = run_of(start, [], queries)
    expected = embedder.encode_queries([text for text, _ in queries]) @ plain.T
    for place in range(len(queries)):
        got = [found[f"q{place}"][f"d{row}"] for row in range(12)]
        assert got == pytest.approx(expected[place].tolist(), abs=1e-5)


def test_each_half_is_searched_with_the_other_half(start):
    queries = [(form.format(*[word] * 4), f"d{place}") for place, word in enumerate(KNOWN[12:18]) for form in FORMS[:2]]
    known = [Question("d9", f"{KNOWN[20]} proof")]
    found, embedder, plain = run_of(start, known, queries)
    vectors = embedder.encode_queries([text for text, _ in queries])
    of_known = embedder.encode_queries([known[0].text])
    for half in (0, 1):
        other = slice(1 - half, None, 2)
        moved = expanded(plain, np.concatenate([of_known, vectors[other]]), [9, *range(6)])
        for place in range(half, len(queries), 2):
            got = [found[f"q{place}"][f"d{row}"] for row in range(12)]
            assert got == pytest.approx((vectors[place] @ moved.T).tolist(), abs=1e-5)


def test_what_nearly_repeats_a_searched_question_does_not_expand():
    questions = [
        Question("d1", "Is the matrix invertible?"),
        Question("d1", "is the matrix  INVERTIBLE"),
        Question("d1", "Why 7?"),
    ]
    assert without_repeats(questions, ["Is the matrix invertible?"]) == [questions[2]]
