"""Labels: thresholds of the paper, both kinds needed, one passage a text."""

from __future__ import annotations

import pytest

from reasonembed.dataset.label import sample_of
from reasonembed.errors import DataError
from reasonembed.types import Annotation, SynthQuery

QUERY = SynthQuery("q", "why?", "source", (100, 200), "college")
TEXTS = {"a": "alpha", "b": "beta", "c": "gamma", "d": "delta", "A": "alpha"}


def judged(*scores):
    return [
        Annotation("q", document, score, (score,), "", rank) for rank, (document, score) in enumerate(scores, start=1)
    ]


def test_three_is_positive_two_is_negative_between_is_neither():
    sample = sample_of(QUERY, judged(("a", 2.0), ("b", 3.0), ("c", 2.5), ("d", 5.0)), TEXTS.__getitem__)
    assert (sample.pos, sample.pos_scores) == (("beta", "delta"), (3.0, 5.0))
    assert (sample.neg, sample.neg_scores) == (("alpha",), (2.0,))
    assert sample.reasoning_query is None


def test_order_is_the_miners_whatever_the_order_of_judging():
    pairs = judged(("a", 5), ("b", 1), ("c", 3), ("d", 2))
    assert sample_of(QUERY, reversed(pairs), TEXTS.__getitem__) == sample_of(QUERY, pairs, TEXTS.__getitem__)


def test_an_equal_text_counts_once_with_its_best_score():
    sample = sample_of(QUERY, judged(("a", 1), ("b", 2), ("A", 4)), TEXTS.__getitem__)
    assert (sample.pos, sample.neg) == (("alpha",), ("beta",))


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ((), "nothing judged"),
        ((("a", 4),), "no negative"),
        ((("a", 1),), "no positive"),
        ((("a", 2.5),), "no positive and no negative"),
    ],
)
def test_why_there_is_no_sample(scores, reason):
    assert sample_of(QUERY, judged(*scores), TEXTS.__getitem__) == reason


def test_thresholds_that_overlap_are_refused():
    with pytest.raises(DataError, match="not below"):
        sample_of(QUERY, [], TEXTS.__getitem__, positive=2, negative=2)
