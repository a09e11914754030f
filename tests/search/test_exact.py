"""ExactSearcher against a full sort in float64, and its refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonembed.errors import DataError, MismatchError
from reasonembed.search import exact
from reasonembed.search.exact import ExactSearcher
from reasonembed.search.scorers import numpy as numpy_scorer


def unit(rng, n, dim):
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def full_sort(ids, vectors, query, k, excluded=frozenset()):
    """The oracle: every score in float64, one sort by (-score, id)."""
    scores = [np.float32(sum(float(a) * float(b) for a, b in zip(row, query, strict=True))) for row in vectors]
    order = sorted((-float(s), i) for s, i in zip(scores, ids, strict=True) if i not in excluded)
    return [(i, -s) for s, i in order[:k]]


def pairs(hits):
    return [(hit.id, hit.score) for hit in hits]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**20), n=st.integers(1, 60), distinct=st.integers(1, 12), k=st.integers(1, 70),
    block=st.sampled_from([1, 3, 7, 100]), parts=st.integers(1, 3),
)  # fmt: skip
def test_equals_a_full_sort_with_ties_at_the_cut(seed, n, distinct, k, block, parts):
    rng = np.random.default_rng(seed)
    vectors = unit(rng, distinct, 5)[rng.integers(0, distinct, n)]  # many exact duplicates: ties straddle the cut
    ids = [f"d{i}" for i in rng.permutation(n)]
    queries = unit(rng, 3, 5)
    exclude = [{i for i in ids if rng.random() < 0.3} | {"not in the index"} for _ in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numpy_scorer, "TILE", block)
        patch.setattr(exact, "QUERY_BLOCK", 2)
        searcher = ExactSearcher(backend="numpy")
        for part in np.array_split(np.arange(n), parts):
            searcher.add([ids[i] for i in part], vectors[part])
        found = searcher.search(queries, k, exclude)
    for hits, query, left_out in zip(found, queries, exclude, strict=True):
        expected = full_sort(ids, vectors, query, k, left_out)
        assert [i for i, _ in pairs(hits)] == [i for i, _ in expected]
        np.testing.assert_allclose([h.score for h in hits], [s for _, s in expected], atol=1e-7)


def test_equal_vectors_get_equal_scores_in_every_block_and_company():
    rng = np.random.default_rng(0)
    vectors = unit(rng, 40_000, 16)
    vectors[[3, 20_000, 39_999]] = vectors[5]
    searcher = ExactSearcher()
    searcher.add([str(i) for i in range(40_000)], vectors)
    queries = np.concatenate([vectors[5:6], unit(rng, 200, 16)])
    together = searcher.search(queries, 4)
    assert [hit.id for hit in together[0]] == ["20000", "3", "39999", "5"]
    assert len({hit.score for hit in together[0]}) == 1
    assert all(searcher.search(query, 4)[0] == hits for query, hits in zip(queries[:20], together, strict=False))


def test_exclusion_comes_before_the_cut():
    vectors = np.eye(4, dtype=np.float32)
    searcher = ExactSearcher()
    searcher.add(["a", "b", "c", "d"], vectors)
    query = np.array([0.8, 0.6, 0, 0], np.float32)
    assert [hit.id for hit in searcher.search(query, 2, [{"a"}])[0]] == ["b", "c"]
    assert searcher.search(query, 2, [{"a", "b", "c", "d"}]) == [[]]


def test_saved_index_is_memory_mapped_and_gives_the_same(tmp_path):
    rng = np.random.default_rng(1)
    vectors, queries = unit(rng, 50, 8), unit(rng, 4, 8)
    searcher = ExactSearcher()
    searcher.add([f"x{i}" for i in range(20)], vectors[:20])
    searcher.add([f"y{i}" for i in range(30)], vectors[20:])
    searcher.save(tmp_path / "index")
    opened = ExactSearcher.load(tmp_path / "index")
    base = opened._blocks[0]
    while not isinstance(base, np.memmap) and base is not None:
        base = base.base
    assert isinstance(base, np.memmap)
    assert opened.search(queries, 7) == searcher.search(queries, 7)
    assert len(opened) == 50
    assert opened.dim == 8
    np.testing.assert_array_equal(np.load(tmp_path / "index/vectors.npy", allow_pickle=False), vectors)


def test_empty_index_finds_nothing():
    assert ExactSearcher().search(np.ones((2, 3), np.float32), 5) == [[], []]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_vectors_that_are_not_finite(value):
    vectors = np.eye(3, dtype=np.float32)
    vectors[1, 2] = value
    searcher = ExactSearcher()
    with pytest.raises(DataError, match=r"document 'b'.*NaN or infinity"):
        searcher.add(["a", "b", "c"], vectors)
    assert len(searcher) == 0
    searcher.add(["a", "b", "c"], np.eye(3))
    with pytest.raises(DataError, match="query 1 holds NaN"):
        searcher.search(vectors, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_stored_vectors_is_found_when_searched(tmp_path, value):
    searcher = ExactSearcher()
    searcher.add(["a", "b"], np.eye(2))
    searcher.save(tmp_path)
    damaged = np.eye(2, dtype=np.float32)
    damaged[1, 0] = value
    np.save(tmp_path / "vectors.npy", damaged)
    with pytest.raises(DataError, match=r"document 'b' holds NaN or infinity.*build the index again"):
        ExactSearcher.load(tmp_path).search(np.array([1, 0.5], np.float32), 1)


def test_refusals():
    searcher = ExactSearcher()
    searcher.add(["a", "b"], np.eye(2))
    with pytest.raises(MismatchError, match="3 dimensions, the index has 2"):
        searcher.search(np.ones(3), 1)
    with pytest.raises(MismatchError, match="3 dimensions, the index has 2"):
        searcher.add(["c"], np.ones((1, 3)))
    with pytest.raises(DataError, match="'b' was added before"):
        searcher.add(["b"], np.ones((1, 2)))
    with pytest.raises(DataError, match="'c' was added before"):
        searcher.add(["c", "c"], np.ones((2, 2)))
    with pytest.raises(DataError, match="1 ids for 2 documents"):
        searcher.add(["c"], np.ones((2, 2)))
    for k in (0, -1, 2.5, True, "3"):
        with pytest.raises(DataError, match="k is"):
            searcher.search(np.ones(2), k)
    with pytest.raises(DataError, match="exclude has 2 entries for 1 queries"):
        searcher.search(np.ones(2), 1, [{"a"}, {"b"}])
    with pytest.raises(DataError, match="exclude holds the string"):
        searcher.search(np.ones(2), 1, ["a"])
    with pytest.raises(DataError, match="type <U1"):
        searcher.search(np.array([["x"]]), 1)
    with pytest.raises(DataError, match="shape"):
        searcher.search(np.ones((1, 1, 2)), 1)
    with pytest.raises(DataError, match="nothing to save"):
        ExactSearcher().save("unused")


def test_load_refuses_damaged_folders(tmp_path):
    searcher = ExactSearcher()
    searcher.add(["a", "b"], np.eye(2))

    def fresh():
        searcher.save(tmp_path)

    with pytest.raises(DataError, match=r"ids\.json: no such file"):
        ExactSearcher.load(tmp_path)
    fresh()
    (tmp_path / "vectors.npy").unlink()
    with pytest.raises(DataError, match=r"vectors\.npy: no such file"):
        ExactSearcher.load(tmp_path)
    fresh()
    (tmp_path / "vectors.npy").write_bytes((tmp_path / "vectors.npy").read_bytes()[:-3])
    with pytest.raises(DataError, match=r"not a whole \.npy file"):
        ExactSearcher.load(tmp_path)
    (tmp_path / "vectors.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"not a whole \.npy file"):
        ExactSearcher.load(tmp_path)
    np.save(tmp_path / "vectors.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="damaged"):
        ExactSearcher.load(tmp_path)
    np.save(tmp_path / "vectors.npy", np.eye(2))
    with pytest.raises(DataError, match="holds 2-D float64, a 2-D float32"):
        ExactSearcher.load(tmp_path)
    fresh()
    (tmp_path / "ids.json").write_text(json.dumps({"ids": ["a"]}))
    with pytest.raises(MismatchError, match="1 ids for 2 vectors"):
        ExactSearcher.load(tmp_path)
    (tmp_path / "ids.json").write_text(json.dumps({"ids": ["a", 2]}))
    with pytest.raises(DataError, match="list of strings"):
        ExactSearcher.load(tmp_path)
    (tmp_path / "ids.json").write_text(json.dumps({"ids": ["a", "a"]}))
    with pytest.raises(DataError, match="'a' was added before"):
        ExactSearcher.load(tmp_path)
