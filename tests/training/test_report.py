"""The report of a training: curves from the log's own numbers, unfinished and old runs, every text escaped."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest

from reasonembed.errors import DataError
from reasonembed.io.manifest import write_json
from reasonembed.pages.charts import lines
from reasonembed.training.report import write_report

EVIL = "</p><script>alert(1)</script>"


def step(number, **more):
    return {
        "step": number, "epoch": 0, "dataset": "even" if number % 2 == 0 else EVIL, "loss": 10 / number, "objective": 9 / number,
        "learning_rate": 1e-4, "grad_norm": 1.0, "tokens": 1000, "seconds": 0.5, "tokens_per_second": 2000.0, **more,
    }  # fmt: skip


def run(folder, rows, **more):
    settings = {"name": f"tiny {EVIL}", "loss": {"name": "ri_infonce", "start_step": 3}}
    write_json(folder / "manifest.json", {"settings": settings, "versions": {"torch": "2.0"}, **more})
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return write_report(folder).read_text("utf-8")


def drawn(html, label):
    """Points of the lines of a chart, in the units of the drawing."""
    svg = next(svg for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL) if f'aria-label="{label}"' in svg)
    lines = [item for item in ET.fromstring(svg) if item.tag.endswith("polyline")]
    return [[tuple(map(float, point.split(","))) for point in line.get("points").split()] for line in lines]


def test_curves_and_figures(tmp_path):
    rows = [{"step": 0, "scores": {"dev": 0.1}, "mean": 0.1}]
    rows += [step(n, reasoning_loss=1.0, intensity_median=2.0, at_clamp=0.25) for n in range(1, 11)]
    rows += [{"step": 10, "scores": {"dev": 0.4}, "mean": 0.4}]
    html = run(tmp_path, rows, finished="2026-01-01")
    assert "10 steps, 10,000 tokens, 5.0 s of steps; last loss 1.0000; best mean dev score 40.0 after step 10." in html
    loss, optimised, reasoning = drawn(html, "Loss by step")
    assert len(loss) == 10
    assert loss[0][1] == pytest.approx(12, abs=0.1)  # 10, the highest
    assert loss[9][1] == pytest.approx(130 - 118 * 0.1, abs=0.1)
    assert len({y for _, y in reasoning}) == 1
    assert optimised[0][1] > loss[0][1]
    assert drawn(html, "Dev scores by step")[0][0][1] == pytest.approx(130)  # the least stands at the bottom
    assert "count after 3 steps" in html
    assert "clamped at 5" in html
    assert "<script" not in html
    assert "default-src 'none'" in html


def test_a_long_training_has_few_points_and_the_same_mean(tmp_path):
    html = run(tmp_path, [step(n) for n in range(1, 1001)])
    (rate,) = drawn(html, "Gradient norm by step")
    assert len(rate) == 150
    assert "Reasoning intensity" not in html
    assert "; not finished." in html


def test_a_run_that_has_only_begun_and_what_is_none(tmp_path):
    assert "No step yet." in run(tmp_path, [])
    with pytest.raises(DataError, match=r"manifest\.json is missing"):
        write_report(tmp_path / "none")


def test_lines_leave_out_what_is_not_finite():
    html = lines({"a": [(0, 1.0), (1, float("nan")), (2, 3.0)], EVIL: []}, title="t")
    (first, second) = drawn(html, "t")[0]
    assert (first[0], second[0]) == (44, 354)
    assert "<script" not in html
