"""Scores by numpy's BLAS in float32: what the base package has. See `Scorer`."""

from __future__ import annotations

import numpy as np

from reasonembed.search.scorers import Error, Matrix, Places, rounding_error

TILE = 4_096
"""128 queries x 4,096 documents x 4 bytes = 2 MiB of scores, which stay in a core's cache until they are compared;
1,024 to 32,768 are within 5% of each other on an EPYC with 1 MiB a core."""


class NumpyScorer:
    """float32 scores by `numpy.matmul`."""

    def __init__(self) -> None:
        self.name = "numpy float32"
        self.tile = TILE
        self._longest: dict[int, float] = {}

    def begin(self, queries: Matrix) -> None:
        """See `Scorer.begin`."""
        self._queries = queries
        self._norms = np.linalg.norm(queries.astype(np.float64), axis=1)
        self._scores = np.empty(len(queries) * self.tile, np.float32)
        self._mask = np.empty(len(queries) * self.tile, bool)

    def longest(self, start: int, tile: Matrix) -> tuple[float, float]:
        """See `Scorer.longest`; nothing is lost in float32."""
        if start not in self._longest:
            self._longest[start] = float(np.sqrt(squared_norms(tile).max()))
        return self._longest[start], 0.0

    def error(self, norm: float, lost: float) -> Error:
        """See `Scorer.error`."""
        return rounding_error(self._norms, np.zeros_like(self._norms), norm, lost, self._queries.shape[1])

    def above(self, start: int, tile: Matrix, cuts: Matrix) -> tuple[Places, Matrix]:
        """See `Scorer.above`."""
        shape = (len(self._queries), len(tile))
        size = shape[0] * shape[1]
        scores = np.matmul(self._queries, tile.T, out=self._scores[:size].reshape(shape))
        mask = np.greater_equal(scores, cuts[:, None], out=self._mask[:size].reshape(shape))
        found = np.flatnonzero(mask)
        return found, scores.reshape(-1)[found]


def squared_norms(matrix: Matrix) -> Matrix:
    """Squared norms of rows, (n,) float32; not finite where a row holds NaN or infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        squared: Matrix = np.einsum("ij,ij->i", matrix, matrix)
    return squared
