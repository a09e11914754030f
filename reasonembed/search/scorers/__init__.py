"""Scorers multiply queries with a tile of documents and say which scores reach a cut; each is one file here.

They know vectors and rounding errors, no ids and no ranks. A scorer may be as coarse as it likes, as long as `error`
bounds what it got wrong: `ExactSearcher` keeps all that could belong to the best and scores them again in float64.
A new scorer is a file with a class that satisfies `Scorer` and one line in `open_scorer`.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError
from reasonembed.model.hardware import has_bf16

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "numpy", "torch")
DTYPES = ("auto", "float32", "bfloat16")
FEW_QUERIES = 16
"""Below this many queries a search reads memory more than it multiplies, and converting a tile to bfloat16 costs more
than it saves (benchmarks/search.py, single query)."""
SLACK = 1.01
"""Factor on error bounds for the rounding of the bounds themselves."""
LOWEST = float(np.finfo(np.float32).min)

Matrix = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Error:
    """How far the scores of a scorer may lie from the true inner products.

    `|score - true| <= absolute + relative * |score|`.

    Attributes:
        absolute: (n_queries,) float64.
        relative: Below 1.
    """

    absolute: npt.NDArray[np.float64]
    relative: float

    def cut(self, kth: npt.NDArray[np.floating[Any]]) -> Matrix:
        """Lowest score with which a document may still belong to the best k.

        The true k-th best is at least `low = kth - absolute - relative * |kth|`; a score s can belong to a true
        product of `low` only if `s + absolute + relative * |s| >= low`.

        Args:
            kth: (n_queries,) the k-th best score so far; -inf where there are fewer than k.

        Returns:
            (n_queries,) float32, rounded down, above -inf, which is no document.
        """
        known = np.isfinite(kth)
        score = np.where(known, kth, 0.0).astype(np.float64)
        reach = score - 2 * self.absolute - self.relative * np.abs(score)
        cut = np.where(reach >= 0, reach / (1 + self.relative), reach / (1 - self.relative))
        lower = np.nextafter(np.maximum(cut, LOWEST / 2).astype(np.float32), np.float32(-np.inf))
        return np.where(known, lower, np.float32(LOWEST)).astype(np.float32)


class Scorer(Protocol):
    """Scores of a batch of queries with tiles of documents.

    Attributes:
        name: What it is, for the log: library, type of the arithmetic, device.
        tile: Documents scored at once.
    """

    name: str
    tile: int

    def begin(self, queries: Matrix) -> None:
        """Take the queries that `above` scores, (n_queries, dim) float32, finite."""
        ...

    def longest(self, start: int, tile: Matrix) -> tuple[float, float]:
        """Largest norm in a tile, and largest norm of what rounding to the scorer's type takes from a vector.

        Args:
            start: Position of the tile's first document, by which the answer is remembered.
            tile: (n, dim) float32.

        Returns:
            Both not finite where the tile holds NaN or infinity.
        """
        ...

    def error(self, norm: float, lost: float) -> Error:
        """Error of the present queries' scores with documents of at most these norms (see `longest`)."""
        ...

    def above(self, start: int, tile: Matrix, cuts: Matrix) -> tuple[Places, Matrix]:
        """Scores that reach the cut of their query.

        Args:
            start: Position of the tile's first document, by which a scorer may keep the tile on its device.
            tile: (n, dim) float32, finite.
            cuts: (n_queries,) float32.

        Returns:
            Ascending positions in the flattened (n_queries, n) scores, and the scores there.
        """
        ...


def rounding_error(queries: npt.NDArray[np.float64], lost: npt.NDArray[np.float64], norm: float, gone: float, dim: int,
                   relative: float = 0.0) -> Error:  # fmt: skip
    """Bound of |fl(q'd') - qd| for inner products of rounded vectors, summed in float32 in any order.

    `|qd - q'd'| <= |q - q'| |d| + |q'| |d - d'|` (Cauchy-Schwarz), and the float32 sum of n exact products is off by at
    most `n u / (1 - n u) |q'| |d'|` with u = 2**-24 (Higham, Accuracy and Stability of Numerical Algorithms, 3.1).

    Args:
        queries: (n_queries,) norms of the queries.
        lost: (n_queries,) norms of what rounding took from them.
        norm: Largest norm of a document.
        gone: Largest norm of what rounding took from a document.
        dim: Width of the vectors.
        relative: Error of rounding the score itself to its type.
    """
    sums = dim * 2.0**-24 / (1 - dim * 2.0**-24)
    rounded = queries + lost
    absolute = lost * norm + rounded * gone + sums * rounded * (norm + gone)
    return Error(SLACK * absolute + float(np.finfo(np.float32).tiny), relative)


def open_scorer(backend: str, device: str | None, dtype: str, n_queries: int) -> Scorer:
    """Open a scorer.

    Args:
        backend: `numpy`, `torch`, or `auto`: torch where `device` names one, or where it is already imported and there
            is a GPU, or a CPU that multiplies bfloat16 and at least `FEW_QUERIES` queries; numpy otherwise.
        device: Such as `cpu` or `cuda:0`; None takes the best there is.
        dtype: One of `DTYPES`, for torch.
        n_queries: Queries of the search it is for.

    Raises:
        DataError: A device that torch does not have.
        MissingExtraError: torch is asked for and not installed.
    """
    from reasonembed.search.scorers.numpy import NumpyScorer

    if backend == "numpy" or (backend == "auto" and device is None and not _torch_is_faster(n_queries)):
        scorer: Scorer = NumpyScorer()
    else:
        from reasonembed.search.scorers.torch import TorchScorer

        scorer = TorchScorer(device=device, dtype=dtype)
    logger.info("exact search scores with %s, tiles of %d documents", scorer.name, scorer.tile)
    return scorer


def check_scorer(backend: str, device: str | None, dtype: str) -> None:
    """Refuse a backend, device and dtype that do not go together.

    Raises:
        DataError: An unknown name, or numpy with a device other than the CPU or with bfloat16.
    """
    if backend not in BACKENDS:
        raise DataError(f"backend {backend!r} is unknown", fix=f"one of {', '.join(BACKENDS)}")
    if dtype not in DTYPES:
        raise DataError(f"dtype {dtype!r} is unknown", fix=f"one of {', '.join(DTYPES)}")
    if backend == "numpy" and (dtype == "bfloat16" or device not in (None, "cpu")):
        raise DataError(f"numpy scores float32 on the CPU, not {dtype} on {device}", fix="use backend='torch'")


def _torch_is_faster(n_queries: int) -> bool:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda"):
        return False
    # A core of a Zen 5 (no AMX), 100 x 384 by 384 x 4,096, GFLOP/s: bfloat16 378, float32 99 by OpenBLAS, 75 by MKL.
    return bool(torch.cuda.is_available()) or (n_queries >= FEW_QUERIES and has_bf16())
