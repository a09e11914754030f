"""Scores by torch in bfloat16 or float32, on the CPU or on a GPU, where the tiles stay once they were there. See `Scorer`.

On the CPU a tile is rounded to bfloat16 while it lies in the cache, so that no second copy of the vectors is kept.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from reasonembed.errors import DataError, MissingExtraError
from reasonembed.model.hardware import has_bf16
from reasonembed.search.scorers import Error, Matrix, Places, rounding_error

CPU_TILE = 4_096
CUDA_TILE = 8_192
"""Larger on a GPU, where a tile costs some launches and a wait, about 0.1 ms whatever its size."""
CUDA_SHARE = 0.8
"""Share of a GPU's free memory that resident tiles may take; the others travel at each search."""
BF16_ROUNDING = 1 / 255
"""A score s' rounded to bfloat16 (8 bits) is off by at most 2**-8 |s| <= |s'| / 255."""
TF32_ROUNDING = 2.0**-11
"""Relative rounding of TensorFloat-32's 11 bits, in which CUDA may multiply float32."""


class TorchScorer:
    """bfloat16 or float32 scores by `torch.mm`.

    Args:
        device: Such as `cpu` or `cuda:0`; None takes the GPU where there is one.
        dtype: `bfloat16`, `float32`, or `auto`: bfloat16 on a GPU or a CPU that multiplies it.

    Raises:
        DataError: A device that torch does not have.
        MissingExtraError: torch is not installed.
    """

    def __init__(self, *, device: str | None = None, dtype: str = "auto") -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("torch", "torch", "exact search with backend='torch'") from error
        self._torch = torch
        self._device = _device(device)
        self._on_cpu = self._device.type == "cpu"
        coarse = dtype == "bfloat16" or (dtype == "auto" and (not self._on_cpu or has_bf16()))
        self._dtype = torch.bfloat16 if coarse else torch.float32
        self.tile = CPU_TILE if self._on_cpu else CUDA_TILE
        self.name = f"torch {'bfloat16' if coarse else 'float32'} on {self._device}"
        self._longest: dict[int, tuple[float, float]] = {}
        self._resident: dict[int, Any] = {}
        self._room: float | None = None
        self._buffer: Any = None

    @property
    def _coarse(self) -> bool:
        return bool(self._dtype == self._torch.bfloat16)

    def begin(self, queries: Matrix) -> None:
        """See `Scorer.begin`."""
        exact = self._torch.from_numpy(queries.copy())
        rounded = exact.to(self._dtype)
        self._queries = rounded.to(self._device)
        self._norms = np.linalg.norm(queries.astype(np.float64), axis=1)
        self._lost = (exact.double() - rounded.double()).norm(dim=1).numpy()
        self._mask = np.empty(len(queries) * self.tile, bool)
        self._input_rounding = 0.0 if self._coarse else self._float32_rounding()

    def _float32_rounding(self) -> float:
        """Relative rounding of the factors of a float32 product, which torch's settings may make coarser."""
        if not self._on_cpu:
            return TF32_ROUNDING
        return 0.0 if self._torch.get_float32_matmul_precision() == "highest" else 2.0**-8

    def longest(self, start: int, tile: Matrix) -> tuple[float, float]:
        """See `Scorer.longest`."""
        if start not in self._longest:
            exact = self._tensor(tile)
            norm = float(self._torch.linalg.vector_norm(exact, dim=1).max())
            lost = 0.0
            if self._coarse:
                rounded = exact.to(self._dtype).float()
                lost = float(self._torch.linalg.vector_norm(rounded.sub_(exact), dim=1).max())
            self._longest[start] = norm, lost
        return self._longest[start]

    def error(self, norm: float, lost: float) -> Error:
        """See `Scorer.error`."""
        share = self._input_rounding
        relative = BF16_ROUNDING if self._coarse else 0.0
        dim = self._queries.shape[1]
        return rounding_error(
            self._norms, self._lost + share * self._norms, norm, lost + share * norm, dim, relative=relative
        )

    def above(self, start: int, tile: Matrix, cuts: Matrix) -> tuple[Places, Matrix]:
        """See `Scorer.above`."""
        with self._torch.inference_mode(), _float32_sums(self._torch, cuda=not self._on_cpu):
            scores = self._torch.mm(self._queries, self._placed(start, tile).T)  # (n_queries, n)
            return self._reached_on_cpu(scores, cuts) if self._on_cpu else self._reached(scores, cuts)

    def _reached(self, scores: Any, cuts: Matrix) -> tuple[Places, Matrix]:
        """Any device, all in torch; only what reaches its cut travels."""
        limits = self._torch.from_numpy(cuts).to(self._device)[:, None]
        found = (scores >= limits).flatten().nonzero().squeeze(1)
        values = scores.flatten()[found].float()
        return found.cpu().numpy(), values.cpu().numpy()

    def _reached_on_cpu(self, scores: Any, cuts: Matrix) -> tuple[Places, Matrix]:
        """On the CPU numpy compares and finds five times faster than torch does in bfloat16.

        Positive bfloat16 numbers have the order of their bits as int16, and all negative ones are negative there.
        """
        if self._coarse and not (cuts > 0).all():
            return self._reached(scores, cuts)
        mask = self._mask[: scores.numel()].reshape(tuple(scores.shape))
        if self._coarse:
            bits = scores.view(self._torch.int16).numpy()
            limits = (cuts.view(np.uint32) >> 16).astype(np.int16)  # cut off: rounded down
            found = np.flatnonzero(np.greater_equal(bits, limits[:, None], out=mask))
            wide = bits.reshape(-1)[found].view(np.uint16).astype(np.uint32) << 16
            return found, wide.view(np.float32)
        values = scores.numpy()
        found = np.flatnonzero(np.greater_equal(values, cuts[:, None], out=mask))
        return found, values.reshape(-1)[found]

    def _placed(self, start: int, tile: Matrix) -> Any:
        """A tile on the device, in the scorer's type."""
        if start in self._resident and len(self._resident[start]) == len(tile):
            return self._resident[start]
        exact = self._tensor(tile)
        if self._on_cpu:
            return self._rounded(exact)
        placed = exact.to(self._dtype).to(self._device)
        if self._fits(placed.nbytes):
            self._resident[start] = placed
        return placed

    def _rounded(self, exact: Any) -> Any:
        """A tile in the scorer's type in a buffer that is used again for the next one."""
        if not self._coarse:
            return exact
        if self._buffer is None:
            self._buffer = self._torch.empty((self.tile, exact.shape[1]), dtype=self._dtype)
        return self._buffer[: len(exact)].copy_(exact)

    def _fits(self, n_bytes: int) -> bool:
        if self._room is None:
            self._room = CUDA_SHARE * self._torch.cuda.mem_get_info(self._device)[0]
        self._room -= n_bytes
        return self._room >= 0

    def _tensor(self, tile: Matrix) -> Any:
        """A tile as a tensor over the same memory; torch warns of memory-mapped files, which nothing here writes to."""
        if tile.flags.writeable:
            return self._torch.from_numpy(tile)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return self._torch.from_numpy(tile)


def _device(wanted: str | None) -> Any:
    import torch

    try:
        device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise DataError(f"device {wanted!r} is unknown", fix="such as cpu or cuda:0") from error
    if device.type not in ("cpu", "cuda"):
        raise DataError(f"exact search does not run on {device.type!r}", fix="cpu or cuda:0")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DataError(f"device {wanted!r}: torch finds {torch.cuda.device_count()} GPUs", fix="device='cpu'")
    return device


@contextlib.contextmanager
def _float32_sums(torch: Any, *, cuda: bool) -> Iterator[None]:
    """No partial sums in bfloat16, which CUDA may use otherwise and which the error bound does not cover."""
    if not cuda:
        yield
        return
    settings = torch.backends.cuda.matmul
    before = settings.allow_bf16_reduced_precision_reduction
    settings.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        settings.allow_bf16_reduced_precision_reduction = before
