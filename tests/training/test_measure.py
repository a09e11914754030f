"""Intensity without training: against plain numpy over `encode_*`, every sample once, the summary by hand, the page escaped."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from training_small import sample_rows, small_config

from reasonembed import Embedder
from reasonembed.errors import DataError
from reasonembed.io.jsonl import read_jsonl
from reasonembed.io.manifest import read_json
from reasonembed.training.data import open_datasets
from reasonembed.training.intensity_report import histogram_lines, write_measurement
from reasonembed.training.measure import (
    QueryIntensity,
    bin_labels,
    extremes,
    fixed_intensities,
    measure_intensity,
    summarise,
)

EVIL = '</p></style><script>alert("x")</script><img src=x onerror=alert(1)>{title}'


def opened(tmp_path, model, rows, **told):
    path = tmp_path / "toy.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = small_config(model, path, **told)
    return (
        open_datasets(config, tmp_path / "work"),
        Embedder(model, engine="torch", device="cpu", dtype="float32"),
        config,
    )


def plain_losses(queries, passages, group, temperature):
    """InfoNCE in float64: (Q, dim), (Q * group, dim) -> (Q,)."""
    scores = queries.astype(np.float64) @ passages.astype(np.float64).T / temperature
    return [math.log(np.exp(row - row[i * group]).sum()) for i, row in enumerate(scores)]


def test_figures_are_those_of_plain_numpy(tmp_path, tiny):
    # one positive and as many negatives as a group takes: nothing is left to draw, and the batch is the whole file
    rows = [{**row, "pos": row["pos"][:1], "neg": row["neg"][:3]} for row in sample_rows(8)]
    del rows[5]["reasoning_query"]
    datasets, embedder, config = opened(tmp_path, tiny("qwen3"), rows)
    found = measure_intensity(datasets, embedder, config, progress=False)
    passages = embedder.encode_corpus([text for row in rows for text in (*row["pos"], *row["neg"])], max_length=48)
    queries = embedder.encode_queries([row["query"] for row in rows], max_length=48)
    reasoning = embedder.encode_queries([row.get("reasoning_query", "") for row in rows], max_length=48)
    losses, reasoned = (plain_losses(vectors, passages, 4, 0.05) for vectors in (queries, reasoning))
    assert [row.sample for row in found] == [f"toy:{line}" for line in range(1, 9)]
    for place, (row, loss, other) in enumerate(zip(found, losses, reasoned, strict=True)):
        assert row.loss == pytest.approx(loss, rel=1e-3, abs=1e-5)
        if place == 5:
            assert (row.reasoning_loss, row.intensity) == (None, None)
        else:
            assert row.reasoning_loss == pytest.approx(other, rel=1e-3, abs=1e-5)
            assert row.intensity == pytest.approx(loss / (other + 1e-6), rel=5e-3)
    assert fixed_intensities(found) == {row.sample: row.intensity for row in found if row.sample != "toy:6"}


def test_what_an_epoch_drops_is_measured_too_and_others_as_training_sees_them(tmp_path, tiny):
    model = tiny("qwen3")
    datasets, embedder, config = opened(tmp_path, model, sample_rows(21))
    found = measure_intensity(datasets, embedder, config, progress=False)
    assert [row.sample for row in found] == [f"toy:{line}" for line in range(1, 22)]
    assert len({row.loss for row in found}) == 21
    assert measure_intensity(datasets, embedder, config, progress=False) == found


def test_without_any_reasoning_query(tmp_path, tiny):
    rows = [{key: value for key, value in row.items() if key != "reasoning_query"} for row in sample_rows(8)]
    datasets, embedder, config = opened(tmp_path, tiny("qwen3"), rows)
    with pytest.raises(DataError, match="no sample has a reasoning_query"):
        measure_intensity(datasets, embedder, config, progress=False)


ROWS = [
    QueryIntensity("a:1", 2.0, 0.2, 10.0),
    QueryIntensity("a:2", 3.0, 0.3, 10.0),
    QueryIntensity("a:3", 1.0, 1.0, 1.0),
    QueryIntensity("b:1", 0.01, 0.1, 0.1),
    QueryIntensity("b:2", 1.0, None, None),
]


def test_the_summary_by_hand():
    made = summarise(ROWS)
    assert (made.queries, made.without_reasoning, made.kappa) == (4, 1, 5.0)
    assert (made.at_clamp, made.helped, made.open, made.open_intensity) == (0.5, 0.5, 0.75, 10.0)
    assert {label: count for label, count in made.bins.items() if count} == {"0–0.25": 1, "0.9–1.1": 1, "≥ 5": 2}
    assert made.quantiles["loss"][2] == 1.5
    assert made.datasets["b"] == {
        "queries": 1, "median_loss": 0.01, "median_reasoning_loss": 0.1, "median_intensity": 0.1, "at_clamp": 0.0,
    }  # fmt: skip
    assert "75% of the queries" in made.reading
    assert [line.split()[-1] for line in histogram_lines(made)][-1] == "█" * 40
    assert len(bin_labels()) == 10


@pytest.mark.parametrize(
    ("loss", "intensity", "said"),
    [
        (1, 3, "much easier to find"), (1, 1.2, "helps this model a little"), (1, 1.0, "does not help"),
        (1, 0.5, "harder to find"), (0.001, 9, "finds all positives"),
    ],
)  # fmt: skip
def test_what_is_read_in_it(loss, intensity, said):
    assert said in summarise([QueryIntensity("a:1", loss, loss / intensity, intensity)]).reading


def test_extremes_and_a_page_that_injects_nothing(tmp_path, tiny):
    samples = [{**row, "query": f"{EVIL} {row['query']}"} for row in sample_rows(8)]
    datasets, _, config = opened(tmp_path, tiny("qwen3"), samples)
    rows = [QueryIntensity(f"toy:{n}", float(n), 1.0, float(n)) for n in range(1, 8)] + [
        QueryIntensity("toy:8", 1, None, None)
    ]
    hardest, easiest = extremes(rows, datasets, count=2)
    assert [example.row.sample for example in hardest] == ["toy:7", "toy:6"]  # both at the clamp: the larger loss first
    assert [example.row.sample for example in easiest] == ["toy:1", "toy:2"]
    assert hardest[0].sample.query == samples[6]["query"]
    page = write_measurement(
        tmp_path / "out", rows, summarise(rows), (hardest, easiest), made_by=config.model_dump(mode="json")
    )
    html = page.read_text("utf-8")
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") == 4
    assert [row["sample"] for _, row in read_jsonl(tmp_path / "out/intensity.jsonl")] == [row.sample for row in rows]
    assert read_json(tmp_path / "out/manifest.json")["without_reasoning"] == 1
