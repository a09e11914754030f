"""The export of the small model: same bytes twice, close to the original, same score on SciFact.

Needs REASONEMBED_MODELS=FOLDER with `reasonembed-mini` in it (`model/` of scripts/make_mini.py), and shared/data beside
the checkout or in REASONEMBED_DATA.
"""

from __future__ import annotations

import filecmp
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reasonembed import Embedder
from reasonembed.evaluation.metrics import score_run
from reasonembed.io.beir import read_beir
from reasonembed.io.jsonl import read_jsonl
from reasonembed.model import mini
from reasonembed.search.exact import ExactSearcher
from reasonembed.types import Run

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("REASONEMBED_DATA", ROOT.parent / "shared" / "data"))
TEXTS = {
    "scifact": "scifact/corpus.jsonl.gz",
    "theoremqa": "theoremqa/queries.jsonl.gz",
    "strategyqa_facts": "strategyqa_facts/corpus.jsonl.gz",
    "leetcode": "bright_leetcode/documents.jsonl.gz",
}
pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def original() -> Path:
    folder = os.environ.get("REASONEMBED_MODELS")
    if folder is None:
        pytest.skip("REASONEMBED_MODELS is not set")
    return Path(folder) / "reasonembed-mini"


def test_two_exports_and_the_committed_one_are_the_same_bytes(original, tmp_path):
    script = ROOT / "scripts" / "export_mini.py"
    for name, seed in (("a", "1"), ("b", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        command = [sys.executable, script, original, "-o", tmp_path / name]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    files = sorted(str(file.relative_to(tmp_path / "a")) for file in (tmp_path / "a").rglob("*") if file.is_file())
    assert "openvino/openvino_model.bin" in files
    for other in (tmp_path / "b", mini.path()):
        assert filecmp.cmpfiles(tmp_path / "a", other, files, shallow=False) == (files, [], [])
    assert not (tmp_path / "intel").exists()  # where openvino's telemetry would keep its state


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_vectors_stay_within_a_cosine_of_0_999(original, name):
    """Against Sentence Transformers on the original float32 weights."""
    from sentence_transformers import SentenceTransformer

    rows = [row for _, row in read_jsonl(DATA / TEXTS[name])]
    texts = [
        row.get("content") or f"{row.get('title', '')} {row['text']}".strip()
        for row in random.Random(0).sample(rows, 150)
    ]
    expected = SentenceTransformer(str(original), device="cpu").encode(texts)
    vectors = Embedder(dtype="float32").encode(texts)
    assert np.sum(vectors * expected, axis=1).min() >= 0.999


def test_scifact_stays_within_0_3_of_the_recorded_score():
    """71.6 nDCG@10: the graph that ships (docs/results.md)."""
    task = read_beir(DATA / "scifact")
    embedder, searcher = Embedder(), ExactSearcher()
    searcher.add([d.id for d in task.documents], embedder.encode_corpus([d.content for d in task.documents]))
    hits = searcher.search(embedder.encode_queries([query.text for query in task.queries]), 10)
    run = Run("mini", {query.id: tuple(found) for query, found in zip(task.queries, hits, strict=True)})
    assert 100 * score_run(run, task.qrels).means["ndcg@10"] == pytest.approx(71.6, abs=0.3)
