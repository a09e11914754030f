"""Fusion against plain NumPy over dense arrays, and its edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonembed.errors import DataError
from reasonembed.search.fusion import fuse, min_max, reciprocal_ranks, summed
from reasonembed.search.ranking import ranked
from reasonembed.types import Hit

IDS = [f"d{number}" for number in range(8)]
scores = st.one_of(st.integers(-3, 3).map(float), st.floats(-100, 100, allow_subnormal=False))
lists = st.dictionaries(st.sampled_from(IDS), scores, max_size=8).map(lambda found: ranked(found.items(), 8))
weights = st.floats(0.01, 20)


def dense(hits):
    """Scores as an array over all ids, NaN where a list does not hold one."""
    array = np.full(len(IDS), np.nan)
    for hit in hits:
        array[IDS.index(hit.id)] = hit.score
    return array


def scaled(hits, method):
    """One list in plain NumPy: (8,) float64, 0 where the list does not hold the document."""
    array = dense(hits)
    held = ~np.isnan(array)
    result = np.zeros(len(IDS))
    if not held.any():
        return result
    if method == "rrf":
        order = np.lexsort((np.array(IDS), -array))  # NaN last
        for rank, place in enumerate(order[: held.sum()], start=1):
            result[place] = 1 / (60 + rank)
        return result
    low, high = np.nanmin(array), np.nanmax(array)
    result[held] = 1.0 if high == low else (array[held] - low) / (high - low)
    return result


@settings(max_examples=300, deadline=None)
@given(
    found=st.lists(st.tuples(lists, weights), min_size=1, max_size=4),
    method=st.sampled_from(["min-max", "rrf"]),
    k=st.integers(1, 9),
)
def test_equals_numpy(found, method, k):
    named = {f"list{number}": hits for number, (hits, _) in enumerate(found)}
    given_weights = {f"list{number}": weight for number, (_, weight) in enumerate(found)}
    fused = fuse(named, method=method, weights=given_weights, k=k)
    total = sum(weight * scaled(hits, method) for hits, weight in found) / sum(weight for _, weight in found)
    known = {hit.id for hits, _ in found for hit in hits}
    best = sorted((total[IDS.index(key)] for key in known), reverse=True)[:k]
    assert {hit.id for hit in fused} <= known, "no list brings a document that it does not hold"
    np.testing.assert_allclose([hit.score for hit in fused], best, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([total[IDS.index(hit.id)] for hit in fused], best, rtol=1e-9, atol=1e-12)
    assert fused == ranked(((hit.id, hit.score) for hit in fused), k), "score descending, then id"


@settings(max_examples=200, deadline=None)
@given(found=st.lists(lists, min_size=1, max_size=5), k=st.integers(1, 9))
def test_sum_over_wordings_equals_numpy(found, k):
    total = np.nansum([dense(hits) for hits in found], axis=0)
    known = {hit.id for hits in found for hit in hits}
    best = sorted((total[IDS.index(key)] for key in known), reverse=True)[:k]
    np.testing.assert_allclose([hit.score for hit in summed(found, k)], best, rtol=1e-9, atol=1e-9)


def test_the_published_hybrid_by_hand():
    embed = [Hit("a", 0.8), Hit("b", 0.6), Hit("c", 0.4)]
    bm25 = [Hit("c", 30.0), Hit("d", 20.0), Hit("a", 10.0)]
    fused = fuse({"embed": embed, "bm25": bm25}, weights={"embed": 0.75, "bm25": 0.25}, k=4)
    assert [hit.id for hit in fused] == ["a", "b", "c", "d"]
    np.testing.assert_allclose([hit.score for hit in fused], [0.75, 0.375, 0.25, 0.125], rtol=1e-12)
    by_rank = fuse({"embed": embed, "bm25": bm25}, method="rrf", k=1)[0]
    assert by_rank.id == "a"
    assert by_rank.score == pytest.approx((1 / 61 + 1 / 63) / 2)


def test_ties_go_by_id_and_weights_need_not_add_up_to_one():
    left, right = [Hit("z", 2.0), Hit("m", 1.0)], [Hit("b", 9.0), Hit("m", 1.0)]
    assert [hit.id for hit in fuse({"x": left, "y": right}, k=3)] == ["b", "z", "m"]
    small = fuse({"x": left, "y": right}, weights={"x": 3, "y": 1}, k=3)
    assert small == fuse({"x": left, "y": right}, weights={"x": 0.75, "y": 0.25}, k=3)


def test_a_constant_list_and_an_empty_one():
    assert min_max([Hit("a", 3.0), Hit("b", 3.0)]) == {"a": 1.0, "b": 1.0}
    assert min_max([]) == {}
    assert reciprocal_ranks([]) == {}
    assert fuse({"x": [], "y": []}, k=2) == []
    assert fuse({"x": [], "y": [Hit("a", 0.1)]}, weights={"x": 1, "y": 1}, k=2) == [Hit("a", 0.5)]


def test_refusals():
    hits = [Hit("a", 1.0), Hit("b", 0.0)]
    with pytest.raises(DataError, match="k is 0"):
        fuse({"x": hits}, k=0)
    with pytest.raises(DataError, match="'borda' is unknown"):
        fuse({"x": hits}, method="borda", k=1)
    with pytest.raises(DataError, match="weights are given for y, the lists are x"):
        fuse({"x": hits}, weights={"y": 1}, k=1)
    for bad in (0, -1, math.nan, math.inf):
        with pytest.raises(DataError, match="at least 0"):
            fuse({"x": hits}, weights={"x": bad}, k=1)
    for bad in (math.nan, math.inf):
        with pytest.raises(DataError, match="cannot be fused"):
            min_max([Hit("a", bad), Hit("b", 1.0)])
