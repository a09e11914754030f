"""InfoNCE: cross-entropy of a query's positive among all passages of the global batch, and its mean as a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic.dataclasses import dataclass

from reasonembed.training.losses.reps import LossOutput, Positive, Reps

if TYPE_CHECKING:
    from torch import Tensor

TEMPERATURE = 0.02
"""Cosines are divided by it (paper.md 2.2, train.sh)."""


def similarities(queries: Tensor, passages: Tensor) -> Tensor:
    """Inner products in the precision of the vectors, also where autocast is on.

    Args:
        queries: (Q, dim).
        passages: (P, dim).

    Returns:
        (Q, P).
    """
    import torch

    with torch.autocast(queries.device.type, enabled=False):
        return queries @ passages.T  # (Q, dim) x (dim, P) -> (Q, P)


def query_losses(
    queries: Tensor, passages: Tensor, *, group: int, temperature: float, masked: Tensor | None = None
) -> Tensor:
    """InfoNCE of each query (paper.md 2.2): -log of the softmax share of its positive.

    Args:
        queries: (Q, dim) unit norm.
        passages: (Q * group, dim) unit norm; row i * group is the positive of query i.
        group: Passages a query.
        temperature: Divides the cosines.
        masked: (Q, Q * group) bool, True where a passage is left out of the sum; never the own positive.

    Returns:
        (Q,) at least 0, with gradient to both.
    """
    import torch

    scores = similarities(queries, passages) / temperature  # (Q, Q * group)
    if masked is not None:
        scores = scores.masked_fill(masked, float("-inf"))
    targets = torch.arange(len(queries), device=scores.device) * group  # (Q,)
    return torch.nn.functional.cross_entropy(scores, targets, reduction="none")


def own_losses(reps: Reps, temperature: float) -> Tensor:
    """InfoNCE of the queries of a batch: (Q,) with gradient."""
    return query_losses(reps.queries, reps.passages, group=reps.group, temperature=temperature, masked=reps.masked)


@dataclass(frozen=True)
class InfoNce:
    """Mean InfoNCE (paper.md 2.3: ReasonEmbed-Basic).

    Attributes:
        temperature: Divides the cosines.
    """

    temperature: Positive = TEMPERATURE

    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, reps: Reps) -> LossOutput:
        """Mean over the queries of the batch."""
        losses = own_losses(reps, self.temperature)  # (Q,)
        value = losses.mean()
        return LossOutput(value, losses.detach(), {"loss": value.item()})


LOSS = InfoNce
