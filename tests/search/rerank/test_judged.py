"""From scores to an order: against a loop that fills places one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonembed.errors import DataError
from reasonembed.search.rerank.judged import Judged, check_candidates, falling, order, reranking
from reasonembed.types import Document

SCORES = st.lists(st.none() | st.integers(0, 100) | st.floats(-20, 20, width=32), max_size=40)


@given(SCORES)
def test_unscored_documents_keep_their_place_and_the_scored_ones_fill_the_others(scores):
    places = order(scores)
    assert sorted(places) == list(range(len(scores)))
    assert all(places[i] == i for i, score in enumerate(scores) if score is None)
    scored = [place for place in places if scores[place] is not None]
    for above, below in itertools.pairwise(scored):
        assert scores[above] > scores[below] or (scores[above] == scores[below] and above < below)


@given(SCORES)
def test_scores_fall_strictly_even_in_float32_and_stay_what_they_were(scores):
    placed = [scores[place] for place in order(scores)]
    found = falling(placed)
    assert all(np.diff(np.array(found)) < 0)
    known = [score for score in placed if score is not None]
    largest = max(map(abs, known), default=0.0) or 1.0
    if largest > 1e-30:  # below, float32 has no numbers left
        assert all(np.diff(np.array(found, np.float32)) < 0)
    for score, given_score in zip(placed, found, strict=True):
        if score is not None:
            assert score - 1e-6 * len(placed) * largest <= given_score <= score


def test_distinct_scores_are_not_touched():
    assert falling([90.0, 89.9375, 3.0]) == [90.0, 89.9375, 3.0]
    assert falling([]) == []
    assert falling([None, None]) == [0.0, -1e-6]


def test_documents_beyond_the_budget_follow_in_their_old_order():
    documents = [Document(key, key) for key in "abcde"]
    judged = [Judged("a", 10.0, (10.0,), "", 1), Judged("b", None, (), "", 2), Judged("c", 80.0, (80.0,), "yes", 3)]
    found = reranking(documents, judged, unparsed=1)
    assert [hit.id for hit in found.hits] == ["c", "b", "a", "d", "e"]
    assert [one.first_stage_rank for one in found.judged] == [3, 2, 1]
    assert [hit.score for hit in found.hits] == pytest.approx([80, 80, 10, 10, 10], abs=1e-3)
    assert found.unparsed == 1
    assert reranking([], [], unparsed=0).hits == ()


def test_candidates_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="1 lists of documents for 2 queries"):
        check_candidates(["a", "b"], [[]])
    with pytest.raises(DataError, match="list of queries"):
        check_candidates("ab", [[], []])
    with pytest.raises(DataError, match="occurs twice among those of query 'a'"):
        check_candidates(["a"], [[Document("x", "1"), Document("x", "2")]])
