from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from adaptation_small import documents, pairs

from reasonembed import Embedder

ROOT = Path(__file__).parents[1]
WAYS = ("flagembedding_style", "sentence_transformers_style", "transformers_style", "embedder")


def run(name: str, *arguments: str | Path, **environment: str) -> str:
    """What an example prints."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return done.stdout


def printed(name: str, *arguments: str) -> np.ndarray:
    """The matrix that an example prints."""
    return np.array(json.loads(run(name, *arguments)))


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


def test_a_folder_is_indexed_and_asked(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/bread.md").write_text("# Bread\n\nYeast turns sugar into carbon dioxide, and the dough rises.\n")
    (tmp_path / "docs/tides.md").write_text("# Tides\n\nThe Moon pulls the sea, which rises twice a day.\n")
    asked = (tmp_path / "docs", tmp_path / "index", "Why are there bubbles in my loaf?")
    first = run("search_folder", *asked)
    assert first.split()[2].startswith("docs/bread.md")
    assert run("search_folder", *asked) == first


def test_two_retrievers_are_compared_question_by_question(tmp_path):
    scores, difference = run("compare_with_bm25", REASONEMBED_CACHE=str(tmp_path)).splitlines()
    assert scores.startswith("reasonembed-mini ")
    assert float(difference.split()[1].rstrip(",")) > 5


def test_a_model_is_tuned_on_pairs_and_says_whether_it_helps(tmp_path, tiny):
    docs, table = documents(tmp_path / "docs", 80), pairs(tmp_path / "pairs.csv", 80)
    cache = {"REASONEMBED_CACHE": str(tmp_path / "cache")}
    said = run("tune_on_pairs", docs, table, tmp_path / "run", tiny("bert"), **cache)
    assert "nDCG@10" in said
    assert (tmp_path / "run/report.html").is_file()


def test_every_example_is_run_here():
    said = Path(__file__).read_text("utf-8")
    for example in (ROOT / "examples").glob("*.py"):
        assert example.stem == "questions" or f'"{example.stem}"' in said
