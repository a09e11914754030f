"""The parts of benchmarks/encode.py that decide a figure: texts, padding, medians, ratios, a real worker's answers."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from encoding import corpora, harness, report
from encoding.peers import Setup

from reasonembed import Embedder

MACHINE = {"gflops": {"float32": {"a": 50.0, "b": 100.0}}, "linear_flops_per_token": 2_000_000}


def test_texts_are_seeded_and_have_the_lengths_they_are_said_to_have():
    texts, said = corpora.bright_texts(300, folder=None, seed=3)
    assert texts == corpora.bright_texts(300, folder=None, seed=3)[0]
    assert texts != corpora.bright_texts(300, folder=None, seed=4)[0]
    lengths = np.array([len(text) for text in texts])
    assert corpora.CHARS[0] / 2 <= lengths.min()
    assert lengths.max() <= corpora.CHARS[1]
    documents = sum(subset.documents for subset in corpora.BRIGHT)
    mean = sum(subset.documents * subset.mean_chars for subset in corpora.BRIGHT) / documents
    assert 0.75 * mean < lengths.mean() < 1.3 * mean  # 853 characters; the spread of a mean of 300 is about 0.1
    assert "theoremqa" in said


def test_padding_is_what_a_loop_over_batches_pads():
    lengths = list(np.random.default_rng(0).integers(1, 300, 77))
    padded = 0
    for start in range(0, 77, 32):
        part = lengths[start : start + 32]
        padded += max(part) * len(part)
    found = corpora.describe(lengths)
    assert found["padding_batch32_input_order"] == pytest.approx(padded / sum(lengths), abs=1e-3)
    assert found["padding_batch32_sorted"] < found["padding_batch32_input_order"]
    assert (found["tokens"], found["max"]) == (sum(lengths), max(lengths))


def test_the_median_is_over_undisturbed_runs_where_there_are_three():
    row = harness.Row("x", seconds=[1.0, 2.0, 3.0, 100.0], cpu_s=[1.0] * 4, others=[0.0, 0.01, 0.02, 0.5])
    assert (row.median, row.disturbed) == (2.0, False)
    busy = harness.Row("x", seconds=[1.0, 2.0, 30.0], cpu_s=[1.0] * 3, others=[0.0, 0.01, 0.5])
    assert (busy.median, busy.disturbed) == (2.0, True)
    assert math.isnan(harness.Row("x").median)


def test_ratios_and_shares_and_the_row_that_did_not_run(tmp_path):
    plan = harness.Plan(Setup("m", 16, "mean"), ["a", "b"], 1000, 3, {}, tmp_path)
    base = harness.Row(report.REFERENCE, dtype="float32", seconds=[4.0] * 3, cpu_s=[8.0] * 3, others=[0.0] * 3)
    fast = harness.Row("fast", dtype="float32", seconds=[1.0] * 3, cpu_s=[1.0] * 3, others=[0.0] * 3)
    gone = harness.Row("gone", problem="not installed: x")
    rows = [report.as_dict(row, plan, report.baseline_of([base, fast]), MACHINE) for row in (base, fast, gone)]
    assert (rows[1]["ratio"], rows[1]["cpu_ratio"], rows[1]["tokens_per_s"]) == (4.0, 8.0, 1000.0)
    assert rows[1]["peak_share"] == pytest.approx(1000 * 2e6 / 100e9)  # of the better shape
    lines = report.markdown(rows).splitlines()
    assert lines[2].startswith("| fast |")  # the fastest first
    assert "not installed: x" in lines[4]
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_a_place_in_a_document_is_filled_again_and_again(tmp_path):
    document = tmp_path / "p.md"
    document.write_text("a\n<!-- encode:x -->\nold\n<!-- end -->\nb\n<!-- encode:y -->\nkept\n<!-- end -->\n")
    for text in ("one", "two"):
        assert report.fill(document, "x", text)
    assert document.read_text() == "a\n<!-- encode:x -->\ntwo\n<!-- end -->\nb\n<!-- encode:y -->\nkept\n<!-- end -->\n"
    assert not report.fill(document, "z", "t")


def test_a_worker_encodes_and_one_without_its_graph_says_so(tmp_path):
    texts = ["an eigenvector keeps its direction", "rain"]
    plan = harness.Plan(Setup("unused", 32, "mean"), texts, 10, 2, {"own": sys.executable}, tmp_path)
    names = ["reasonembed shipped int8", "reasonembed openvino float32", "sentence-transformers onnx"]
    ran, without, missing = harness.compare(plan, names, {}, reference=names[0])
    assert (ran.problem, len(ran.seconds), ran.dtype) == ("", 2, "int8")
    assert 50 < ran.peak_mb < 4000
    stored = np.load(tmp_path / "reasonembed-shipped-int8.npy", allow_pickle=False)
    cosines = (stored * Embedder(max_length=32).encode_corpus(texts)).sum(1)
    assert cosines.min() == pytest.approx(1, abs=1e-5)
    assert "no OpenVINO graph" in without.problem
    assert missing.problem == "not installed: give --st-onnx-python"
