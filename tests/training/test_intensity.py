"""Reasoning intensity and its weights against plain NumPy in float64, and on cases done by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonembed.training.intensity import intensity_stats, intensity_weights, reasoning_intensity

losses = st.lists(st.tuples(st.floats(0, 60), st.floats(0, 60)), min_size=1, max_size=24)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@settings(max_examples=300, deadline=None)
@given(
    pairs=losses, epsilon=st.floats(1e-8, 1), kappa=st.floats(0.1, 20), clamp=st.booleans(), normed=st.booleans(),
)  # fmt: skip
def test_equals_numpy(pairs, epsilon, kappa, clamp, normed):
    plain, reasoned = np.array(pairs).T
    expected = np.array([one / (other + epsilon) for one, other in zip(plain, reasoned, strict=True)])
    found = reasoning_intensity(torch.tensor(plain), torch.tensor(reasoned), epsilon=epsilon)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    weights = intensity_weights(
        found, kappa=kappa, mapping="clamp" if clamp else "none", norm="l1" if normed else "none"
    )
    expected = np.minimum(expected, kappa) if clamp else expected
    if normed:
        expected = expected / expected.sum() if expected.any() else np.full(len(pairs), 1 / len(pairs))
    np.testing.assert_allclose(weights, expected, rtol=1e-11)


def test_reasoning_that_helps_twice_as_much_doubles_the_weight():
    raw = reasoning_intensity(tensor(2.0, 2.0, 2.0), tensor(2.0, 1.0, 0.5))
    np.testing.assert_allclose(raw, [1, 2, 4], rtol=1e-5)
    np.testing.assert_allclose(intensity_weights(raw), [1 / 7, 2 / 7, 4 / 7], rtol=1e-5)


def test_the_paper_s_constants():
    """paper.md 2.1: epsilon 1e-6, kappa 5, clamped, weights that sum to 1."""
    raw = reasoning_intensity(tensor(3.0, 1e-6, 0.0, 2.0), tensor(0.0, 0.0, 1.0, 2.0))
    np.testing.assert_allclose(raw, [3e6, 1, 0, 2 / 2.000001], rtol=1e-12)
    np.testing.assert_allclose(intensity_weights(raw), np.array([5, 1, 0, 1]) / 7, rtol=1e-6)


def test_losses_of_zero_weigh_alike():
    """A batch that is learnt by heart: 0 / 0 must not stop the training."""
    raw = reasoning_intensity(tensor(0.0, 0.0), tensor(0.0, 0.0))
    assert intensity_weights(raw).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("mapping", ["clamp", "none"])
def test_what_is_not_a_number_stays_so(mapping):
    """So that the training stops at it, rather than train on even weights."""
    assert intensity_weights(tensor(1.0, float("nan")), mapping=mapping).isnan().any()


def test_no_gradient():
    plain, reasoned = tensor(1.0, 2.0).requires_grad_(), tensor(2.0, 1.0).requires_grad_()
    raw = reasoning_intensity(plain, reasoned)
    assert not raw.requires_grad
    assert not intensity_weights(plain * 2).requires_grad


def test_stats():
    found = intensity_stats(torch.tensor([4.0, 1.0, 5.0, 7.0]), 5.0)
    assert found == {
        "intensity_min": 1.0, "intensity_median": 4.5, "intensity_mean": 4.25, "intensity_max": 7.0, "at_clamp": 0.5,
    }  # fmt: skip
    assert intensity_stats(torch.tensor([])) == {}


def test_settings_are_checked_without_torch():
    code = (
        "import sys\nfrom reasonembed.training import intensity\nfrom reasonembed.training.losses import loss_names, open_loss\n"
        "[open_loss({'name': name, 'matryoshka': [4]}) for name in loss_names()]\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
