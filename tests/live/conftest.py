"""Where real weights and data lie; a live test without them is skipped with the command that fetches them."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models() -> Path:
    """Folder that `fetch_models.py` filled."""
    folder = os.environ.get("REASONEMBED_MODELS")
    if not folder:
        pytest.skip("REASONEMBED_MODELS is not set: see tests/live/README.md")
    return Path(folder)


@pytest.fixture(scope="session")
def data() -> Path:
    """The data folder."""
    folder = Path(os.environ.get("REASONEMBED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is no folder: set REASONEMBED_DATA")
    return folder


@pytest.fixture(scope="session")
def real_texts(data) -> list[str]:
    """Real texts, short and long: SciFact abstracts, TheoremQA questions and theorems, LeetCode problems."""
    files = [("scifact/corpus", "text", 12), ("theoremqa/queries", "text", 12)]
    files += [("theoremqa/corpus", "text", 6), ("bright_leetcode/documents", "content", 6)]
    texts = []
    for name, field, count in files:
        with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)[field] for line, _ in zip(lines, range(count), strict=False)]
    return texts
