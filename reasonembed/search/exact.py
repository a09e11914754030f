"""Exact dense search: every vector meets every query, in tiles. Others are held to its results.

Gets ids and unit vectors, gives hits by cosine. Exclusion happens before the cut at k; equal scores are
ordered by id. What multiplies is a scorer (`scorers/`); what is returned does not depend on it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError, MismatchError
from reasonembed.io.manifest import read_json, write_json
from reasonembed.io.vectors import open_vectors, write_vectors
from reasonembed.search.candidates import Candidates, room_of
from reasonembed.search.ranking import check_exclude, check_k, check_new_ids
from reasonembed.search.scorers import FEW_QUERIES, Matrix, Places, Scorer, check_scorer, open_scorer
from reasonembed.search.scorers.numpy import squared_norms
from reasonembed.types import Hit

QUERY_BLOCK = 128
CANDIDATES = 2_000_000
"""Candidates that all queries of a block have room for together, 12 bytes each (24 MB); for a large k the blocks of
queries get smaller, down to one query."""
SLACK = 16
"""With exclusions `k // 2 + SLACK` more documents are found than asked for. If more than so many of the best are excluded, the
query is searched again with room for all its exclusions."""
THIN = 2
"""Candidates are thinned out when so many times the tiles were seen as at the last time: k more came in since."""
RESCORE_BLOCK = 512
"""Vectors gathered at once for their final scores: 512 x 384 float64 = 1.5 MiB, near a core's own cache."""
CHECK_BLOCK = 32_768
Exclusions = Sequence[set[str] | frozenset[str]]
VECTORS_FILE = "vectors.npy"
IDS_FILE = "ids.json"


