"""`reasonembed train`, `merge`, `intensity`: the whole way with a tiny model, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from training_small import small_settings, write_samples
from typer.testing import CliRunner

from reasonembed import Embedder
from reasonembed.cli import app
from reasonembed.io.manifest import read_json

runner = CliRunner()


@pytest.fixture
def recipe(tmp_path, tiny):
    pytest.importorskip("yaml")
    data = write_samples(tmp_path / "toy.jsonl")
    told = {"optimiser": {"learning_rate": 1e-2, "steps": 2}, "save": {"every": 1}, "lora": {"r": 4, "alpha": 8}}
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(small_settings(tiny("qwen3"), data, **told)))  # JSON is YAML
    return path


def run(*arguments, code=0):
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_train_then_merge_gives_the_same_model(tmp_path, recipe):
    out = tmp_path / "run"
    shown = run("train", recipe, "-o", out).stdout
    assert shown.startswith("2 steps, last loss ")
    assert f"model:  {out}/model" in shown
    assert "<svg" in (out / "report.html").read_text()
    again = json.loads(run("train", recipe, "-o", out, "--json").stdout)
    assert (again["steps"], again["model"], again["report"]) == (2, f"{out}/model", f"{out}/report.html")
    run("merge", out / "checkpoints/checkpoint-2", "-o", tmp_path / "merged")
    texts = ["lemma of bal", "the query finds a document"]
    ours, merged = (Embedder(place, dtype="float32").encode(texts) for place in (out / "model", tmp_path / "merged"))
    assert np.allclose(ours, merged, atol=1e-5)


def test_values_of_the_command_line_go_before_the_recipes(tmp_path, recipe, tiny):
    other = write_samples(tmp_path / "other.jsonl", n=24)
    out = tmp_path / "run"
    told = (
        "--data",
        other,
        "--model",
        tiny("bert"),
        "--set",
        "loss.name=ri_infonce",
        "--set",
        "optimiser.learning_rate=2e-5",
    )
    made = json.loads(run("train", recipe, "-o", out, *told, "--set", "optimiser.steps=1", "--json").stdout)
    settings = read_json(out / "manifest.json")["settings"]
    assert made["steps"] == 1
    assert settings["data"][0]["path"] == str(other)
    assert settings["model"] == str(tiny("bert"))
    assert settings["loss"] == {"name": "ri_infonce", "temperature": 0.05}
    assert settings["optimiser"]["learning_rate"] == 2e-5


@pytest.mark.parametrize(
    ("change", "said"), [("steps", "is no KEY=VALUE"), ("optimiser.step=1", "optimiser.step"), ("a=[", "not YAML")]
)
def test_changes_that_are_wrong(tmp_path, recipe, change, said):
    refused = run("train", recipe, "-o", tmp_path / "run", "--set", change, code=1)
    assert said in str(refused.exception)
    assert not (tmp_path / "run").exists()


def test_merge_of_what_is_none(tmp_path):
    assert "adapter_config.json" in str(run("merge", tmp_path, "-o", tmp_path / "out", code=1).exception)


def test_intensity(tmp_path, tiny):
    data = write_samples(tmp_path / "toy.jsonl", n=20)
    told = ("--model", tiny("bert"), "--engine", "torch", "--set", "batch.queries=8", "--set", "batch.group=3")
    shown = run("intensity", data, "-o", tmp_path / "a", *told).stdout
    assert "≥ 5" in shown
    assert f"report: {tmp_path}/a/report.html" in shown
    made = json.loads(run("intensity", data, "-o", tmp_path / "b", *told, "--json").stdout)
    assert (made["queries"], sum(made["bins"].values())) == (20, 20)
    manifest = read_json(tmp_path / "b/manifest.json")
    assert manifest["made_by"]["settings"]["lengths"] == {
        "query": 128,
        "passage": 128,
        "reasoning": 128,
    }  # what the model takes
    assert (tmp_path / "a/intensity.jsonl").read_bytes() == (tmp_path / "b/intensity.jsonl").read_bytes()


def test_intensity_takes_the_clamp_that_is_set(tmp_path, tiny):
    data = write_samples(tmp_path / "toy.jsonl", n=8)
    told = ("--model", tiny("bert"), "--engine", "torch", "--set", "batch.queries=8", "--set", "loss.kappa=1e-9")
    made = json.loads(run("intensity", data, "-o", tmp_path / "a", *told, "--json").stdout)
    assert (made["kappa"], made["at_clamp"]) == (1e-9, 1.0)


def test_intensity_of_less_than_a_batch(tmp_path, tiny):
    data = write_samples(tmp_path / "toy.jsonl")
    refused = run("intensity", data, "-o", tmp_path / "a", "--model", tiny("bert"), code=1)
    assert "16 samples, fewer than the 64 queries" in str(refused.exception)
