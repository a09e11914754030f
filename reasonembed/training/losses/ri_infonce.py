"""RI-InfoNCE: InfoNCE with more weight on queries whose reasoning helps much; the paper's loss (paper.md 2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from reasonembed.training.intensity import EPSILON, KAPPA, intensity_stats, intensity_weights, reasoning_intensity
from reasonembed.training.losses.infonce import TEMPERATURE, own_losses, query_losses
from reasonembed.training.losses.reps import LossOutput, Positive, Reps, WeightMapping, WeightNorm

if TYPE_CHECKING:
    from torch import Tensor

START_STEP = 100
"""First step with weights; the ratio of early losses is noise (paper.md 2.1 and 6, train.sh)."""


@dataclass(frozen=True)
class RiInfoNce:
    """Weighted sum of InfoNCE, the weights from the current model's own losses of query and reasoning query.

    Attributes:
        temperature: Divides the cosines.
        start_step: First step with weights; before it the loss is plain mean InfoNCE.
        kappa: Largest intensity that counts.
        epsilon: Added to the loss of the reasoning query.
        mapping: `clamp` or `none`.
        norm: `l1` or `none`.
    """

    temperature: Positive = TEMPERATURE
    start_step: Annotated[int, Field(ge=0)] = START_STEP
    kappa: Positive = KAPPA
    epsilon: Positive = EPSILON
    mapping: WeightMapping = "clamp"
    norm: WeightNorm = "l1"

    needs: ClassVar[frozenset[str]] = frozenset({"reasoning"})

    def __call__(self, reps: Reps) -> LossOutput:
        """The loss; a query without a reasoning query counts with intensity 1."""
        import torch

        losses = own_losses(reps, self.temperature)  # (Q,)
        mean, weighted = losses.mean(), reps.step >= self.start_step
        logged = {"loss": mean.item()}
        known = torch.zeros_like(losses, dtype=torch.bool)
        intensity = torch.ones_like(losses)
        if reps.reasoning is not None:
            known = ~known if reps.has_reasoning is None else reps.has_reasoning
            reasoning_losses = self._reasoning_losses(reps, reps.reasoning)
            intensity = reasoning_intensity(losses, reasoning_losses, epsilon=self.epsilon).where(known, 1.0)
            if known.any():
                logged["reasoning_loss"] = reasoning_losses[known].mean().item()
        weights = intensity_weights(intensity, kappa=self.kappa, mapping=self.mapping, norm=self.norm)
        value = (weights * losses).sum() if weighted else mean
        logged |= {"ri_loss": value.item(), **intensity_stats(intensity[known], self.kappa)}
        if weighted or reps.reasoning is not None:
            logged["without_reasoning"] = (~known).float().mean().item()
        return LossOutput(value, losses.detach(), logged)

    def _reasoning_losses(self, reps: Reps, reasoning: Tensor) -> Tensor:
        """InfoNCE of the reasoning queries against the same passages: (Q,) without gradient."""
        return query_losses(
            reasoning.detach(),
            reps.passages.detach(),
            group=reps.group,
            temperature=self.temperature,
            masked=reps.masked,
        )


LOSS = RiInfoNce
