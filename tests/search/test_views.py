"""BM25 kept in a folder and in an index; the dense view of an index."""

from __future__ import annotations

import errno
import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonembed.encode.embedder import Embedder
from reasonembed.errors import DataError
from reasonembed.search.bm25 import BM25Searcher
from reasonembed.search.expansion import Question
from reasonembed.search.index import build_index, open_index
from reasonembed.search.views import bm25_view, dense_view

WORDS = ["theorem", "graph", "proof", "number", "prime", "colour", "space", "norm", "zebra", "the"]
ROWS = [
    {"id": "code", "text": "A linear code of minimum distance d corrects errors."},
    {"id": "eigen", "text": "An eigenvector keeps its direction under a matrix."},
    {"id": "rain", "title": "Weather", "text": "Rain falls when clouds cool."},
]
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(documents=texts, query=st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), bright=st.booleans())
def test_a_searcher_opened_from_disk_finds_the_same(documents, query, bright, tmp_path_factory):
    variant = "bright" if bright else "lucene"
    ids = [f"d{number}" for number in range(len(documents))]
    made = BM25Searcher(variant)
    made.add(ids, documents)
    folder = tmp_path_factory.mktemp("bm25") / "kept"
    made.save(folder, made_from="x")
    opened = BM25Searcher.load(folder, ids, variant=variant, made_from="x")
    assert opened.search([query], 5, [{"d0"}]) == made.search([query], 5, [{"d0"}])
    assert len(opened) == len(made)


def test_what_does_not_belong_together_is_refused(tmp_path):
    made = BM25Searcher()
    made.add(["a", "b"], ["graph theory", "number theory"])
    made.save(tmp_path / "kept", made_from="x")
    for change, message in (
        ({"made_from": "y"}, "made_from is 'x', not 'y'"),
        ({"variant": "bright"}, "made_by is"),
        ({"ids": ["a"]}, "count is 2, not 1"),
    ):
        with pytest.raises(DataError, match=message):
            BM25Searcher.load(tmp_path / "kept", **{"ids": ["a", "b"], "made_from": "x", **change})
    opened = BM25Searcher.load(tmp_path / "kept", ["a", "b"], made_from="x")
    with pytest.raises(DataError, match="takes no documents"):
        opened.add(["c"], ["x"])
    meta = json.loads((tmp_path / "kept/bm25.json").read_text())
    (tmp_path / "kept/bm25.json").write_text(json.dumps(meta | {"words": meta["words"][1:]}))
    with pytest.raises(DataError, match="do not belong together"):
        BM25Searcher.load(tmp_path / "kept", ["a", "b"], made_from="x")
    (tmp_path / "kept/weights.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="not a whole"):
        BM25Searcher.load(tmp_path / "kept", ["a", "b"], made_from="x")


@pytest.fixture(scope="module")
def embedder():
    return Embedder()


@pytest.fixture
def index(tmp_path, embedder):
    def build(rows):
        (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        build_index([tmp_path / "docs.jsonl"], tmp_path / "index", embedder)
        return open_index(tmp_path / "index", embedder=embedder)

    return build


def test_the_words_of_an_index_are_kept_until_it_changes(index, monkeypatch):
    opened = index(ROWS)
    first = bm25_view(opened, "bright").search(["minimum distance of a code", "weather"], 2)
    assert [[hit.id for hit in hits] for hits in first] == [["code"], ["rain"]]
    assert (opened.folder / "bm25-bright/bm25.json").is_file()
    with monkeypatch.context() as patch:
        patch.setattr(type(opened), "texts", lambda self: pytest.fail("the texts are read again"))
        assert bm25_view(opened, "bright").search(["minimum distance of a code", "weather"], 2) == first
    kept = (opened.folder / "bm25-bright").rename(opened.folder.parent / "old")
    changed = index([ROWS[1], ROWS[2], {"id": "new", "text": "Another code."}])
    kept.rename(changed.folder / "bm25-bright")  # statistics of other texts are never used
    assert [hit.id for hit in bm25_view(changed, "bright").search(["code"], 2)[0]] == ["new"]
    assert [hit.id for hit in bm25_view(changed, "bright").search(["code"], 2)[0]] == ["new"]
    (changed.folder / "bm25-bright/places.npy").unlink()
    assert [hit.id for hit in bm25_view(changed, "bright").search(["code"], 2)[0]] == ["new"]


def test_the_words_of_questions_find_their_document(index, embedder):
    plain = index(ROWS)
    assert [hit.id for hit in bm25_view(plain).search(["umbrella matrix"], 1)[0]] == ["eigen"]
    for source in ("rain", "code"):  # the statistics of one expansion are not those of another
        questions = [Question(source, "Do I need an umbrella, and which umbrella?")]
        build_index([plain.folder.parent / "docs.jsonl"], plain.folder, embedder, questions=questions)
        opened = open_index(plain.folder, embedder=embedder)
        for _ in range(2):  # made, then read from its folder
            assert [hit.id for hit in bm25_view(opened).search(["umbrella matrix"], 1)[0]] == [source]
        kept = opened.folder / "bm25-lucene"
        kept.rename(plain.folder.parent / "kept")
        build_index([plain.folder.parent / "docs.jsonl"], plain.folder, embedder, questions=[])
        (plain.folder.parent / "kept").rename(kept)
        plain = open_index(plain.folder, embedder=embedder)
        assert [hit.id for hit in bm25_view(plain).search(["umbrella matrix"], 1)[0]] == ["eigen"]


def test_an_index_that_cannot_be_written_is_searched_all_the_same(index, monkeypatch, caplog):
    opened = index(ROWS)

    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("reasonembed.io.atomic.tempfile.mkdtemp", read_only)
    with caplog.at_level(logging.WARNING):
        assert [hit.id for hit in bm25_view(opened).search(["weather"], 1)[0]] == ["rain"]
    assert "not kept" in caplog.text


def test_the_dense_view_is_the_index(index, embedder):
    opened = index(ROWS)
    view = dense_view(opened, instruction="Find the theorem")
    asked = ["which vectors keep their direction", "rain"]
    found = view.search(asked, 2, [set(), {"rain"}])
    vectors = embedder.encode_queries(asked, instruction="Find the theorem")
    documents = embedder.encode_corpus([f"{row.get('title', '')} {row['text']}".strip() for row in ROWS])
    cosines = vectors @ documents.T
    cosines[1, 2] = -2
    best = np.argsort(-cosines, axis=1)[:, :2]
    assert [[hit.id for hit in hits] for hits in found] == [[ROWS[place]["id"] for place in row] for row in best]
    np.testing.assert_allclose(
        [[hit.score for hit in hits] for hits in found], np.take_along_axis(cosines, best, axis=1), atol=1e-6
    )
    with pytest.raises(DataError, match="question 1 is empty"):
        view.search(["x", "  "], 1)
