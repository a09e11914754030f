"""Listwise distillation: the order and distance of annotation scores within a query's own passages, beside InfoNCE."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic.dataclasses import dataclass

from reasonembed.errors import DataError
from reasonembed.training.losses.infonce import TEMPERATURE, own_losses
from reasonembed.training.losses.reps import LossOutput, NotNegative, Positive, Reps

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Listwise:
    """KL(teacher || student) over a query's own passages + alpha * InfoNCE, the mean over the queries.

    The paper has no such loss (paper.md 2.2: no KD); the defaults of the last two are those of FlagEmbedding's `kl_div`.

    Attributes:
        temperature: Divides the cosines.
        teacher_temperature: Divides the annotation scores.
        alpha: Weight of InfoNCE where scores are known.
    """

    temperature: Positive = TEMPERATURE
    teacher_temperature: Positive = 1.0
    alpha: NotNegative = 1.0

    needs: ClassVar[frozenset[str]] = frozenset({"scores"})

    def __call__(self, reps: Reps) -> LossOutput:
        """The loss; a query with an unknown score counts with InfoNCE alone.

        Raises:
            DataError: The batch has no scores.
        """
        if reps.scores is None:
            raise DataError(
                "listwise got a batch without annotation scores", fix="use samples with pos_scores, neg_scores"
            )
        losses = own_losses(reps, self.temperature)  # (Q,)
        known = ~reps.scores.isnan().any(1)  # (Q,)
        divergences = losses.new_zeros(len(losses))
        divergences[known] = self._divergences(reps, known)
        value = (divergences + losses * losses.new_ones(len(losses)).where(~known, self.alpha)).mean()
        logged = {"loss": losses.mean().item(), "listwise_loss": value.item()}
        if known.any():
            logged["divergence"] = divergences[known].mean().item()
        logged["without_scores"] = (~known).float().mean().item()
        return LossOutput(value, losses.detach(), logged)

    def _divergences(self, reps: Reps, known: Tensor) -> Tensor:
        """KL divergence of each query of known scores, (n_known,)."""
        assert reps.scores is not None
        own = reps.passages.unflatten(0, (-1, reps.group))[known]  # (Q * G, dim) -> (n, G, dim)
        cosines = (reps.queries[known, None] * own).sum(2)  # (n, 1, dim) * (n, G, dim) -> (n, G)
        return divergences(cosines / self.temperature, reps.scores[known] / self.teacher_temperature)


def divergences(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of the softmax of each row.

    Args:
        student: (Q, P) logits.
        teacher: (Q, P) logits; -inf at the same places in both leaves a passage out.

    Returns:
        (Q,) at least 0, with gradient to both.
    """
    student, teacher = student.log_softmax(1), teacher.log_softmax(1)
    parts = teacher.exp() * (teacher - student)  # (Q, P)
    return parts.masked_fill(teacher == float("-inf"), 0).sum(1)  # 0 * (inf - inf) is no number


LOSS = Listwise
