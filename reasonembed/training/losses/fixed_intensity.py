"""InfoNCE weighted by reasoning intensities that were computed once before training; beside RI-InfoNCE for ablation."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from reasonembed.errors import DataError
from reasonembed.training.intensity import KAPPA, intensity_stats, intensity_weights
from reasonembed.training.losses.infonce import TEMPERATURE, own_losses
from reasonembed.training.losses.reps import LossOutput, Positive, Reps, WeightMapping, WeightNorm


@dataclass(frozen=True)
class FixedIntensity:
    """Weighted sum of InfoNCE from the first step on; `training.measure` computes the intensities.

    Attributes:
        temperature: Divides the cosines.
        kappa: Largest intensity that counts.
        mapping: `clamp` or `none`.
        norm: `l1` or `none`.
    """

    temperature: Positive = TEMPERATURE
    kappa: Positive = KAPPA
    mapping: WeightMapping = "clamp"
    norm: WeightNorm = "l1"

    needs: ClassVar[frozenset[str]] = frozenset({"intensity"})

    def __call__(self, reps: Reps) -> LossOutput:
        """The loss; a query of unknown intensity counts with 1.

        Raises:
            DataError: The batch has no intensities.
        """
        if reps.intensity is None:
            raise DataError("fixed_intensity got a batch without intensities", fix="measure them before the training")
        losses = own_losses(reps, self.temperature)  # (Q,)
        known = ~reps.intensity.isnan()
        intensity = reps.intensity.where(known, 1.0)
        weights = intensity_weights(intensity, kappa=self.kappa, mapping=self.mapping, norm=self.norm)
        value = (weights * losses).sum()
        logged = {
            "loss": losses.mean().item(),
            "ri_loss": value.item(),
            **intensity_stats(intensity[known], self.kappa),
        }
        logged["without_reasoning"] = (~known).float().mean().item()
        return LossOutput(value, losses.detach(), logged)


LOSS = FixedIntensity
