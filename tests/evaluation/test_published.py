"""Published rows: complete, consistent with their own averages, found under the names models have."""

from __future__ import annotations

import pytest

from reasonembed.errors import DataError
from reasonembed.evaluation.published import PUBLISHED, find_published, published_score

FULL = [row for row in PUBLISHED if row.scores]


@pytest.mark.parametrize("row", FULL, ids=lambda row: f"{row.benchmark}-{row.model}-{row.queries}")
def test_the_average_is_the_mean_of_the_tasks(row):
    decimals = 0.05 if row.benchmark == "bright" else 0.005
    assert len(row.scores) == (12 if row.benchmark == "bright" else 8)
    assert sum(row.scores.values()) / len(row.scores) == pytest.approx(row.average, abs=2 * decimals + 1e-9)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("hanhainebula/reason-embed-qwen3-8b-0928", "ReasonEmbed-Qwen3-8B"),
        ("/models/reason-embed-basic-qwen3-4b-0928/", "ReasonEmbed-Basic-Qwen3-4B"),
        ("BAAI/bge-reasoner-embed-qwen3-8b-0923", "ReasonEmbed-Basic-Qwen3-8B"),
        ("qwen/Qwen3-Embedding-4B", "Qwen3-Embedding-4B"),
        ("bm25", "BM25"),
        ("bm25-lucene", "BM25"),
    ],
)
def test_models_are_found_under_their_names(name, model):
    assert find_published(name, "bright").model == model


def test_known_figures():
    best = find_published("ReasonEmbed-Qwen3-8B", "bright")
    assert (best.average, published_score(best, "earth-science")) == (38.1, 56.6)
    assert published_score(find_published("ReasonEmbed-Qwen3-8B", "r2med"), "medical_sciences") == 67.64
    assert find_published("BM25", "bright", queries="gpt4_reason").average == 27.0
    assert find_published("BM25", "r2med").scores == {}
    assert published_score(best, "scifact") is None


def test_unknown_rows_are_refused_with_the_list():
    with pytest.raises(
        DataError,
        match=r"no published bright row of 'sentence-transformers/all-MiniLM-L6-v2'.*BM25; OpenAI-3-Large",
    ):
        find_published("sentence-transformers/all-MiniLM-L6-v2", "bright")
    with pytest.raises(DataError, match="bright and r2med have published rows"):
        find_published("BM25", "beir")
