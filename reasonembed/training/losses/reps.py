"""What a loss gets and gives: the vectors of a global batch, and a value with its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Type of a setting."""
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Type of a setting."""
WeightMapping = Literal["clamp", "none"]
"""How intensities become weights (`intensity.intensity_weights`)."""
WeightNorm = Literal["l1", "none"]
"""How weights are scaled (`intensity.intensity_weights`)."""


@dataclass(frozen=True, slots=True, eq=False)
class Reps:
    """The vectors of a global batch of Q queries with G passages each, all on one device.

    Attributes:
        queries: (Q, dim) float32, unit norm.
        passages: (Q * G, dim) float32, unit norm; row i * G is the positive of query i, the rows behind it its negatives.
        group: G.
        step: Of the optimiser, from 0.
        reasoning: (Q, dim) vectors of the reasoning queries, without gradient; None where there are none in the batch.
        has_reasoning: (Q,) bool, whether a row of `reasoning` is of a reasoning query; None means all.
        masked: (Q, Q * G) bool, True where a passage is not a negative of a query; never its own positive. None masks none.
        scores: (Q, G) annotation scores of the own passages, NaN unknown.
        intensity: (Q,) reasoning intensities computed before training, NaN unknown.
        teacher: (Q, Q * G) cosines by a teacher's vectors, without gradient; None where there is no teacher.
    """

    queries: Tensor
    passages: Tensor
    group: int
    step: int = 0
    reasoning: Tensor | None = None
    has_reasoning: Tensor | None = None
    masked: Tensor | None = None
    scores: Tensor | None = None
    intensity: Tensor | None = None
    teacher: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LossOutput:
    """A loss.

    Attributes:
        value: Scalar with its gradient.
        per_query: (Q,) InfoNCE of each query, without gradient.
        logged: Figures for the log; `loss` is mean InfoNCE whatever is optimised, so that runs with different losses compare.
    """

    value: Tensor
    per_query: Tensor
    logged: dict[str, float]
