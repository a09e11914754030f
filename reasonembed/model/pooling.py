"""Token vectors of a batch to one vector a text: last token, mean, CLS and the other modes of Sentence Transformers.

Padded on the right only; written with operations that numpy arrays and torch tensors share, so that every engine pools alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

POOLING_MODES = ("last", "mean", "cls", "max", "mean_sqrt_len", "weightedmean")


def pool_padded(hidden: Any, mask: Any, modes: Sequence[str], prompt_lengths: Any | None = None) -> Any:
    """Pool right-padded token vectors.

    Args:
        hidden: (batch, length, dim) floating point array or tensor; float32 for full precision.
        mask: (batch, length) of 1 for a token and 0 for padding, same library and dtype as `hidden`.
        modes: Of `POOLING_MODES`; several are concatenated.
        prompt_lengths: (batch,) leading tokens that every mode but `last` leaves out; None leaves out none.

    Returns:
        (batch, dim * len(modes)), same library and dtype.

    >>> hidden = np.array([[[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]]])
    >>> pool_padded(hidden, np.array([[1.0, 1.0, 0.0]]), ("mean", "last")).tolist()
    [[2.0, 1.0, 3.0, 2.0]]
    """
    kept = mask if prompt_lengths is None else mask * (mask.cumsum(1) > prompt_lengths[:, None])
    vectors = [_MODES[mode](hidden, mask, kept) for mode in modes]
    if len(vectors) == 1:
        return vectors[0]
    if isinstance(hidden, np.ndarray):
        return np.concatenate(vectors, axis=1)
    import torch

    return torch.cat(vectors, dim=1)


def _rows(hidden: Any, columns: Any) -> Any:
    return hidden[list(range(hidden.shape[0])), columns]  # (batch, length, dim) -> (batch, dim)


def _last(hidden: Any, mask: Any, kept: Any) -> Any:
    return _rows(hidden, [int(n) - 1 for n in mask.sum(1).tolist()])


def _cls(hidden: Any, mask: Any, kept: Any) -> Any:
    return _rows(hidden, kept.argmax(1).tolist())


def _weighted(hidden: Any, weights: Any, denominator: Any) -> Any:
    return (hidden * weights[:, :, None]).sum(1) / denominator.clip(1e-9)[:, None]


def _mean(hidden: Any, mask: Any, kept: Any) -> Any:
    return _weighted(hidden, kept, kept.sum(1))


def _mean_sqrt_len(hidden: Any, mask: Any, kept: Any) -> Any:
    return _weighted(hidden, kept, kept.sum(1) ** 0.5)


def _weightedmean(hidden: Any, mask: Any, kept: Any) -> Any:
    weights = kept * mask.cumsum(1)  # position weights 1, 2, 3, ... as in SGPT (arXiv:2202.08904)
    return _weighted(hidden, weights, weights.sum(1))


def _max(hidden: Any, mask: Any, kept: Any) -> Any:
    largest = (hidden + ((1 - kept) * -1e30)[:, :, None]).max(1)
    return largest if isinstance(hidden, np.ndarray) else largest.values


_MODES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "last": _last,
    "mean": _mean,
    "cls": _cls,
    "max": _max,
    "mean_sqrt_len": _mean_sqrt_len,
    "weightedmean": _weightedmean,
}
