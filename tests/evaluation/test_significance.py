"""Bootstrap and permutation test against scipy, an exact enumeration, and their own promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from reasonembed.errors import DataError, MismatchError
from reasonembed.evaluation.significance import compare_datasets, compare_queries


def _pair(seed, n=120, shift=0.05):
    """Two systems whose values go together, A better by about `shift`."""
    rng = np.random.default_rng(seed)
    b = rng.random(n)
    return np.clip(b + rng.normal(shift, 0.25, n), 0, 1), b


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_p_of_the_permutation_test_is_scipys(seed):
    a, b = _pair(seed)
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
        n_resamples=20_000, rng=np.random.default_rng(99), vectorized=True,
    )  # fmt: skip
    assert compare_queries(a, b).p_permutation == pytest.approx(theirs.pvalue, abs=0.012)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_interval_is_scipys_percentile_bootstrap(seed):
    a, b = _pair(seed)
    theirs = stats.bootstrap(
        (a - b,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(99)
    ).confidence_interval
    ours = compare_queries(a, b)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_the_permutation_test_of_few_queries_is_the_exact_one():
    a, b = np.array([0.9, 0.8, 0.4, 0.7, 0.6, 1.0]), np.array([0.1, 0.5, 0.5, 0.2, 0.3, 0.2])
    means = [np.mean(np.array(signs) * (a - b)) for signs in itertools.product((1, -1), repeat=6)]
    exact = np.mean(np.abs(means) >= abs(np.mean(a - b)) - 1e-12)
    assert compare_queries(a, b, resamples=50_000).p_permutation == pytest.approx(exact, abs=0.003)


def test_over_datasets_each_weighs_the_same():
    small, large = _pair(5, n=20, shift=0.3), _pair(6, n=2000, shift=0.0)
    both = compare_datasets({"small": small, "large": large})
    expected = np.mean([np.mean(small[0] - small[1]), np.mean(large[0] - large[1])])
    assert both.difference == pytest.approx(expected)
    assert both.mean_a - both.mean_b == pytest.approx(expected)
    # the variance of the mean of two independent means
    error = np.sqrt(sum(np.var(a - b) / len(a) for a, b in (small, large))) / 2
    assert (both.high - both.low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert both.n_queries == 2020


def test_p_over_datasets_is_that_of_a_loop():
    pairs = {"x": _pair(7, n=15, shift=0.06), "y": _pair(8, n=25, shift=0.04)}
    rng = np.random.default_rng(123)
    observed = np.mean([np.mean(a - b) for a, b in pairs.values()])
    far = 0
    for _ in range(4000):
        means = [np.mean(rng.choice([-1, 1], len(a)) * (a - b)) for a, b in pairs.values()]
        far += abs(np.mean(means)) >= abs(observed)
    assert compare_datasets(pairs).p_permutation == pytest.approx(far / 4000, abs=0.025)


def test_swapping_the_systems_turns_the_sign():
    a, b = _pair(9)
    one, other = compare_queries(a, b), compare_queries(b, a)
    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)
    assert one.p_permutation == other.p_permutation
    assert one.p_bootstrap == other.p_bootstrap


def test_equal_systems_differ_by_nothing():
    a, _ = _pair(10)
    same = compare_queries(a, a)
    assert (same.difference, same.low, same.high, same.p_bootstrap, same.p_permutation) == (0, 0, 0, 1, 1)


def test_a_clear_difference_has_the_smallest_p_and_never_zero():
    a = np.full(200, 0.9) + np.random.default_rng(0).normal(0, 0.01, 200)
    found = compare_queries(a, a - 0.5, resamples=999)
    assert found.p_permutation == pytest.approx(1 / 1000)
    assert found.p_bootstrap == pytest.approx(2 / 1000)


def test_under_the_null_p_is_uniform_enough():
    """In 200 comparisons of systems of equal quality about 5 % are below 0.05 (binomial, 99.9 % bounds)."""
    below = sum(
        compare_queries(*_pair(seed, n=60, shift=0.0), resamples=400).p_permutation < 0.05 for seed in range(1000, 1200)
    )
    assert 1 <= below <= 22


def test_the_seed_decides_and_blocks_do_not_show(monkeypatch):
    a, b = _pair(11)
    assert compare_queries(a, b, seed=4) == compare_queries(a, b, seed=4)
    assert compare_queries(a, b, seed=4) != compare_queries(a, b, seed=5)
    whole = compare_queries(a, b, resamples=500)
    monkeypatch.setattr("reasonembed.evaluation.significance._BLOCK_VALUES", 1000)
    in_blocks = compare_queries(a, b, resamples=500)
    assert (in_blocks.low, in_blocks.high) == pytest.approx((whole.low, whole.high), abs=0.01)
    assert in_blocks.difference == whole.difference


def test_bad_values_are_refused():
    with pytest.raises(MismatchError, match=r"'x': A has values of shape \(2,\), B of \(3,\)"):
        compare_datasets({"x": ([0.1, 0.2], [0.1, 0.2, 0.3])})
    with pytest.raises(DataError, match="no query"):
        compare_queries([], [])
    with pytest.raises(DataError, match="NaN"):
        compare_queries([0.1, float("nan")], [0.1, 0.2])
    with pytest.raises(DataError, match="no dataset"):
        compare_datasets({})
    with pytest.raises(DataError, match="resamples is 0"):
        compare_queries([0.1], [0.2], resamples=0)
