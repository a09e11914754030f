"""Memory of a search beyond its vectors: below what `ExactSearcher` states, and the same for ten times the vectors."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from reasonembed.search.exact import ExactSearcher

MIB = 2**20


def peak(n, k, dim=16):
    """Traced peak in bytes of one search whose scores rise along the index, so that every tile is all candidates."""
    vectors = np.zeros((n, dim), np.float32)
    angle = np.linspace(1.5, 0.1, n)
    vectors[:, 0], vectors[:, 1] = np.cos(angle), np.sin(angle)
    queries = np.zeros((128, dim), np.float32)
    queries[:, 0] = 1
    searcher = ExactSearcher.of([str(i) for i in range(n)], vectors, backend="numpy")
    tracemalloc.start()
    try:
        hits = searcher.search(queries, k)
        best = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [hit.id for hit in hits[0][:2]] == [str(n - 1), str(n - 2)]
    return best


@pytest.mark.parametrize("k", [10, 2_000])
def test_stated_bound_holds_and_does_not_grow_with_the_index(k):
    small, large = peak(20_000, k), peak(200_000, k)
    returned = 150 * 128 * k  # bytes
    assert large < 64 * MIB + returned  # what is left to 96 is for wide vectors
    assert large < 1.1 * small
