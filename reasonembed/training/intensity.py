"""Reasoning intensity: how much a query's loss falls when its reasoning is added, and weights from it (paper.md 2.1).

Pure functions on losses of a whole global batch; nothing here carries a gradient, and nothing imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

KAPPA = 5.0
"""Largest intensity that counts (paper.md 2.1, train.sh default)."""
EPSILON = 1e-6
"""Added to the loss of the reasoning query, which may be 0 (paper.md 2.1)."""


def reasoning_intensity(loss: Tensor, reasoning_loss: Tensor, *, epsilon: float = EPSILON) -> Tensor:
    """Raw intensity L(q) / (L(q') + epsilon) (paper.md 2.1); above 1 where the reasoning helps.

    Args:
        loss: (Q,) InfoNCE of the queries.
        reasoning_loss: (Q,) InfoNCE of their reasoning queries against the same passages.
        epsilon: Above 0.

    Returns:
        (Q,) at least 0, without gradient.
    """
    return loss.detach() / (reasoning_loss.detach() + epsilon)


def intensity_weights(intensity: Tensor, *, kappa: float = KAPPA, mapping: str = "clamp", norm: str = "l1") -> Tensor:
    """Weights of the queries' losses in their sum (paper.md 2.1).

    Args:
        intensity: (Q,) raw, of the whole global batch.
        kappa: Largest that counts.
        mapping: `clamp` to [0, kappa], or `none`.
        norm: `l1`: the weights sum to 1 (all are 1 / Q where every intensity is 0); `none`: intensities as they are, so the
            loss is about Q times larger.

    Returns:
        (Q,) without gradient.
    """
    weights = intensity.detach()
    if mapping == "clamp":
        weights = weights.clamp(0.0, kappa)
    if norm == "l1":
        total = weights.sum()
        weights = (weights / total).where(total != 0, 1 / len(weights))
    return weights


def intensity_stats(intensity: Tensor, kappa: float = KAPPA) -> dict[str, float]:
    """Distribution of raw intensities, for the log.

    Args:
        intensity: (n,) raw.
        kappa: Where weights are clamped.

    Returns:
        `intensity_min`, `intensity_median`, `intensity_mean`, `intensity_max`, and `at_clamp`: the share at or above kappa.
        Empty where n is 0.
    """
    if not len(intensity):
        return {}
    values = intensity.detach().cpu().double()
    figures = (values.min(), values.quantile(0.5), values.mean(), values.max(), (values >= kappa).double().mean())
    names = ("intensity_min", "intensity_median", "intensity_mean", "intensity_max", "at_clamp")
    return {name: float(figure) for name, figure in zip(names, figures, strict=True)}
