"""Fixtures shared by all tests: offline always, tiny random models built once a session."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # a worker and the processes that its tests start take their share of the cores
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))
sys.path.insert(0, str(Path(__file__).parent))

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def tiny_qwen3() -> Path:
    """The committed random Qwen3: last token, EOS appended by its template, plain Transformers layout."""
    return DATA / "tiny-qwen3"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A function: architecture -> folder of a tiny random model, built once."""
    from tiny import build

    root, built = tmp_path_factory.mktemp("tiny"), {}

    def folder(kind: str) -> Path:
        if kind not in built:
            built[kind] = build(root / kind, kind)
        return built[kind]

    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache of embeddings."""
    monkeypatch.setenv("REASONEMBED_CACHE", str(tmp_path / "cache"))
