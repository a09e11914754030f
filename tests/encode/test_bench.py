"""Measuring engines and dtypes: the default ways, cosines against vectors made here, no process left behind."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from reasonembed import Embedder
from reasonembed.encode.bench import bench, default_ways, packaged_texts
from reasonembed.errors import DataError
from reasonembed.model import mini
from reasonembed.model.checkpoint import open_checkpoint

TEXTS = ["an eigenvector keeps its direction", "rain is expected", "the determinant of a product " * 12]


def test_default_ways_are_those_the_directory_has_weights_for(tiny_qwen3):
    assert default_ways(open_checkpoint(mini.path())) == ("openvino:float32", "openvino:bfloat16")
    assert default_ways(open_checkpoint(tiny_qwen3)) == ("torch:float32", "torch:bfloat16")


def test_cosines_are_those_of_the_vectors_of_the_two_dtypes(tiny_qwen3):
    first, second = bench(tiny_qwen3, TEXTS, rounds=2, device="cpu")
    exact, rough = (
        Embedder(tiny_qwen3, device="cpu", dtype=dtype).encode_corpus(TEXTS) for dtype in (first.dtype, second.dtype)
    )
    cosines = [float(np.dot(a.astype(float), b.astype(float))) for a, b in zip(exact, rough, strict=True)]
    assert (first.dtype, second.dtype) == ("float32", "bfloat16")
    assert min(cosines) < 0.999999  # else the comparison below would show nothing
    assert second.lowest_cosine == pytest.approx(min(cosines), abs=2e-4)
    assert second.mean_cosine == pytest.approx(np.mean(cosines), abs=2e-4)
    assert (len(first.runs), len(second.runs)) == (2, 2)
    assert not multiprocessing.active_children()


def test_a_way_that_cannot_run_is_a_row_and_leaves_no_process(tiny_qwen3):
    (failed,) = bench(tiny_qwen3, TEXTS, ways=["openvino:float32"], rounds=1)
    assert "no OpenVINO graph" in failed.problem
    assert failed.runs == ()
    assert not multiprocessing.active_children()


def test_packaged_texts_are_theorems_then_questions():
    texts = packaged_texts(354 + 747)
    assert len(set(texts[:354])) == 354
    assert all(text.strip() for text in texts)
    for n in (0, 354 + 747 + 1):
        with pytest.raises(DataError, match="in the package"):
            packaged_texts(n)


def test_nothing_to_measure_is_refused(tiny_qwen3):
    for texts, rounds in (([], 3), (TEXTS, 0)):
        with pytest.raises(DataError, match="measure nothing"):
            bench(tiny_qwen3, texts, rounds=rounds)
