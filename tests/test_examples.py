from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reasonembed import Embedder

ROOT = Path(__file__).parents[1]
WAYS = ("flagembedding_style", "sentence_transformers_style", "transformers_style", "embedder")


def printed(name: str, *arguments: str) -> np.ndarray:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return np.array(json.loads(done.stdout))


@pytest.fixture(scope="module")
def saved(tiny_qwen3, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples") / "tiny"
    Embedder(tiny_qwen3, dtype="float32").save(folder)
    return folder


def test_all_ways_print_the_same_matrix(saved):
    matrices = [printed(name, str(saved)) for name in WAYS]
    assert matrices[0].shape == (2, 2)
    for matrix in matrices[1:]:
        assert np.abs(matrix - matrices[0]).max() <= 1.01e-4  # printed to four decimals


def test_the_default_model_finds_both_documents():
    assert printed("embedder").argmax(axis=1).tolist() == [0, 1]
