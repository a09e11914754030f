"""Candidates of a batch of queries: all documents that may be among the best k, from scores that have an error.

Gets the scores that reach a cut, tile by tile; gives the next cut, and at the end the positions that are left.
Excluded documents are found among the candidates: few of them ever come near the best, so their places are not looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from reasonembed.search.scorers import Error, Matrix, Places

Exclusions = Sequence[set[str] | frozenset[str]]


class Candidates:
    """The candidates of a batch of queries.

    Memory: `room * n_queries * 13` bytes, and as much again while they are thinned out; 8 to 16 bytes an excluded id.

    Args:
        n_queries: Number of queries.
        k: Hits a query.
        tile: Most scores that are offered at once for a query.
        ids: Ids of all documents by position.
        exclude: Ids that must not be found, one set a query; None excludes nothing.
        hashes: (n_documents,) int64, `hash` of each id; needed where something is excluded.
        best: Exact choice: (query, positions) -> places of the best k among them, ties broken. Asked only where so many
            scores are equal, or nearly, that the candidates overflow.
    """

    def __init__(
        self, n_queries: int, k: int, *, tile: int, ids: Sequence[str],
        exclude: Exclusions | None, best: Callable[[int, Places], Places], hashes: Places | None = None,
    ) -> None:  # fmt: skip
        self._k = k
        self._exclude = None if exclude is None or hashes is None else [Excluded(e, ids, hashes) for e in exclude]
        self._best = best
        self._spill = k + tile
        room = room_of(k, tile)
        self._scores = np.full((n_queries, room), -np.inf, np.float32)
        self._places = np.zeros((n_queries, room), np.int64)
        self._allowed = np.zeros((n_queries, room), bool)
        self._counts = np.zeros(n_queries, np.int64)
        self.kth = np.full(n_queries, -np.inf, np.float32)
        """(n_queries,) score that k allowed documents reach; -inf where there are fewer."""

    def __getitem__(self, query: int) -> Places:
        """Positions of a query's candidates; after `thin`."""
        return self._places[query, : self._counts[query]]

    def offer(self, queries: Places, places: Places, scores: Matrix, error: Error) -> None:
        """Take in scores.

        Args:
            queries: (n,) the query of each, ascending.
            places: (n,) the document of each.
            scores: (n,) float32, finite.
            error: Of these scores and of all before them.
        """
        added = np.bincount(queries, minlength=len(self._counts))
        if (self._counts + added).max() > self._scores.shape[1]:
            self.thin(error)
        self._write(queries, places, scores)

    def thin(self, error: Error) -> None:
        """Raise `kth` to what is known now, and drop excluded documents and all that cannot be among the best k."""
        width = int(self._counts.max(initial=0))
        while True:
            self._raise_kth(width)
            cuts = error.cut(self.kth)
            if not self._drop_excluded(cuts, width):
                break
        queries, slots = _cells(self._scores[:, :width] >= cuts[:, None])
        places, scores, allowed = (
            self._places[queries, slots], self._scores[queries, slots], self._allowed[queries, slots],
        )  # fmt: skip
        self._scores[:, :width] = -np.inf
        self._allowed[:, :width] = False
        self._counts[:] = 0
        self._allowed.reshape(-1)[self._write(queries, places, scores)] = allowed
        for query in np.flatnonzero(self._counts > self._spill):
            self._settle(int(query))

    def _raise_kth(self, width: int) -> None:
        if width >= self._k:
            kth = np.partition(self._scores[:, :width], width - self._k, axis=1)[:, width - self._k]
            self.kth = np.maximum(self.kth, kth) if self._exclude is None else kth

    def _drop_excluded(self, cuts: Matrix, width: int) -> bool:
        """Look up the ids of what reaches the cut and was not looked up before; whether any was excluded."""
        if self._exclude is None:
            return False
        fresh = (self._scores[:, :width] >= cuts[:, None]) & ~self._allowed[:, :width]
        self._allowed[:, :width] |= fresh
        queries, slots = _cells(fresh)
        places = self._places[queries, slots]
        banned = np.zeros(len(places), bool)
        bounds = np.searchsorted(queries, np.arange(len(self._exclude) + 1)).tolist()
        for first, last, excluded in zip(bounds[:-1], bounds[1:], self._exclude, strict=True):
            banned[first:last] = excluded.among(places[first:last])
        self._scores[queries[banned], slots[banned]] = -np.inf
        return bool(banned.any())

    def _write(self, queries: Places, places: Places, scores: Matrix) -> Places:
        """Append to the rows of `queries`, which are ascending; gives where in the flattened arrays."""
        added = np.bincount(queries, minlength=len(self._counts))
        row_starts = np.arange(len(self._counts)) * self._scores.shape[1]
        cells: Places = np.arange(len(queries)) + (row_starts + self._counts - np.cumsum(added) + added)[queries]
        self._places.reshape(-1)[cells] = places
        self._scores.reshape(-1)[cells] = scores
        self._counts += added
        return cells

    def _settle(self, query: int) -> None:
        """Keep of a query with too many near ties exactly its best k."""
        count = int(self._counts[query])
        places = self._places[query, :count].copy()
        keep = np.flatnonzero(np.isin(places, self._best(query, places)))
        self._places[query, : len(keep)] = places[keep]
        self._scores[query, : len(keep)] = self._scores[query, keep]
        self._allowed[query, : len(keep)] = self._allowed[query, keep]
        self._scores[query, len(keep) : count] = -np.inf
        self._allowed[query, len(keep) : count] = False
        self._counts[query] = len(keep)


class Excluded:
    """The excluded documents of one query, told by a table of hashes first and by their ids only where it says perhaps.

    Reading an id costs a walk to its string, some 0.3 us; the table, one byte in eight of it taken, answers most from the
    cache (measured on 1 M documents with 11,000 exclusions a query).

    Args:
        exclude: Ids that must not be found.
        ids: Ids of all documents by position.
        hashes: (n_documents,) int64, `hash` of each id.
    """

    def __init__(self, exclude: set[str] | frozenset[str], ids: Sequence[str], hashes: Places) -> None:
        self._exclude = exclude
        self._ids = ids
        self._hashes = hashes
        self._mask = np.int64((1 << (8 * len(exclude)).bit_length()) - 1)
        self._table = np.zeros(int(self._mask) + 1, bool)
        self._table[np.fromiter(map(hash, exclude), np.int64, len(exclude)) & self._mask] = True

    def among(self, places: Places) -> npt.NDArray[np.bool_]:
        """Which of some documents are excluded, (n,) bool."""
        banned: npt.NDArray[np.bool_] = self._table[self._hashes[places] & self._mask]
        perhaps = np.flatnonzero(banned)
        ids = map(self._ids.__getitem__, places[perhaps].tolist())
        banned[perhaps] = np.fromiter(map(self._exclude.__contains__, ids), bool, len(perhaps))
        return banned


def _cells(mask: npt.NDArray[np.bool_]) -> tuple[Places, Places]:
    """Rows and columns of what is true, as `numpy.nonzero` gives them and several times faster where little is."""
    flat = np.flatnonzero(mask)
    rows = flat // max(mask.shape[1], 1)
    return rows, flat - rows * mask.shape[1]


def room_of(k: int, tile: int) -> int:
    """Candidates a query has room for: k and a tile after thinning, a tile more to come in, k more between thinnings."""
    return 2 * (k + tile)
