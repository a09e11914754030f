"""Every scorer gives the same hits as a full sort in float64; error bounds hold; `auto` imports nothing."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reasonembed
from reasonembed.errors import DataError
from reasonembed.io.beir import read_beir
from reasonembed.search import scorers
from reasonembed.search.exact import ExactSearcher
from reasonembed.search.scorers import numpy as numpy_scorer
from reasonembed.search.scorers import torch as torch_scorer
from reasonembed.search.scorers.numpy import NumpyScorer
from reasonembed.search.scorers.torch import TorchScorer

KINDS = {
    "numpy": {"backend": "numpy"},
    "torch float32": {"backend": "torch", "device": "cpu", "dtype": "float32"},
    "torch bfloat16": {"backend": "torch", "device": "cpu", "dtype": "bfloat16"},
}


def unit(rng, n, dim):
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clustered(rng, n, dim, centres=20):
    near = unit(rng, centres, dim)[rng.integers(0, centres, n)] + 0.3 * unit(rng, n, dim)
    return near / np.linalg.norm(near, axis=1, keepdims=True)


def full_sort(ids, vectors, query, k, excluded=()):
    """The oracle: all scores in float64, rounded once, one sort by (-score, id)."""
    scores = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1).astype(np.float32)
    return [i for _, i in sorted((-s, i) for s, i in zip(scores.tolist(), ids, strict=True) if i not in excluded)[:k]]


def small_tiles(patch, size):
    patch.setattr(numpy_scorer, "TILE", size)
    patch.setattr(torch_scorer, "CPU_TILE", size)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20), n=st.integers(1, 90), distinct=st.integers(1, 40), k=st.integers(1, 50),
    tile=st.sampled_from([1, 4, 9]), parts=st.integers(1, 3), share=st.sampled_from([0.0, 0.4, 1.0]),
)  # fmt: skip
def test_equals_a_full_sort(kind, seed, n, distinct, k, tile, parts, share):
    rng = np.random.default_rng(seed)
    vectors = unit(rng, distinct, 6)[rng.integers(0, distinct, n)]
    ids = [f"d{i}" for i in rng.permutation(n)]
    queries = np.concatenate([unit(rng, 3, 6), -vectors[:1]])
    near = [full_sort(ids, vectors, query, n)[: int(share * n)] for query in queries]  # the nearest are excluded
    with pytest.MonkeyPatch.context() as patch:
        small_tiles(patch, tile)
        searcher = ExactSearcher(**KINDS[kind])
        for part in np.array_split(np.arange(n), parts):
            searcher.add([ids[i] for i in part], vectors[part])
        found = searcher.search(queries, k, near if share else None)
    for hits, query, excluded in zip(found, queries, near, strict=True):
        assert [hit.id for hit in hits] == full_sort(ids, vectors, query, k, set(excluded))


@pytest.mark.parametrize("k", [1, 10, 500])
def test_all_backends_give_the_same_hits_and_scores(k):
    rng = np.random.default_rng(k)
    vectors, queries = clustered(rng, 30_000, 96), clustered(rng, 40, 96)
    vectors[[7, 9_000, 29_999]] = vectors[12]
    ids = [str(i) for i in range(len(vectors))]
    exclude = [set(rng.choice(ids, 3_000).tolist()) for _ in queries]
    searchers = [ExactSearcher.of(ids, vectors, **options) for options in KINDS.values()]
    for left_out in (None, exclude):
        first, *others = [searcher.search(queries, k, left_out) for searcher in searchers]
        assert all(other == first for other in others)
        for row in (0, 39):
            expected = full_sort(ids, vectors, queries[row], k, left_out[row] if left_out else ())
            assert [hit.id for hit in first[row]] == expected


@pytest.fixture(scope="module")
def real():
    """Vectors of the shipped model: 150 theorems and near copies of them, 40 questions."""
    task = read_beir(Path(reasonembed.__file__).parent / "data" / "theoremqa")
    theorems = [document.content[:300] for document in task.documents[:150]]
    questions = [query.text[:300] for query in task.queries[:40]]
    embedder = reasonembed.Embedder()
    documents = np.tile(embedder.encode_corpus(theorems), (40, 1))
    documents += np.random.default_rng(0).normal(scale=2e-4, size=documents.shape).astype(np.float32)
    return documents / np.linalg.norm(documents, axis=1, keepdims=True), embedder.encode_queries(questions)


@pytest.mark.parametrize("k", [10, 100, 1000])
def test_identical_on_real_vectors(real, k):
    """Near copies differ by less than bfloat16 can tell, so that only the bound and the rescoring keep them apart."""
    documents, queries = real
    ids = [f"{i:05d}" for i in range(len(documents))]
    hits = {kind: ExactSearcher.of(ids, documents, **options).search(queries, k) for kind, options in KINDS.items()}
    assert hits["torch bfloat16"] == hits["torch float32"] == hits["numpy"]
    for row, query in enumerate(queries):
        assert [hit.id for hit in hits["numpy"][row]] == full_sort(ids, documents, query, k)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [3, 384, 1024])
def test_scores_keep_within_the_stated_error(kind, dim):
    """Also where every rounding goes the same way: values just above or below the middle of two bfloat16 numbers."""
    rng = np.random.default_rng(dim)
    biased = np.full((40, dim), 1 + 2.0**-8 + 2.0**-20, np.float32) * rng.choice([1, -1, 0.5], (40, 1))
    tile = np.concatenate([clustered(rng, 200, dim), biased.astype(np.float32), 7 * unit(rng, 9, dim)])
    queries = np.concatenate([unit(rng, 4, dim), biased[:2].astype(np.float32), np.zeros((1, dim), np.float32)])
    options = KINDS[kind]
    scorer = TorchScorer(device="cpu", dtype=options["dtype"]) if "dtype" in options else NumpyScorer()
    scorer.begin(queries)
    error = scorer.error(*scorer.longest(0, tile))
    found, scores = scorer.above(0, tile, np.full(len(queries), scorers.LOWEST, np.float32))
    assert found.tolist() == list(range(len(queries) * len(tile)))
    scores = scores.reshape(len(queries), -1).astype(np.float64)
    true = queries.astype(np.float64) @ tile.T.astype(np.float64)
    assert (np.abs(scores - true) <= error.absolute[:, None] + error.relative * np.abs(scores)).all()
    assert (error.absolute[:4] < (0.2 if kind == "torch bfloat16" else 1e-2)).all()  # and the bound is worth having


@given(
    kth=st.floats(-1, 1, width=32), absolute=st.floats(0, 0.01), relative=st.sampled_from([0, 1 / 255]),
    score=st.floats(-1, 1, width=32),
)  # fmt: skip
def test_nothing_below_the_cut_can_be_among_the_best(kth, absolute, relative, score):
    cut = scorers.Error(np.array([absolute]), relative).cut(np.array([kth], np.float32))[0]
    if score < cut:
        assert score + absolute + relative * abs(score) < kth - absolute - relative * abs(kth)


@pytest.mark.parametrize("kind", KINDS)
def test_more_ties_than_room(kind, monkeypatch):
    small_tiles(monkeypatch, 8)
    vectors = np.tile(np.array([[0.6, 0.8]], np.float32), (400, 1))
    vectors[200:203] = [0.8, 0.6]
    ids = [f"{i:03d}" for i in np.random.default_rng(0).permutation(400)]
    exclude = [{"000", ids[201]}]
    hits = ExactSearcher.of(ids, vectors, **KINDS[kind]).search(np.array([0.8, 0.6], np.float32), 5, exclude)[0]
    assert [hit.id for hit in hits] == full_sort(ids, vectors, np.array([0.8, 0.6], np.float32), 5, exclude[0])


def test_memory_mapped_vectors_and_later_additions(tmp_path):
    rng = np.random.default_rng(3)
    vectors, queries = unit(rng, 300, 8), unit(rng, 20, 8)
    ids = [str(i) for i in range(300)]
    first = ExactSearcher.of(ids[:200], vectors[:200])
    first.save(tmp_path)
    opened = ExactSearcher.load(tmp_path, **KINDS["torch bfloat16"])
    opened.search(queries, 3)
    opened.add(ids[200:], vectors[200:])
    assert [[hit.id for hit in hits] for hits in opened.search(queries, 9)] == [
        full_sort(ids, vectors, query, 9) for query in queries
    ]


def test_auto_imports_no_torch_and_uses_it_where_it_is():
    code = (
        "import sys, numpy as np, logging; logging.basicConfig(level='INFO', stream=sys.stdout)\n"
        "from reasonembed.model import hardware\n"
        "hardware.has_bf16 = lambda: True\n"  # before anything takes it
        "from reasonembed import ExactSearcher\n"
        "searcher = ExactSearcher(); searcher.add(['a', 'b'], np.eye(2))\n"
        "one = searcher.search(np.eye(2).repeat(8, 0), 1); assert 'torch' not in sys.modules\n"
        "import torch\n"
        "other = ExactSearcher(); other.add(['a', 'b'], np.eye(2))\n"
        "assert other.search(np.eye(2).repeat(8, 0), 1) == one; assert other.search(np.eye(2)[0], 1) == one[:1]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path.cwd(), check=False)
    assert done.returncode == 0, done.stderr
    names = [line.split("scores with ")[1].split(",")[0] for line in done.stdout.splitlines() if "scores with" in line]
    assert names[0] == "numpy float32"
    assert names[1].startswith("torch bfloat16")


def test_what_was_taken_is_logged(caplog):
    searcher = ExactSearcher(backend="numpy")
    searcher.add(["a"], np.ones((1, 2)))
    with caplog.at_level(logging.INFO, logger="reasonembed"):
        searcher.search(np.ones(2), 1)
    assert "scores with numpy float32" in caplog.text


def test_refusals():
    for options, message in (
        ({"backend": "faiss"}, "backend 'faiss' is unknown"),
        ({"dtype": "int8"}, "dtype 'int8' is unknown"),
        ({"backend": "numpy", "dtype": "bfloat16"}, "numpy scores float32 on the CPU"),
        ({"backend": "numpy", "device": "cuda"}, "numpy scores float32 on the CPU"),
    ):
        with pytest.raises(DataError, match=message):
            ExactSearcher(**options)
    searcher = ExactSearcher(device="nonsense")
    searcher.add(["a"], np.ones((1, 2)))
    with pytest.raises(DataError, match="device 'nonsense' is unknown"):
        searcher.search(np.ones(2), 1)
    with pytest.raises(DataError, match="longer than 1e19"):
        searcher.add(["b"], np.full((1, 2), 1e30))
