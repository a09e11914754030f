"""Documents moved towards their questions: the formula, what it does to those without a question, files, and an index that keeps them."""

from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import pytest
from tiny_embedder import Tiny

from reasonembed.errors import DataError
from reasonembed.search import expansion
from reasonembed.search.expansion import PRIOR, RIDGE, Question, expanded, match_questions, read_questions
from reasonembed.search.index import build_index, open_index
from reasonembed.types import Document


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def drawn(n, dim=6, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(n, dim)))


# --- the formula ----------------------------------------------------------------------------------------------------------------


def test_it_is_the_formula():
    documents, questions = drawn(9), drawn(20, seed=1)
    owners = np.random.default_rng(2).integers(0, 6, 20)  # the last three documents have no question
    has = sorted(set(owners.tolist()))
    means = np.stack([questions[owners == place].mean(0) for place in has])
    inputs = documents[has] - documents[has].mean(0)
    penalised = np.concatenate([inputs, np.sqrt(RIDGE) * np.eye(6)])  # ridge regression as least squares with more rows
    targets = np.concatenate([means - means.mean(0), np.zeros((6, 6))])
    weights = np.linalg.lstsq(penalised, targets, rcond=None)[0]
    for place, found in enumerate(expanded(documents, questions, owners)):
        own = questions[owners == place]
        predicted = (documents[place] - documents[has].mean(0)) @ weights + means.mean(0)
        moved = documents[place] + (own.sum(0) + PRIOR * predicted) / (len(own) + PRIOR)
        assert found == pytest.approx(moved / np.linalg.norm(moved), abs=1e-6)


def test_blocks_and_the_order_of_questions_change_nothing(monkeypatch):
    documents, questions = drawn(50), drawn(90, seed=1)
    owners = np.random.default_rng(2).integers(0, 40, 90)
    whole = expanded(documents, questions, owners)
    monkeypatch.setattr(expansion, "BLOCK", 7)
    order = np.random.default_rng(3).permutation(90)
    assert expanded(documents, questions[order], owners[order]) == pytest.approx(whole, abs=1e-6)
    assert whole.dtype == np.float32
    assert np.linalg.norm(whole, axis=1) == pytest.approx(np.ones(50), abs=1e-6)


def test_a_document_comes_nearer_to_its_questions():
    documents, questions = drawn(30, dim=16), drawn(30, dim=16, seed=1)
    before = (documents * questions).sum(1)
    assert ((expanded(documents, questions, np.arange(30)) * questions).sum(1) > before).all()


def test_those_without_a_question_are_not_left_behind():
    """Questions share a direction that documents lack: without the map, half of the documents would win every search."""
    topics, shared = drawn(400, dim=32), np.eye(33, dtype=np.float32)[32]
    documents = unit(np.concatenate([topics, np.zeros((400, 1), np.float32)], axis=1))
    questions = unit(documents + 0.7 * drawn(400, dim=33, seed=1) + 2 * shared)
    asked = np.arange(0, 400, 2)
    found = expanded(documents, questions[asked], asked)
    naive = documents.copy()
    naive[asked] = unit(documents[asked] + questions[asked])
    rest = np.arange(1, 400, 2)
    hits = {name: (questions[rest] @ of.T).argmax(1) == rest for name, of in (("map", found), ("naive", naive))}
    assert hits["naive"].mean() < 0.1
    assert hits["map"].mean() > 0.5


