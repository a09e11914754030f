"""One contrastive step over a global batch in the memory of one packed row: gradient caching (Gao et al. 2021, arXiv:2101.06983).

Gets a batch of token ids and a loss over vectors. Pass 1 embeds every row without a graph; the loss gives each vector its
gradient; pass 2 embeds every row again, with the same random numbers, and hands the vectors' gradients down. Uncached, the same
rows stay in one graph. Equal passages of a share are embedded once. On several processes the mean of their gradients is that of the
loss of the whole global batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from reasonembed.model.tokens import TokenIds
from reasonembed.training.encoder import PackedEncoder
from reasonembed.training.gather import gather_constant, gather_with_local_grad, most, world_size
from reasonembed.training.losses import Loss, LossOutput, Reps
from reasonembed.training.losses.infonce import similarities

if TYPE_CHECKING:
    from reasonembed.training.batches import Batch
    from reasonembed.training.teacher import Teacher

Autocast = Callable[[], AbstractContextManager[Any]]
Backward = Callable[[torch.Tensor], Any]


def contrastive_step(
    encoder: torch.nn.Module,
    batch: Batch,
    loss: Loss,
    *,
    step: int,
    budget: int | None,
    cached: bool,
    teacher: Teacher | None = None,
    autocast: Autocast = contextlib.nullcontext,
    backward: Backward = torch.Tensor.backward,
) -> LossOutput:
    """Add the gradient of a global batch's loss to the gradients of the weights.

    Args:
        encoder: A `PackedEncoder`, bare, in DistributedDataParallel, or with its weights sharded (FSDP).
        batch: The global batch, with the texts of this process's share.
        loss: Called once, on float32 vectors of the global batch.
        step: Of the optimiser, from 0; for the loss.
        budget: Most tokens in a row; None is the engine's own.
        cached: Whether to keep one row's graph at a time at the price of a second forward pass; a share that fits into one row
            needs none.
        teacher: Embeds the batch's texts for a loss that wants its similarities.
        autocast: Gives the context of every forward pass.
        backward: Back-propagates a scalar, such as `accelerator.backward`.

    Returns:
        The loss of the global batch without its graph; the same on every process.
    """
    reasoning = _reasoning(encoder, batch, loss, budget, autocast)
    taught = _taught(teacher, batch, encoder)
    rows = _Rows.of(encoder, batch.queries, batch.passages, budget, autocast)

    def loss_of(vectors: torch.Tensor) -> LossOutput:
        with torch.autocast(vectors.device.type, enabled=False):
            return loss(_reps(rows.of_texts(vectors), reasoning, taught, batch, step))

    if cached and len(rows.rows) > 1:
        output = _cached(rows, loss_of, backward)
    else:
        output = loss_of(rows.embed())
        backward(output.value * world_size())
    return replace(output, value=output.value.detach())


def _cached(rows: _Rows, loss_of: Callable[[torch.Tensor], LossOutput], backward: Backward) -> LossOutput:
    states: list[_RandomState] = []
    with torch.no_grad():
        vectors = rows.embed(before_row=lambda: states.append(_RandomState.now(rows.device)))
    output = loss_of(vectors.requires_grad_())
    (gradient,) = torch.autograd.grad(output.value, vectors)  # (n_different, dim)
    gradient *= world_size()  # what wraps the encoder takes the mean over processes, wanted is the sum
    for number, state in enumerate(states):
        state.restore()
        with rows.exchange(number):
            backward((rows.forward(number) * gradient[rows.rows[number]]).sum())
    return output


def _reps(
    vectors: torch.Tensor, reasoning: torch.Tensor | None, taught: torch.Tensor | None, batch: Batch, step: int
) -> Reps:
    """What the loss sees, from the vectors of this process's share: (n_texts, dim), queries first."""
    n_queries = len(batch.queries)

    def given(values: Any) -> torch.Tensor | None:
        return None if values is None else torch.from_numpy(values).to(vectors.device)

    return Reps(
        queries=gather_with_local_grad(vectors[:n_queries]),
        passages=gather_with_local_grad(vectors[n_queries:]),
        group=batch.group,
        step=step,
        reasoning=reasoning,
        has_reasoning=given(batch.has_reasoning),
        masked=given(batch.masked),
        scores=given(batch.scores),
        intensity=given(batch.intensity),
        teacher=taught,
    )


