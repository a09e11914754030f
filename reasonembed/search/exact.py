"""Exact dense search with numpy: every vector meets every query, in blocks. Others are held to its results.

Gets ids and unit vectors, gives hits by cosine. Exclusion happens before the cut at k; equal scores are
ordered by id.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError, MismatchError
from reasonembed.io.manifest import read_json, write_json
from reasonembed.io.vectors import open_vectors, write_vectors
from reasonembed.search.ranking import check_exclude, check_k, check_new_ids, ranked
from reasonembed.types import Hit

QUERY_BLOCK = 128
DOCUMENT_BLOCK = 32_768
"""Scores of one block: 128 x 32,768 float32 = 16 MiB, near the size of a processor's last cache."""
RESCORE_BLOCK = 4_096
VECTORS_FILE = "vectors.npy"
IDS_FILE = "ids.json"

Matrix = npt.NDArray[np.float32]


class ExactSearcher:
    """Exact search over vectors held in memory or memory-mapped from disk.

    Memory beyond the vectors: one score buffer of `QUERY_BLOCK` x `DOCUMENT_BLOCK` float32 (16 MiB) and the
    candidates of `QUERY_BLOCK` queries. Candidates found in float32 are scored again in float64 and rounded to float32, so
    equal vectors get equal scores wherever they lie, and results do not depend on the blocks or on the
    company of a query.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._position: dict[str, int] = {}
        self._blocks: list[Matrix] = []
        self._starts: list[int] = []
        self._source: Path | None = None

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Sequence[str]:
        """Ids in the order they were added."""
        return self._ids

    def place_of(self, identifier: str) -> int | None:
        """Position of an id in `ids`; None where it is not in the index."""
        return self._position.get(identifier)

    @property
    def dim(self) -> int | None:
        """Width of the vectors; None while the index is empty."""
        return self._blocks[0].shape[1] if self._blocks else None

    def add(self, ids: Sequence[str], vectors: npt.ArrayLike) -> None:
        """Add vectors; float32 C-contiguous ones are kept without a copy.

        Args:
            ids: One unique id a vector.
            vectors: (n, dim) float32, unit norm.

        Raises:
            DataError: An id occurs twice, counts differ, or a vector holds NaN or infinity.
            MismatchError: The width differs from the vectors added before.
        """
        matrix = _matrix(vectors, self.dim, "document")
        check_new_ids(ids, self._position, len(matrix))
        _refuse_not_finite(matrix, ids)
        self._append(ids, matrix)

    def _append(self, ids: Sequence[str], matrix: Matrix) -> None:
        if not len(matrix):
            return
        first = len(self._ids)
        self._position.update((identifier, first + place) for place, identifier in enumerate(ids))
        self._ids.extend(ids)
        for start in range(0, len(matrix), DOCUMENT_BLOCK):
            self._blocks.append(matrix[start : start + DOCUMENT_BLOCK])
            self._starts.append(first + start)

    def search(
        self, vectors: npt.ArrayLike, k: int, exclude: Sequence[Collection[str]] | None = None
    ) -> list[list[Hit]]:
        """Find the k nearest documents of each query.

        Args:
            vectors: (n_queries, dim) or (dim,) float32, unit norm.
            k: Hits a query; fewer come back when fewer documents are left.
            exclude: Ids that must not be found, one collection a query; ids that are not in the index are
                ignored.

        Returns:
            One list a query, cosine descending, equal cosines by id ascending.

        Raises:
            DataError: k below 1, NaN or infinity in a query or in a stored vector, a wrong number of
                exclusions.
            MismatchError: The width of the queries differs from that of the index.
        """
        check_k(k)
        queries = _matrix(vectors, self.dim, "query")
        check_exclude(exclude, len(queries))
        _refuse_not_finite(queries, None)
        hits: list[list[Hit]] = []
        for start in range(0, len(queries), QUERY_BLOCK):
            rows = queries[start : start + QUERY_BLOCK]
            left_out = [self._excluded(exclude[start + row]) if exclude else _NOTHING for row in range(len(rows))]
            for query, candidates in zip(rows, self._candidates(rows, k, left_out), strict=True):
                scores = self._exact_scores(query, candidates)
                named = (
                    (self._ids[place], score) for place, score in zip(candidates.tolist(), scores.tolist(), strict=True)
                )
                hits.append(ranked(named, k))
        return hits

    def _excluded(self, ids: Collection[str]) -> npt.NDArray[np.int64]:
        """Sorted positions of the excluded ids that are in the index."""
        return np.array(sorted({self._position[i] for i in ids if i in self._position}), dtype=np.int64)

    def _candidates(
        self, queries: Matrix, k: int, left_out: list[npt.NDArray[np.int64]]
    ) -> list[npt.NDArray[np.int64]]:
        """Positions of all documents that may be among the best k, ties and rounding errors included."""
        best = [_Best(k, _margin(query)) for query in queries]
        start = 0
        for block in self._blocks:
            scores = queries @ block.T  # (n_queries, n_block)
            if not np.isfinite(scores.sum(dtype=np.float64)):
                self._report_damage(block, start)
            for row, keeper, skip in zip(scores, best, left_out, strict=True):
                row[skip[(skip >= start) & (skip < start + len(block))] - start] = -np.inf
                keeper.offer(row, start)
            start += len(block)
        return [keeper.places for keeper in best]

    def _exact_scores(self, query: Matrix, places: npt.NDArray[np.int64]) -> Matrix:
        """Scores of some documents, (n,) float32: float64 inner products, the same for equal vectors."""
        scores = np.empty(len(places), np.float32)
        for start in range(0, len(places), RESCORE_BLOCK):
            chosen = places[start : start + RESCORE_BLOCK]
            gathered = np.empty((len(chosen), len(query)), np.float64)
            number = np.searchsorted(self._starts, chosen, side="right") - 1
            for block in np.unique(number):
                inside = number == block
                gathered[inside] = self._blocks[block][chosen[inside] - self._starts[block]]
            scores[start : start + len(chosen)] = (gathered * query).sum(axis=1)
        return scores

    def _report_damage(self, block: Matrix, start: int) -> None:
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(bad):
            raise DataError(
                f"the stored vector of document {self._ids[start + int(bad[0])]!r} holds NaN or infinity",
                path=self._source,
                fix="build the index again",
            )

    def save(self, folder: Path | str) -> None:
        """Write `vectors.npy` and `ids.json` into a folder, each atomically.

        Raises:
            DataError: There is nothing to save.
            StorageError: A file could not be written whole.
        """
        if self.dim is None:
            raise DataError("the index is empty, there is nothing to save", fix="add documents first")
        folder = Path(folder)
        write_vectors(folder / VECTORS_FILE, self._blocks, count=len(self), dim=self.dim)
        write_json(folder / IDS_FILE, {"count": len(self), "dim": self.dim, "ids": self._ids})

    @classmethod
    def load(cls, folder: Path | str, *, mmap: bool = True) -> ExactSearcher:
        """Open what `save` wrote; the vectors stay on disk and are read as they are searched.

        Args:
            folder: Holds `vectors.npy` and `ids.json`.
            mmap: False reads the vectors into memory.

        Raises:
            DataError: A file is missing or damaged, or an id occurs twice.
            MismatchError: Ids and vectors do not belong together.
        """
        folder = Path(folder)
        stored = read_json(folder / IDS_FILE)
        ids = stored.get("ids")
        if not isinstance(ids, list) or not all(isinstance(identifier, str) for identifier in ids):
            raise DataError(
                "field 'ids' must be a list of strings", path=folder / IDS_FILE, fix="build the index again"
            )
        vectors = open_vectors(folder / VECTORS_FILE, mmap=mmap)
        return cls.of(ids, vectors, source=folder)

    @classmethod
    def of(cls, ids: Sequence[str], vectors: Matrix, *, source: Path | None = None) -> ExactSearcher:
        """A searcher over vectors that were checked when they were written; they are not read here.

        Args:
            ids: One unique id a vector.
            vectors: (n, dim) float32, often memory-mapped; NaN in them is found when they are searched.
            source: Where they came from, for messages.

        Raises:
            DataError: An id occurs twice.
            MismatchError: There are more or fewer ids than vectors.
        """
        if len(ids) != len(vectors):
            raise MismatchError(
                f"{source or 'index'}: {len(ids)} ids for {len(vectors)} vectors. Fix: build the index again"
            )
        searcher = cls()
        searcher._source = source
        check_new_ids(ids, (), len(vectors))
        searcher._append(ids, np.asarray(vectors))
        return searcher


_NOTHING = np.empty(0, dtype=np.int64)


class _Best:
    """Candidates of one query: all documents not surely worse than its k-th best so far."""

    def __init__(self, k: int, margin: float) -> None:
        self._k = k
        self._margin = margin
        self._threshold = np.float32(-np.inf)
        self._scores = np.empty(0, np.float32)
        self.places = _NOTHING

    def offer(self, scores: Matrix, start: int) -> None:
        """Take in the scores of the block that starts at `start`, (n_block,) float32; `-inf` is excluded."""
        found = np.flatnonzero((scores >= self._threshold) & (scores != -np.inf))
        if not len(found):
            return
        self._scores = np.concatenate([self._scores, scores[found]])
        self.places = np.concatenate([self.places, found + start])
        if len(self._scores) > self._k:
            cut = len(self._scores) - self._k
            self._threshold = np.partition(self._scores, cut)[cut] - np.float32(self._margin)
            keep = self._scores >= self._threshold
            self._scores, self.places = self._scores[keep], self.places[keep]


def _margin(query: Matrix) -> float:
    """Bound of the rounding error of a float32 inner product with a unit vector.

    Rounding errors add up like a random walk, sqrt(dim) steps of half a unit in the last place (Higham,
    Accuracy and Stability of Numerical Algorithms, 2.8); a factor of 8 keeps it safe for every order of
    summation.
    """
    return float(8 * np.sqrt(len(query)) * np.finfo(np.float32).eps * max(1.0, float(np.linalg.norm(query))))


def _matrix(vectors: npt.ArrayLike, dim: int | None, what: str) -> Matrix:
    """(n, dim) float32, C-contiguous; a single vector becomes one row."""
    matrix: npt.NDArray[Any] = np.asarray(vectors)
    if matrix.dtype.kind not in "fiu":
        raise DataError(f"{what} vectors are of type {matrix.dtype}", fix="pass float32")
    matrix = np.ascontiguousarray(matrix[None] if matrix.ndim == 1 else matrix, dtype=np.float32)
    if matrix.ndim != 2:
        raise DataError(f"{what} vectors have shape {matrix.shape}", fix="pass (n, dim)")
    if dim is not None and matrix.shape[1] != dim:
        raise MismatchError(
            f"{what} vectors have {matrix.shape[1]} dimensions, the index has {dim}. "
            "Fix: use the model that made the index"
        )
    return matrix


def _refuse_not_finite(matrix: Matrix, ids: Sequence[str] | None) -> None:
    for start in range(0, len(matrix), DOCUMENT_BLOCK):
        bad = np.flatnonzero(~np.isfinite(matrix[start : start + DOCUMENT_BLOCK]).all(axis=1))
        if len(bad):
            row = start + int(bad[0])
            name = f"query {row}" if ids is None else f"document {ids[row]!r}"
            raise DataError(f"the vector of {name} holds NaN or infinity", fix="check the model, e.g. another dtype")
