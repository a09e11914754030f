"""Is one system better than another, or is it luck? Paired bootstrap and permutation test over queries.

Gets two values a query (the same queries for both systems), gives the mean difference, its 95% interval and
p-values; for several datasets also over their plain mean, queries being resampled within each dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError, MismatchError

RESAMPLES = 10_000
"""Enough for a p-value near 0.05 to be known to about 0.002 (its standard error is sqrt(p (1 - p) / n))."""
CONFIDENCE = 0.95
_BLOCK_VALUES = 2_000_000  # numbers drawn at a time: 16 MB

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """System A against system B.

    Attributes:
        mean_a: Mean of A.
        mean_b: Mean of B.
        difference: mean_a - mean_b.
        low: Lower end of the 95% percentile interval of the difference (bootstrap).
        high: Its upper end.
        p_bootstrap: Two-sided p-value of the bootstrap (twice the smaller share of resampled differences on
            one side of 0).
        p_permutation: Two-sided p-value of the permutation test.
        n_queries: Queries compared.
    """

    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_permutation: float
    n_queries: int


def compare_queries(a: npt.ArrayLike, b: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Compare two systems on the queries of one dataset.

    Args:
        a: (n_queries,) values of system A.
        b: (n_queries,) values of system B, of the same queries in the same order.
        resamples: Bootstrap samples, and sign flips of the permutation test.
        seed: Of the random numbers; the same seed gives the same result.

    Raises:
        DataError: No queries, values that are not finite, or fewer than one resample.
        MismatchError: Different numbers of queries.
    """
    return compare_datasets({"": (a, b)}, resamples=resamples, seed=seed)


def compare_datasets(
    values: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], *, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare two systems on the plain mean over datasets, each weighing the same whatever its size.

    Bootstrap (Efron 1979, percentile interval): the queries of each dataset are drawn with replacement.
    Permutation test (Fisher's randomisation, as Smucker, Allan and Carterette 2007 recommend): the systems'
    labels are swapped query by query at random. p-values count the observed outcome as one of the resamples,
    so they are never 0.

    Args:
        values: dataset -> (values of A, values of B), see `compare_queries`.
        resamples: Bootstrap samples, and sign flips of the permutation test.
        seed: Of the random numbers; the same seed gives the same result.

    Raises:
        DataError: No datasets or queries, values that are not finite, or fewer than one resample.
        MismatchError: Different numbers of queries.
    """
    if not values:
        raise DataError("there is no dataset to compare", fix="give at least one")
    if resamples < 1:
        raise DataError(f"resamples is {resamples}, the least is 1", fix=f"use {RESAMPLES}")
    pairs = [_checked(name, a, b) for name, (a, b) in values.items()]
    rng = np.random.default_rng(seed)
    drawn = np.zeros(resamples)
    flipped = np.zeros(resamples)
    for a, b in pairs:
        drawn += _bootstrap_means(a - b, resamples, rng) / len(pairs)
        flipped += _flipped_means(a - b, resamples, rng) / len(pairs)
    mean_a, mean_b = (float(np.mean([pair[side].mean() for pair in pairs])) for side in (0, 1))
    difference = float(np.mean([(a - b).mean() for a, b in pairs]))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    slack = 1e-12  # differences that are equal but for the rounding of sums
    one_side = min(np.count_nonzero(drawn <= slack), np.count_nonzero(drawn >= -slack))
    as_far = np.count_nonzero(np.abs(flipped) >= abs(difference) - slack)
    return Comparison(
        mean_a=mean_a,
        mean_b=mean_b,
        difference=difference,
        low=float(low),
        high=float(high),
        p_bootstrap=min(1.0, 2 * (int(one_side) + 1) / (resamples + 1)),
        p_permutation=(int(as_far) + 1) / (resamples + 1),
        n_queries=sum(len(a) for a, _ in pairs),
    )


def _checked(name: str, a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Values, Values]:
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    where = f"dataset {name!r}: " if name else ""
    if left.ndim != 1 or left.shape != right.shape:
        found = f"{where}A has values of shape {left.shape}, B of {right.shape}"
        raise MismatchError(f"{found}. Fix: score both on the same queries")
    if not left.size:
        raise DataError(f"{where}there is no query to compare", fix="score at least one")
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        raise DataError(f"{where}a value is NaN or infinite", fix="score the runs again")
    return left, right


def _blocks(n_queries: int, resamples: int) -> list[int]:
    """Numbers of resamples drawn at a time, so that memory stays bounded."""
    size = max(1, _BLOCK_VALUES // n_queries)
    return [min(size, resamples - start) for start in range(0, resamples, size)]


def _bootstrap_means(differences: Values, resamples: int, rng: np.random.Generator) -> Values:
    """(resamples,) means of queries drawn with replacement."""
    n = len(differences)
    parts = [differences[rng.integers(0, n, (rows, n))].mean(axis=1) for rows in _blocks(n, resamples)]
    return np.concatenate(parts)


def _flipped_means(differences: Values, resamples: int, rng: np.random.Generator) -> Values:
    """(resamples,) means after swapping A and B at random, query by query: differences with random signs."""
    n = len(differences)
    parts = [(2 * rng.integers(0, 2, (rows, n), dtype=np.int8) - 1) @ differences / n for rows in _blocks(n, resamples)]
    return np.concatenate(parts)
