"""Candidates of a batch of queries: all documents that may be among the best k, from scores that have an error.

Gets the scores that reach a cut, tile by tile; gives the next cut, and at the end the positions that are left.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from reasonembed.search.scorers import Error, Matrix, Places


class Candidates:
    """The candidates of a batch of queries.

    Memory: `room * n_queries * 12` bytes, and as much again while they are thinned out.

    Args:
        n_queries: Number of queries.
        k: Hits a query.
        tile: Most scores that are offered at once for a query.
        best: Exact choice: (query, positions) -> places of the best k among them, ties broken. Asked only where so many
            scores are equal, or nearly, that the candidates overflow.
    """

    def __init__(self, n_queries: int, k: int, *, tile: int, best: Callable[[int, Places], Places]) -> None:
        self._k = k
        self._best = best
        self._spill = k + tile
        room = room_of(k, tile)
        self._scores = np.full((n_queries, room), -np.inf, np.float32)
        self._places = np.zeros((n_queries, room), np.int64)
        self._counts = np.zeros(n_queries, np.int64)
        self.kth = np.full(n_queries, -np.inf, np.float32)
        """(n_queries,) score that k documents reach; -inf where there are fewer."""

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
        """Raise `kth` to what is known now, and drop all that cannot be among the best k."""
        width = int(self._counts.max(initial=0))
        if width >= self._k:
            kth = np.partition(self._scores[:, :width], width - self._k, axis=1)[:, width - self._k]
            self.kth = np.maximum(self.kth, kth)
        queries, slots = _cells(self._scores[:, :width] >= error.cut(self.kth)[:, None])
        places, scores = self._places[queries, slots], self._scores[queries, slots]
        self._scores[:, :width] = -np.inf
        self._counts[:] = 0
        self._write(queries, places, scores)
        for query in np.flatnonzero(self._counts > self._spill):
            self._settle(int(query))

    def _write(self, queries: Places, places: Places, scores: Matrix) -> None:
        """Append to the rows of `queries`, which are ascending."""
        added = np.bincount(queries, minlength=len(self._counts))
        row_starts = np.arange(len(self._counts)) * self._scores.shape[1]
        cells: Places = np.arange(len(queries)) + (row_starts + self._counts - np.cumsum(added) + added)[queries]
        self._places.reshape(-1)[cells] = places
        self._scores.reshape(-1)[cells] = scores
        self._counts += added

    def _settle(self, query: int) -> None:
        """Keep of a query with too many near ties exactly its best k."""
        count = int(self._counts[query])
        places = self._places[query, :count].copy()
        keep = np.flatnonzero(np.isin(places, self._best(query, places)))
        self._places[query, : len(keep)] = places[keep]
        self._scores[query, : len(keep)] = self._scores[query, keep]
        self._scores[query, len(keep) : count] = -np.inf
        self._counts[query] = len(keep)


def _cells(mask: npt.NDArray[np.bool_]) -> tuple[Places, Places]:
    """Rows and columns of what is true, as `numpy.nonzero` gives them and several times faster where little is."""
    flat = np.flatnonzero(mask)
    rows = flat // max(mask.shape[1], 1)
    return rows, flat - rows * mask.shape[1]


def room_of(k: int, tile: int) -> int:
    """Candidates a query has room for: k and a tile after thinning, a tile more to come in, k more between thinnings."""
    return 2 * (k + tile)
