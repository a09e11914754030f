"""Exact search on a GPU gives what it gives with numpy, whether its tiles fit there or travel."""

from __future__ import annotations

import numpy as np
import pytest

from reasonembed.search.exact import ExactSearcher
from reasonembed.search.scorers import LOWEST
from reasonembed.search.scorers import torch as torch_scorer
from reasonembed.search.scorers.torch import TorchScorer

pytestmark = pytest.mark.gpu


def clustered(rng, n, dim):
    near = rng.normal(size=(50, dim))[rng.integers(0, 50, n)] + 0.5 * rng.normal(size=(n, dim))
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("share", [0.8, 0.0])
@pytest.mark.parametrize("k", [10, 1_000])
def test_same_hits_as_numpy(dtype, share, k, monkeypatch):
    monkeypatch.setattr(torch_scorer, "CUDA_SHARE", share)
    rng = np.random.default_rng(0)
    vectors, queries = clustered(rng, 60_000, 384), clustered(rng, 150, 384)
    vectors[[5, 40_000]] = vectors[59_999]
    ids = [str(i) for i in range(len(vectors))]
    exclude = [set(rng.choice(ids, 500).tolist()) for _ in queries]
    expected = ExactSearcher.of(ids, vectors, backend="numpy").search(queries, k, exclude)
    searcher = ExactSearcher.of(ids, vectors, device="cuda", dtype=dtype)
    assert searcher.search(queries, k, exclude) == expected
    assert searcher.search(queries, k, exclude) == expected  # from the tiles that stayed


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("dim", [384, 4096])
def test_scores_keep_within_the_stated_error(dtype, dim):
    rng = np.random.default_rng(1)
    queries, tile = clustered(rng, 32, dim), clustered(rng, 4_000, dim)
    scorer = TorchScorer(device="cuda", dtype=dtype)
    scorer.begin(queries)
    error = scorer.error(*scorer.longest(0, tile))
    _, scores = scorer.above(0, tile, np.full(len(queries), LOWEST, np.float32))
    scores = scores.reshape(len(queries), -1).astype(np.float64)
    true = queries.astype(np.float64) @ tile.T.astype(np.float64)
    assert (np.abs(scores - true) <= error.absolute[:, None] + error.relative * np.abs(scores)).all()
