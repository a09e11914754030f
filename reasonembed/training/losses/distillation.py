"""Distillation: the similarities that a teacher gives all passages of the batch, as targets beside InfoNCE."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from reasonembed.errors import DataError
from reasonembed.training.losses.infonce import TEMPERATURE, own_losses, similarities
from reasonembed.training.losses.listwise import divergences
from reasonembed.training.losses.reps import LossOutput, NotNegative, Positive, Reps


@dataclass(frozen=True)
class Distillation:
    """KL(teacher || student) over the passages of the global batch + alpha * InfoNCE, the mean over the queries.

    Ours, not the paper's (paper.md 2.2: no KD); soft targets by Hinton et al. (arXiv:1503.02531), without their factor of the squared
    temperature. A masked passage counts in neither part.

    Attributes:
        temperature: Divides the cosines of the model that is trained.
        teacher_temperature: Divides those of the teacher; that of its own training is the natural choice.
        alpha: Weight of InfoNCE.
    """

    temperature: Positive = TEMPERATURE
    teacher_temperature: Positive = TEMPERATURE
    alpha: NotNegative = 1.0

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})

    def __call__(self, reps: Reps) -> LossOutput:
        """The loss.

        Raises:
            DataError: The batch has no similarities of a teacher.
        """
        if reps.teacher is None:
            raise DataError("distillation got a batch without a teacher", fix="name one: `teacher: MODEL`")
        losses = own_losses(reps, self.temperature)  # (Q,)
        student = similarities(reps.queries, reps.passages) / self.temperature  # (Q, Q * G)
        teacher = reps.teacher / self.teacher_temperature  # (Q, Q * G)
        if reps.masked is not None:
            student, teacher = (logits.masked_fill(reps.masked, float("-inf")) for logits in (student, teacher))
        divergence = divergences(student, teacher).mean()
        value = divergence + self.alpha * losses.mean()
        logged = {"loss": losses.mean().item(), "distillation_loss": value.item(), "divergence": divergence.item()}
        return LossOutput(value, losses.detach(), logged)


LOSS = Distillation
