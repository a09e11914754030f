"""May a cheap judge be trusted? How far its scores agree with another's, and how well they part known positives from the rest.

Gets the annotations of two judges, or scores as arrays; gives the measures over the pairs that both judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError, MismatchError
from reasonembed.types import Annotation


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two judges over the same pairs. The scores of the first three are whole numbers: a mean of samples goes to the nearest (a half up).

    Attributes:
        n: Pairs that both judged.
        exact: Share of pairs with equal scores.
        within_one: Share of pairs whose scores differ by at most 1.
        kappa: Quadratic weighted kappa; None where both judges give one and the same score to every pair.
    """

    n: int
    exact: float
    within_one: float
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Separation:
    """One judge against known positives, by its scores as they are.

    Attributes:
        auc: Chance that a positive scores above another pair, ties counting half; None where either kind is missing.
        error: Standard error of `auc`.
        positives: Known positives judged.
        others: Other pairs judged.
    """

    auc: float | None
    error: float | None
    positives: int
    others: int


@dataclass(frozen=True, slots=True)
class JudgeComparison:
    """A student beside its teacher.

    Attributes:
        agreement: Over the pairs that both judged.
        only_teacher: Pairs that the student did not judge.
        only_student: Pairs that the teacher did not judge.
        teacher: Of the teacher against known positives, over the common pairs; None where none are known.
        student: Of the student, over the same pairs.
    """

    agreement: Agreement
    only_teacher: int
    only_student: int
    teacher: Separation | None
    student: Separation | None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def compare_judges(
    teacher: Iterable[Annotation],
    student: Iterable[Annotation],
    *,
    positives: Mapping[str, Collection[str]] | None = None,
) -> JudgeComparison:
    """Compare two judges over the pairs that both judged.

    Args:
        teacher: Judgements of the one.
        student: Judgements of the other, in any order.
        positives: query id -> ids of documents known to be relevant; every other pair of these queries counts as not
            relevant, and queries that are not named here count for the agreement alone.

    Raises:
        MismatchError: No pair was judged by both.
        DataError: A pair was judged twice by one of them.
    """
    first, second = _by_pair(teacher, "the first"), _by_pair(student, "the second")
    common = [pair for pair in first if pair in second]
    if not common:
        raise MismatchError(
            f"{len(first):,} and {len(second):,} judgements have no pair of query and document in common. "
            "Fix: let both judge the same candidates"
        )
    known = [pair for pair in common if positives is not None and pair[0] in positives]
    relevant = np.array([pair[1] in (positives or {})[pair[0]] for pair in known], bool)
    return JudgeComparison(
        agreement([first[pair] for pair in common], [second[pair] for pair in common]),
        only_teacher=len(first) - len(common),
        only_student=len(second) - len(common),
        teacher=separation([first[pair] for pair in known], relevant) if known else None,
        student=separation([second[pair] for pair in known], relevant) if known else None,
    )


def agreement(first: npt.ArrayLike, second: npt.ArrayLike) -> Agreement:
    """How far two judges agree.

    Quadratic weighted kappa (Cohen 1968) is 1 - sum(w * O) / sum(w * E), with w = (i - j)^2, O the table of both scores and E that of
    independent judges with the same shares. The sums are the mean squared difference of the pairs, and that of all pairings:
    var(a) + var(b) + (mean(a) - mean(b))^2.

    Args:
        first: (n,) scores.
        second: (n,) scores of the same pairs.

    Raises:
        DataError: Not two lists of the same length from 1.

    >>> agreement([0.9, 2.1, 5, 4], [1, 2.5, 5, 4])
    Agreement(n=4, exact=0.75, within_one=1.0, kappa=0.9473684210526316)
    """
    a, b = (np.floor(np.asarray(scores, np.float64) + 0.5) for scores in (first, second))
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise DataError(f"scores of shapes {a.shape} and {b.shape}", fix="two lists of the same length, not empty")
    apart = np.abs(a - b)
    expected = float(a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    kappa = None if expected == 0 else 1.0 - float((apart**2).mean()) / expected
    return Agreement(a.size, float((apart == 0).mean()), float((apart <= 1).mean()), kappa)


def separation(scores: npt.ArrayLike, relevant: npt.ArrayLike) -> Separation:
    """How well scores part positives from the rest.

    The area under the ROC curve is the Mann-Whitney statistic over positives * others. Its standard error is that of Hanley and McNeil,
    "The meaning and use of the area under a receiver operating characteristic (ROC) curve", Radiology 143 (1982), equation 1;
    it takes pairs as independent.

    Args:
        scores: (n,) scores; higher is more relevant.
        relevant: (n,) bool, True for known positives.

    Raises:
        DataError: Not two lists of the same length.

    >>> separation([5, 3, 3, 1], [True, True, False, False]).auc
    0.875
    """
    values, known = np.asarray(scores, np.float64), np.asarray(relevant, bool)
    if values.ndim != 1 or values.shape != known.shape:
        raise DataError(f"scores of shape {values.shape}, positives of shape {known.shape}", fix="one each, in order")
    n, m = int(known.sum()), int((~known).sum())
    if not n or not m:
        return Separation(None, None, n, m)
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]  # (n,) from 1; equal scores share the mean of their ranks
    auc = float(ranks[known].sum() - n * (n + 1) / 2) / (n * m)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)) / (n * m)
    return Separation(auc, max(variance, 0.0) ** 0.5, n, m)


def _by_pair(annotations: Iterable[Annotation], whose: str) -> dict[tuple[str, str], float]:
    scores: dict[tuple[str, str], float] = {}
    for one in annotations:
        if (one.query, one.document) in scores:
            raise DataError(
                f"{whose} judge has query {one.query!r} and document {one.document!r} twice",
                fix="keep one judgement of a pair; several samples belong into one",
            )
        scores[one.query, one.document] = one.score
    return scores
