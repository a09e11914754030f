"""Rows of all processes on every process, in the order of ranks, with gradients only where they can be used: on the own rows.

Every process computes the same loss of the whole global batch, so its own rows get their whole gradient; the others' rows are
constants there (paper.md section 2.2). Without a process group there is one process, and nothing is sent.
"""

from __future__ import annotations

import torch
import torch.distributed as dist


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_constant(local: torch.Tensor) -> torch.Tensor:
    """Rows of all processes: (n, ...) -> (world * n, ...), no gradient; n must be the same everywhere."""
    if world_size() == 1:
        return local.detach()
    return torch.cat(_all_parts(local))


def gather_with_local_grad(local: torch.Tensor) -> torch.Tensor:
    """Rows of all processes: (n, ...) -> (world * n, ...), with the gradient of `local`; n must be the same everywhere."""
    if world_size() == 1:
        return local
    parts = _all_parts(local)
    parts[dist.get_rank()] = local
    return torch.cat(parts)


def most(count: int, device: torch.device) -> int:
    """The largest of the counts of all processes."""
    if world_size() == 1:
        return count
    largest = torch.tensor(count, device=device)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return int(largest)


def _all_parts(local: torch.Tensor) -> list[torch.Tensor]:
    values = local.detach().contiguous()
    parts = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(parts, values)
    return parts