class ExactSearcher:
    """Exact search over vectors held in memory or memory-mapped from disk.

    A scorer finds all documents that may be among the best k, with a proven bound on its error; these are scored again
    in float64 and rounded to float32. So equal vectors get equal scores wherever they lie, and results do not depend on
    the backend, its type, the tiles, or the company of a query.

    Memory beyond the vectors does not grow with their number. For blocks of `QUERY_BLOCK` queries and tiles of 4,096
    documents: 2.5 MiB of scores, a bfloat16 tile of `4096 * dim * 2` bytes, at most 24 MB of candidates for k up to
    3,700 (`24 * (k + 4096)` bytes a query beyond, at least one query at once), the same again while they are thinned
    out, 15 MB of what a tile offers, `RESCORE_BLOCK * dim * 12` bytes a thread; below 96 MiB together at dim 1,024
    and k 2,000 (tests/search/test_exact_memory.py). With exclusions k counts half as much
    again. The list that is returned is the caller's: some 150 bytes a hit. On a GPU `n * dim * 2` bytes of its memory, as far as they fit,
    and tiles twice as large.

    Args:
        backend: `numpy`, `torch`, or `auto`, which takes torch only where `device` is given or torch is already
            imported, and is faster there: on a GPU, or for 16 queries and more on a CPU with bfloat16 units (see
            `scorers.open_scorer`). What was taken is logged.
        device: For torch, such as `cpu` or `cuda:0`; None takes the best there is.
        dtype: For torch, `bfloat16`, `float32` or `auto`. It changes the speed, never the result.

    Raises:
        DataError: An unknown backend or dtype.
    """

    def __init__(self, *, backend: str = "auto", device: str | None = None, dtype: str = "auto") -> None:
        check_scorer(backend, device, dtype)
        self._wanted = (backend, device, dtype)
        self._scorers: dict[bool, Scorer] = {}
        self._lock = threading.Lock()
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
        self._blocks.append(matrix)
        self._starts.append(first)

    def search(
        self, vectors: npt.ArrayLike, k: int, exclude: Sequence[Collection[str]] | None = None
    ) -> list[list[Hit]]:
        """Find the k nearest documents of each query.

        Args:
            vectors: (n_queries, dim) or (dim,) float32, unit norm.
            k: Hits a query; fewer come back when fewer documents are left.
            exclude: Ids that must not be found, one collection a query; ids that are not in the index are
                ignored. Sets are used as they are, other collections are made into sets.

        Returns:
            One list a query, cosine descending, equal cosines by id ascending.

        Raises:
            DataError: k below 1, NaN or infinity in a query or in a stored vector, a wrong number of
                exclusions.
            MismatchError: The width of the queries differs from that of the index.
            MissingExtraError: torch was asked for and is not installed.
        """
        check_k(k)
        queries = _matrix(vectors, self.dim, "query")
        check_exclude(exclude, len(queries))
        _refuse_not_finite(queries, None)
        k = min(k, max(len(self), 1))
        banned = None if exclude is None else [i if isinstance(i, (set, frozenset)) else frozenset(i) for i in exclude]
        hits: list[list[Hit]] = []
        with self._lock, ThreadPoolExecutor(_cores()) as threads:
            scorer = self._scorer(len(queries))
            slack = 0 if banned is None else min(max(map(len, banned), default=0), k // 2 + SLACK)
            step = max(1, min(QUERY_BLOCK, CANDIDATES // room_of(k + slack, scorer.tile)))
            for start in range(0, len(queries), step):
                rows = slice(start, start + step)
                hits += self._search_block(queries[rows], k, banned and banned[rows], slack, scorer, threads)
        return hits

    def _search_block(
        self,
        queries: Matrix,
        k: int,
        exclude: Exclusions | None,
        slack: int,
        scorer: Scorer,
        threads: ThreadPoolExecutor,
    ) -> list[list[Hit]]:
        wide = queries.astype(np.float64)
        candidates = self._candidates(queries, wide, k + slack, scorer)
        places = [candidates[row] for row in range(len(queries))]
        again: list[tuple[int, set[str] | frozenset[str]]] = []
        for row, banned in enumerate(exclude or ()):
            allowed = self._allowed(places[row], banned)
            if len(places[row]) - len(allowed) > slack:
                again.append((row, banned))
            places[row] = allowed
        found = threads.map(lambda row: self._best(wide[row], places[row], k), range(len(queries)))
        with _no_collection():
            hits = [self._hits(places, scores, k) for places, scores in found]
        for row, banned in again:
            [hits[row]] = self._search_block(queries[row : row + 1], k, [banned], len(banned), scorer, threads)
        return hits

    def _allowed(self, places: Places, banned: Collection[str]) -> Places:
        """Those of some documents that are not excluded."""
        ids = map(self._ids.__getitem__, places.tolist())
        kept: Places = places[~np.fromiter(map(banned.__contains__, ids), bool, len(places))]
        return kept

    def _hits(self, places: Places, scores: Matrix, k: int) -> list[Hit]:
        """The first k of some documents whose scores descend; equal scores by id."""
        ids = [self._ids[place] for place in places.tolist()]
        equal = np.flatnonzero(scores[1:] == scores[:-1])  # i where i and i + 1 are equal
        for run in np.split(equal, np.flatnonzero(np.diff(equal) > 1) + 1) if len(equal) else ():
            tied = slice(int(run[0]), int(run[-1]) + 2)
            ids[tied] = sorted(ids[tied])
        return list(map(Hit, ids[:k], scores[:k].tolist()))

    def _candidates(self, queries: Matrix, wide: npt.NDArray[np.float64], k: int, scorer: Scorer) -> Candidates:
        """All documents that may be among the best k, ties and rounding errors included."""

        def best(query: int, places: Places) -> Places:
            kept, scores = self._best(wide[query], places, k)
            order = sorted(zip((-scores).tolist(), (self._ids[place] for place in kept), kept.tolist(), strict=True))
            return np.array([place for _, _, place in order[:k]], np.int64)

        candidates = Candidates(len(queries), k, tile=scorer.tile, best=best)
        scorer.begin(queries)
        longest, lost, thin_at = 0.0, 0.0, 1
        error = scorer.error(longest, lost)
        for number, (start, tile) in enumerate(self._tiles(scorer.tile), start=1):
            norms = scorer.longest(start, tile)
            if not np.isfinite(norms[0]):
                self._report_damage(tile, start)
            if norms[0] > longest or norms[1] > lost:
                longest, lost = max(longest, norms[0]), max(lost, norms[1])
                error = scorer.error(longest, lost)
            flat, scores = scorer.above(start, tile, error.cut(candidates.kth))
            row = flat // len(tile)
            candidates.offer(row, flat - row * len(tile) + start, scores, error)
            if number == thin_at:
                candidates.thin(error)
                thin_at *= THIN
        candidates.thin(error)
        return candidates

    def _tiles(self, size: int) -> Iterator[tuple[int, Matrix]]:
        """Position of the first vector, and at most `size` vectors; tiles do not cross the blocks that were added."""
        for first, block in zip(self._starts, self._blocks, strict=True):
            for start in range(0, len(block), size):
                yield first + start, block[start : start + size]

    def _scorer(self, n_queries: int) -> Scorer:
        """The scorer for a search with so many queries; `auto` has one for few and one for many."""
        many = n_queries >= FEW_QUERIES
        if many not in self._scorers:
            self._scorers[many] = open_scorer(*self._wanted, n_queries)
        return self._scorers[many]

    def _best(self, query: npt.NDArray[np.float64], places: Places, k: int) -> tuple[Places, Matrix]:
        """The best k of some documents and what ties with the last of them, best first, with their final scores."""
        scores = self._exact_scores(query, places)
        if len(scores) > k:
            kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
            places, scores = places[kept], scores[kept]
        order = np.argsort(-scores)
        return places[order], scores[order]

    def _exact_scores(self, query: npt.NDArray[np.float64], places: Places) -> Matrix:
        """Scores of some documents, (n,) float32: float64 inner products, one by one, the same for equal vectors."""
        scores = np.empty(len(places), np.float32)
        for start in range(0, len(places), RESCORE_BLOCK):
            gathered = self._gather(places[start : start + RESCORE_BLOCK]).astype(np.float64)
            products = np.matmul(gathered[:, None, :], query[:, None])  # (n, 1, dim) x (dim, 1): a dot product each
            scores[start : start + len(gathered)] = products[:, 0, 0]
        return scores

    def _gather(self, places: Places) -> Matrix:
        """Vectors at some positions, (n, dim) float32."""
        if len(self._blocks) == 1:
            return self._blocks[0][places]
        number = np.searchsorted(self._starts, places, side="right") - 1
        gathered = np.empty((len(places), self._blocks[0].shape[1]), np.float32)
        for block in np.unique(number):
            inside = number == block
            gathered[inside] = self._blocks[block][places[inside] - self._starts[block]]
        return gathered

    def _report_damage(self, block: Matrix, start: int) -> None:
        bad = int(np.flatnonzero(~np.isfinite(squared_norms(block)))[0])
        raise DataError(
            f"the stored vector of document {self._ids[start + bad]!r} {_what_is_wrong(block[bad])}",
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
    def load(
        cls, folder: Path | str, *, vectors_file: str = VECTORS_FILE, mmap: bool = True, backend: str = "auto",
        device: str | None = None, dtype: str = "auto",
    ) -> ExactSearcher:  # fmt: skip
        """Open what `save` wrote; the vectors stay on disk and are read as they are searched.

        Args:
            folder: Holds `vectors.npy` and `ids.json`.
            vectors_file: Name of another file of vectors with the same ids.
            mmap: False reads the vectors into memory.
            backend: See `ExactSearcher`.
            device: See `ExactSearcher`.
            dtype: See `ExactSearcher`.

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
        vectors = open_vectors(folder / vectors_file, mmap=mmap)
        return cls.of(ids, vectors, source=folder, backend=backend, device=device, dtype=dtype)

    @classmethod
    def of(
        cls, ids: Sequence[str], vectors: Matrix, *, source: Path | None = None, backend: str = "auto",
        device: str | None = None, dtype: str = "auto",
    ) -> ExactSearcher:  # fmt: skip
        """A searcher over vectors that were checked when they were written; they are not read here.

        Args:
            ids: One unique id a vector.
            vectors: (n, dim) float32, often memory-mapped; NaN in them is found when they are searched.
            source: Where they came from, for messages.
            backend: See `ExactSearcher`.
            device: See `ExactSearcher`.
            dtype: See `ExactSearcher`.

        Raises:
            DataError: An id occurs twice.
            MismatchError: There are more or fewer ids than vectors.
        """
        if len(ids) != len(vectors):
            raise MismatchError(
                f"{source or 'index'}: {len(ids)} ids for {len(vectors)} vectors. Fix: build the index again"
            )
        searcher = cls(backend=backend, device=device, dtype=dtype)
        searcher._source = source
        check_new_ids(ids, (), len(vectors))
        searcher._append(ids, np.asarray(vectors))
        return searcher


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector while many hits are made, none of them garbage; it takes longer than making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    for start in range(0, len(matrix), CHECK_BLOCK):
        bad = np.flatnonzero(~np.isfinite(squared_norms(matrix[start : start + CHECK_BLOCK])))
        if len(bad):
            row = start + int(bad[0])
            name = f"query {row}" if ids is None else f"document {ids[row]!r}"
            raise DataError(
                f"the vector of {name} {_what_is_wrong(matrix[row])}", fix="check the model, e.g. another dtype"
            )


def _what_is_wrong(vector: Matrix) -> str:
    """Why the squared norm of a vector is not finite in float32."""
    return "is longer than 1e19" if np.isfinite(vector).all() else "holds NaN or infinity"
