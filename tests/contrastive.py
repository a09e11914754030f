"""What tests of the contrastive step share; run as a script it is one of two processes: FOLDER MODEL... RANK."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from reasonembed.model.checkpoint import open_checkpoint
from reasonembed.model.engines.torch import TorchEngine
from reasonembed.training.batches import Batch
from reasonembed.training.cache import contrastive_step
from reasonembed.training.encoder import PackedEncoder
from reasonembed.training.losses import open_loss

RI = {"name": "ri_infonce", "start_step": 0}
DISTILLATION = {"name": "distillation", "alpha": 0.5}
WAYS = ("cached", "uncached", "sharded", "taught")


class HashTeacher:
    """Vectors that follow from the token ids alone: the step asks a teacher for nothing else."""

    def vectors(self, token_ids):
        vectors = [np.random.default_rng(ids).normal(size=6) for ids in token_ids]
        return torch.nn.functional.normalize(torch.tensor(np.array(vectors), dtype=torch.float32))


def encoder_of(folder, *, dropout=0.0):
    encoder = PackedEncoder(TorchEngine(open_checkpoint(folder), device="cpu", dtype="float32"))
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = dropout
    return encoder


def batch_of(*, queries, group, sizes=(1, 60), seed=0):
    """A random batch, short texts first; one query without reasoning, a masked passage, an unknown score."""
    rng = np.random.default_rng(seed)

    def texts(count):
        return [rng.integers(5, 384, size=size).astype(np.int64) for size in np.sort(rng.integers(*sizes, size=count))]

    masked = np.zeros((queries, queries * group), bool)
    masked[0, group] = True
    scores = rng.uniform(1, 5, (queries, group)).astype(np.float32)
    scores[1, 1] = np.nan
    return Batch(
        step=5, epoch=0, dataset="d", samples=tuple(f"d:{i + 1}" for i in range(queries)), group=group, queries=texts(queries),
        passages=texts(queries * group), reasoning=texts(queries), has_reasoning=np.arange(queries) != 2, masked=masked,
        scores=scores, intensity=None, teacher=texts(queries * (1 + group)), n_cut=0, n_tokens=0,
    )  # fmt: skip


def gradients(encoder):
    """Gradients by weight, as they are now."""
    found = {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    return {name: value.detach().clone() for name, value in found.items()}


def closest(found, expected):
    """Largest relative distance of a weight's gradient; that of a key's bias is zero but for rounding, hence the floor."""
    assert found.keys() == expected.keys()
    floor = 1e-2 * max(value.norm() for value in expected.values())
    return max(((found[name] - value).norm() / max(value.norm(), floor)).item() for name, value in expected.items())


def share(batch, rank):
    """The half of a process."""
    half, group = len(batch.queries) // 2, batch.group
    queries, passages = slice(rank * half, (rank + 1) * half), slice(rank * half * group, (rank + 1) * half * group)
    taught = batch.teacher[: len(batch.queries)], batch.teacher[len(batch.queries) :]
    return replace(
        batch, queries=batch.queries[queries], passages=batch.passages[passages], reasoning=batch.reasoning[queries],
        teacher=[*taught[0][queries], *taught[1][passages]],
    )  # fmt: skip


def wrapped(encoder, how):
    if how != "sharded":
        return torch.nn.parallel.DistributedDataParallel(encoder)
    from torch.distributed.fsdp import fully_shard

    return fully_shard(encoder)


def run(folder, model, how, rank):
    """Two steps, as the second meets what the first left; the second's gradients are stored."""
    encoder, batch = encoder_of(model), share(batch_of(queries=4, group=3), rank)
    loss, teacher = (DISTILLATION, HashTeacher()) if how == "taught" else (RI, None)
    trained = wrapped(encoder, how)
    for _ in range(2):
        trained.zero_grad()
        output = contrastive_step(
            trained,
            batch,
            open_loss(loss),
            step=5,
            budget=64,
            cached=how != "uncached",
            teacher=teacher,
        )
    rows = [torch.zeros((), dtype=torch.int64) for _ in range(2)]
    dist.all_gather(rows, torch.tensor(len(encoder.rows([len(ids) for ids in batch.queries + batch.passages], 64))))
    found = {
        name: getattr(value, "full_tensor", lambda value=value: value)() for name, value in gradients(encoder).items()
    }
    if rank == 0:
        arrays = {name: value.numpy() for name, value in found.items()}
        np.savez(folder / f"{Path(model).name}-{how}.npz", rows=torch.stack(rows), value=output.value, **arrays)


def main():
    folder, *models, rank = sys.argv[1:]
    store = f"file://{Path(folder).resolve()}/store"
    dist.init_process_group("gloo", init_method=store, rank=int(rank), world_size=2)
    for model in models:
        for how in WAYS:
            run(Path(folder), model, how, int(rank))
    dist.barrier()
    dist.destroy_process_group()
    # All is stored and both processes are past the barrier. Gloo's threads may still wind down, and an interpreter that
    # ends around them sometimes aborts ("terminate called without an active exception"): leave without its teardown.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
