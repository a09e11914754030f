"""Matryoshka: any loss on the leading dimensions of the vectors too, so that vectors may be cut after training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from reasonembed.errors import DataError
from reasonembed.training.losses.reps import LossOutput, Reps

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Matryoshka:
    """Mean of a loss over vectors cut to several dimensions and normalised again.

    Attributes:
        loss: Any loss.
        dims: Dimensions; name the full one too where it is to be trained.
    """

    loss: Any
    dims: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]

    @field_validator("dims")
    @classmethod
    def _distinct(cls, dims: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(dims)) < len(dims):
            raise ValueError("name each dimension once")
        return dims

    @property
    def needs(self) -> frozenset[str]:
        """What the loss inside needs."""
        needs: frozenset[str] = self.loss.needs
        return needs

    def __call__(self, reps: Reps) -> LossOutput:
        """Mean over the dimensions, of the value and of all that is logged.

        Raises:
            DataError: The vectors have fewer dimensions than one of `dims`.
        """
        import torch

        if max(self.dims) > reps.queries.shape[1]:
            problem = f"loss.matryoshka has {max(self.dims)}, the vectors have {reps.queries.shape[1]} dimensions"
            raise DataError(problem, fix=f"use dimensions up to {reps.queries.shape[1]}")
        found = [self.loss(_cut(reps, dim)) for dim in self.dims]
        value = torch.stack([output.value for output in found]).mean()
        per_query = torch.stack([output.per_query for output in found]).mean(0)  # (n_dims, Q) -> (Q,)
        logged = {key: sum(output.logged[key] for output in found) / len(found) for key in found[0].logged}
        return LossOutput(value, per_query, logged)


def _cut(reps: Reps, dim: int) -> Reps:
    """The leading dimensions, at unit norm."""
    reasoning = None if reps.reasoning is None else _leading(reps.reasoning, dim)
    return replace(
        reps, queries=_leading(reps.queries, dim), passages=_leading(reps.passages, dim), reasoning=reasoning
    )


def _leading(vectors: Tensor, dim: int) -> Tensor:
    import torch

    return torch.nn.functional.normalize(vectors[:, :dim], dim=1)  # (n, full) -> (n, dim)
