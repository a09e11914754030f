"""Agreement against its definitions: the table of weighted kappa, all pairs for the AUC, and a published standard error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from reasonembed.errors import DataError, MismatchError
from reasonembed.synth.agreement import agreement, compare_judges, separation
from reasonembed.types import Annotation

LABELS = st.integers(1, 5)


def kappa_by_table(first, second):
    observed = np.zeros((5, 5))
    for a, b in zip(first, second, strict=True):
        observed[a - 1, b - 1] += 1
    chance = np.outer(observed.sum(1), observed.sum(0)) / observed.sum()
    weights = np.array([[(i - j) ** 2 for j in range(5)] for i in range(5)])
    return 1 - (weights * observed).sum() / (weights * chance).sum() if (weights * chance).sum() else None


def auc_by_pairs(scores, relevant):
    above = [s for s, r in zip(scores, relevant, strict=True) if r]
    below = [s for s, r in zip(scores, relevant, strict=True) if not r]
    return sum((a > b) + (a == b) / 2 for a in above for b in below) / (len(above) * len(below))


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=60))
def test_agreement_is_that_of_the_table(pairs):
    first, second = zip(*pairs, strict=True)
    got = agreement(first, second)
    assert got.n == len(pairs)
    assert got.exact == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    assert got.within_one == pytest.approx(sum(abs(a - b) <= 1 for a, b in pairs) / len(pairs))
    assert got.kappa == pytest.approx(kappa_by_table(first, second), abs=1e-9)


def test_agreement_of_opposites_and_of_constants():
    assert agreement([1, 5, 1, 5], [5, 1, 5, 1]).kappa == pytest.approx(-1.0)
    assert agreement([3, 3], [3, 3]).kappa is None


@given(st.lists(st.tuples(st.sampled_from([1, 1.5, 2, 2.25, 3, 4.75, 5]), st.booleans()), min_size=2, max_size=40))
def test_auc_is_the_share_of_ordered_pairs(pairs):
    scores, relevant = zip(*pairs, strict=True)
    got = separation(scores, relevant)
    assert (got.positives, got.others) == (sum(relevant), len(relevant) - sum(relevant))
    if len(set(relevant)) == 1:
        assert got.auc is None
        assert got.error is None
        return
    assert got.auc == pytest.approx(auc_by_pairs(scores, relevant))
    above = [s for s, r in pairs if r]
    below = [s for s, r in pairs if not r]
    statistic = mannwhitneyu(above, below, method="asymptotic").statistic
    assert got.auc == pytest.approx(statistic / (len(above) * len(below)))


def test_standard_error_of_hanley_and_mcneil():
    """Their example of 1982: 58 normal and 51 abnormal images on a scale of five give 0.893 and 0.032."""
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    scores = [grade for counts in (normal, abnormal) for grade, n in enumerate(counts, start=1) for _ in range(n)]
    got = separation(scores, [False] * 58 + [True] * 51)
    assert got.auc == pytest.approx(0.893, abs=5e-4)
    assert got.error == pytest.approx(0.032, abs=1e-3)


@pytest.mark.parametrize(("first", "second"), [([], []), ([1, 2], [1]), ([[1]], [[1]])])
def test_what_is_no_pair_of_lists(first, second):
    with pytest.raises(DataError, match="shape"):
        agreement(first, second)
    if first:
        with pytest.raises(DataError, match="shape"):
            separation(first, np.array(second, bool))


def judged(*triples):
    return [Annotation(query, document, score, (score,), "", 1) for query, document, score in triples]


def test_judges_are_compared_over_common_pairs_alone():
    teacher = judged(("q", "a", 5.0), ("q", "b", 1.0), ("q", "c", 2.0), ("r", "a", 4.0), ("s", "z", 1.0))
    student = judged(("r", "a", 4.0), ("q", "c", 4.0), ("q", "b", 1.4), ("q", "a", 4.0), ("t", "y", 3.0))
    got = compare_judges(teacher, student, positives={"q": {"a"}, "s": {"z"}})
    assert (got.only_teacher, got.only_student, got.agreement.n) == (1, 1, 4)
    assert got.agreement.exact == 0.5  # b: 1.4 is 1
    assert got.agreement.within_one == 0.75
    assert (got.teacher.auc, got.student.auc) == (1.0, 0.75)  # q alone: a above b, and a as c
    assert (got.student.positives, got.student.others) == (1, 2)
    assert compare_judges(teacher, student).teacher is None
    assert compare_judges(teacher, student, positives={"t": {"y"}}).teacher is None


def test_judges_that_cannot_be_compared():
    one = judged(("q", "a", 5.0))
    with pytest.raises(MismatchError, match="in common"):
        compare_judges(one, judged(("q", "b", 5.0)))
    with pytest.raises(DataError, match="twice"):
        compare_judges(one, one + judged(("q", "a", 2.0)))
