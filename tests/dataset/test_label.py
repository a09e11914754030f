"""Labels: thresholds of the paper, both kinds needed, one passage a text."""

from __future__ import annotations

import pytest

from reasonembed.dataset.label import Limits, sample_of
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


@pytest.mark.parametrize(
    ("wrong", "said"), [({"positive": 2, "negative": 2}, "not below"), ({"margin": 0}, "margin=0")]
)
def test_limits_that_part_nothing_are_refused(wrong, said):
    with pytest.raises(DataError, match=said):
        Limits(**wrong)


def test_with_a_margin_the_mean_of_the_query_parts_positives_from_negatives():
    pairs = judged(("a", 4.6), ("b", 4.1), ("c", 4.25), ("d", 4.05))  # mean 4.25
    sample = sample_of(QUERY, pairs, TEXTS.__getitem__, limits=Limits(margin=0.15))
    assert (sample.pos, sample.neg, sample.neg_scores) == (("alpha",), ("beta", "delta"), (4.1, 4.05))
    assert sample_of(QUERY, pairs, TEXTS.__getitem__, limits=Limits(margin=0.19)).neg == ("delta",)
    assert sample_of(QUERY, pairs, TEXTS.__getitem__, limits=Limits(margin=0.3)) == "no negative"


def test_a_margin_counts_texts_not_documents():
    pairs = judged(("a", 5), ("A", 5), ("b", 4), ("c", 3))
    assert sample_of(QUERY, pairs, TEXTS.__getitem__, limits=Limits(margin=0.9)).pos == ("alpha",)  # mean 4, not 4.25


def test_judgements_that_are_all_alike_give_no_sample_by_a_margin():
    pairs = judged(("a", 3), ("b", 3), ("c", 3))
    assert sample_of(QUERY, pairs, TEXTS.__getitem__, limits=Limits(margin=0.1)) == "no positive and no negative"