@pytest.mark.parametrize(("documents", "questions", "owners", "problem"), [
    (drawn(3), drawn(0), [], "no question"),
    (drawn(3), drawn(2, dim=5), [0, 1], "questions have 5 dimensions, documents 6"),
    (drawn(3), drawn(2), [0], r"\(1,\) owners of 2 questions"),
    (drawn(3), drawn(2), [0, 3], "owners are from 0 to 3, documents from 0 to 2"),
    (drawn(3), drawn(2), [-1, 0], "owners are from -1"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(documents, questions, owners, problem):
    with pytest.raises(DataError, match=problem):
        expanded(documents, questions, owners)


# --- files ----------------------------------------------------------------------------------------------------------------------


def test_questions_are_read_from_both_kinds_of_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "d1#q1", "source": "d1", "text": "why", "length": [1, 2]}\n\n')
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write('{"source": "d1", "query": "why"}\n{"source": "d2", "query": "how"}\n')
    assert read_questions([tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"]) == [
        Question("d1", "why"),
        Question("d2", "how"),
    ]


@pytest.mark.parametrize(("text", "problem"), [
    ("", "no questions"),
    ('{"source": "d1", "text": "a"}\n{"text": "b"}\n', r":2: field 'source'"),
    ('{"source": "d1"}\n', r":1: field 'text'"),
    ('{"source": "d1", "text": " "}\n', r":1: field 'text' is empty"),
    ('{"source": 1, "text": "a"}\n', r":1: field 'source'"),
    ("what\n", r":1: broken JSON"),
])  # fmt: skip
def test_a_wrong_file_is_refused_with_its_line(tmp_path, text, problem):
    (tmp_path / "q.jsonl").write_text(text)
    with pytest.raises(DataError, match=problem):
        read_questions([tmp_path / "q.jsonl"])


def test_questions_of_other_documents_are_counted():
    matched = match_questions([Question("b", "1"), Question("x", "2"), Question("a", "3")], ["a", "b"])
    assert (matched.owners.tolist(), [one.text for one in matched.questions], matched.unknown) == (
        [1, 0],
        ["1", "3"],
        1,
    )
    with pytest.raises(DataError, match=r"none of the 1 questions .* the first has 'x', a document is 'a'"):
        match_questions([Question("x", "2")], ["a", "b"])


# --- the index ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def docs(tmp_path):
    rows = [{"id": f"d{place}", "text": f"theorem {place}"} for place in range(40)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "docs.jsonl"


QUESTIONS = [Question(f"d{place}", f"which one is meant by case {place}") for place in range(0, 40, 2)]


def first(index, text):
    return open_index(index, embedder=Tiny()).search(text, 1)[0].document.id


def test_an_index_is_searched_by_expanded_vectors(docs, tmp_path):
    out, model = tmp_path / "index", Tiny()
    made = build_index([docs], out, model, questions=[*QUESTIONS, Question("gone", "of what")])
    told = {name: made["expansion"][name] for name in ("questions", "documents", "unknown")}
    assert told == {"questions": 20, "documents": 20, "unknown": 1}
    plain = model.encode_corpus([f"theorem {place}" for place in range(40)])
    asked = model.encode_queries([one.text for one in QUESTIONS])
    vectors = np.load(out / "expanded.npy")
    assert vectors == pytest.approx(expanded(plain, asked, np.arange(0, 40, 2)), abs=1e-6)
    assert np.load(out / "vectors.npy") == pytest.approx(plain)
    nearest = [f"d{place}" for place in (asked @ vectors.T).argmax(1)]
    assert [first(out, one.text) for one in QUESTIONS] == nearest
    assert nearest != [f"d{place}" for place in (asked @ plain.T).argmax(1)]


def test_an_index_keeps_its_questions_and_forgets_them_when_told(docs, tmp_path):
    out, scratch = tmp_path / "index", tmp_path / "scratch"
    build_index([docs], out, Tiny(), questions=[*QUESTIONS, QUESTIONS[0]])
    again = Tiny()
    assert not build_index([docs], out, again)["run"]["changed"]
    assert not build_index([docs], out, again, questions=QUESTIONS)["run"]["changed"]
    assert (again.embedded, again.asked) == ([], [])
    with docs.open("a") as file:
        file.write('{"id": "new", "text": "theorem of the new one"}\n')
    made = build_index([docs], out, again)
    assert (again.embedded, again.asked) == (["theorem of the new one"], [])  # questions come from the cache
    assert made["expansion"]["questions"] == 20
    shutil.rmtree(scratch, ignore_errors=True)
    build_index([docs], scratch, Tiny(), questions=QUESTIONS)
    assert np.load(out / "expanded.npy").tobytes() == np.load(scratch / "expanded.npy").tobytes()
    for told in ({"full": True}, {"questions": []}):
        build_index([docs], out, Tiny(), questions=QUESTIONS)
        assert build_index([docs], out, Tiny(), **told)["expansion"] is None
        assert not (out / "expanded.npy").exists()
        assert not (out / "questions.jsonl").exists()


def test_a_document_that_comes_back_has_its_questions_again(docs, tmp_path):
    out, lines = tmp_path / "index", docs.read_text().splitlines(keepends=True)
    build_index([docs], out, Tiny(), questions=QUESTIONS)
    docs.write_text("".join(lines[5:]))
    assert build_index([docs], out, Tiny())["expansion"]["unknown"] == 3
    docs.write_text("".join(lines))
    assert build_index([docs], out, Tiny())["expansion"]["unknown"] == 0


def test_questions_of_another_corpus_leave_the_index_as_it_was(docs, tmp_path):
    out = tmp_path / "index"
    build_index([docs], out, Tiny(), questions=QUESTIONS)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(DataError, match="none of the 1 questions"):
        build_index([docs], out, Tiny(), questions=[Question("elsewhere", "what")])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_texts_are_those_of_the_documents(docs, tmp_path):
    build_index([docs], tmp_path / "index", Tiny(), questions=QUESTIONS)
    assert list(open_index(tmp_path / "index").texts())[:2] == [
        Document("d0", "theorem 0"),
        Document("d1", "theorem 1"),
    ]