def _taught(teacher: Teacher | None, batch: Batch, encoder: torch.nn.Module) -> torch.Tensor | None:
    """Cosines of all queries and passages of the global batch by the teacher: (Q, Q * G); None where there is no teacher."""
    if teacher is None or batch.teacher is None:
        return None
    inner: Any = getattr(encoder, "module", encoder)
    vectors = teacher.vectors(batch.teacher).to(inner.device)  # (share's queries + passages, teacher's dim)
    queries, passages = (gather_constant(part) for part in vectors.tensor_split([len(batch.queries)]))
    return similarities(queries, passages)


def _reasoning(
    encoder: torch.nn.Module, batch: Batch, loss: Loss, budget: int | None, autocast: Autocast
) -> torch.Tensor | None:
    """Vectors of all reasoning queries of the global batch: (Q, dim), no gradient; None where the loss has no use for them."""
    if batch.reasoning is None or "reasoning" not in loss.needs:
        return None
    # First of all passes: the last forward pass of a step has to be one with gradients. DistributedDataParallel sends buffers
    # around before the pass behind it, and all processes have to agree on which that is.
    rows = _Rows.of(encoder, batch.reasoning, (), budget, autocast)
    with torch.no_grad():
        return gather_constant(rows.of_texts(rows.embed()))


@dataclass(frozen=True)
class _Rows:
    """Texts laid out in rows, and how a row is run.

    Attributes:
        encoder: Bare or wrapped.
        texts: Token ids of queries and of different passages; behind them one token for each row that had to be added.
        places: (n,) index in `texts` of each text that was given: a passage that several queries of a share have is there once.
        rows: Indices of the texts of each row.
        autocast: Context of every forward pass.
        device: Of the vectors.
    """

    encoder: torch.nn.Module
    texts: Sequence[TokenIds]
    places: torch.Tensor
    rows: list[list[int]]
    autocast: Autocast
    device: torch.device

    @classmethod
    def of(
        cls,
        encoder: torch.nn.Module,
        queries: Sequence[TokenIds],
        passages: Sequence[TokenIds],
        budget: int | None,
        autocast: Autocast,
    ) -> _Rows:
        """Lay texts out, long and short ones together; where weights are sharded, in as many rows as every other process.

        Only passages are merged: a query that equals its positive stays a text of its own, with a dropout of its own.
        """
        inner: Any = getattr(encoder, "module", encoder)
        different = {ids.tobytes(): ids for ids in passages}
        number = {key: len(queries) + place for place, key in enumerate(different)}
        order = [*range(len(queries)), *(number[ids.tobytes()] for ids in passages)]
        places = torch.tensor(order, device=inner.device)
        texts = [*queries, *different.values()]
        rows = inner.rows([len(ids) for ids in texts], budget)
        missing = 0
        if world_size() > 1 and type(encoder) not in (PackedEncoder, DistributedDataParallel):
            # Every pass over sharded weights exchanges them, so each process has to make equally many.
            missing = most(len(rows), inner.device) - len(rows)
        rows += [[len(texts) + added] for added in range(missing)]
        return cls(encoder, [*texts, *[texts[0][:1]] * missing], places, rows, autocast, inner.device)

    def forward(self, number: int) -> torch.Tensor:
        """Vectors of a row's texts: (n, dim) float32."""
        with self.autocast():
            vectors: torch.Tensor = self.encoder([self.texts[index] for index in self.rows[number]])
        return vectors

    def embed(self, before_row: Callable[[], None] = lambda: None) -> torch.Tensor:
        """Vectors of `texts` in their order: (n_different, dim) float32."""
        parts = []
        for number in range(len(self.rows)):
            before_row()
            with self.exchange(number):
                parts.append(self.forward(number))
        order = np.argsort([index for row in self.rows for index in row])
        return torch.cat(parts)[torch.from_numpy(order).to(self.device)]

    def of_texts(self, vectors: torch.Tensor) -> torch.Tensor:
        """Vectors of the texts as they were given, (n, dim), from those of `texts`."""
        return vectors[self.places]

    def exchange(self, number: int) -> AbstractContextManager[Any]:
        """Replicas exchange gradients with the last row only, since they have different numbers of rows; shards with each."""
        if isinstance(self.encoder, DistributedDataParallel) and number < len(self.rows) - 1:
            unsynchronised: AbstractContextManager[Any] = self.encoder.no_sync()
            return unsynchronised
        return contextlib.nullcontext()


@dataclass(frozen=True)
class _RandomState:
    """State of the random numbers of the processor and, on a GPU, of the device."""

    processor: torch.Tensor
    device: torch.device
    on_device: torch.Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> _RandomState:
        on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), device, on_device)

    def restore(self) -> None:
        torch.set_rng_state(self.processor)
        if self.on_device is not None:
            torch.cuda.set_rng_state(self.on_device, self.device)
