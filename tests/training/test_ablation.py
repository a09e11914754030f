"""scripts/ablation.py: variants and seeds are trained once, the start is scored under the recipe's settings, sets open one by one."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from statistics import fmean

import pytest
from training_small import small_settings, write_beir, write_samples

from reasonembed import Embedder
from reasonembed.errors import DataError
from reasonembed.io.manifest import read_json

SCRIPT = Path(__file__).parents[2] / "scripts" / "ablation.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("ablation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_ablation_of_two_losses_and_two_seeds(script, tiny, tmp_path, monkeypatch):
    pytest.importorskip("yaml")
    dev = write_beir(tmp_path / "dev")
    recipe = tmp_path / "small.yaml"
    told = {"optimiser": {"learning_rate": 1e-2, "steps": 1}, "instruction": "Find the lemma."}
    recipe.write_text(json.dumps(small_settings(tiny("qwen3"), write_samples(tmp_path / "toy.jsonl"), **told)))
    out = tmp_path / "out"
    values = ["--vary", "loss.name=infonce,ri_infonce", "--seeds", "1", "2", "--test", f"beir:{dev}:dev"]
    monkeypatch.setattr(sys, "argv", ["ablation.py", str(recipe), "-o", str(out), *values])
    script.main()
    results = read_json(out / "ablation.json")["results"]
    assert list(results) == ["start", "loss.name=infonce", "loss.name=ri_infonce"]
    label = "beir/dev (dev)"
    second = results["loss.name=ri_infonce"][label]
    assert second["mean"] == pytest.approx(fmean(second["seeds"]))
    first = results["loss.name=infonce"][label]["mean"]
    assert second["against loss.name=infonce"]["difference"] == pytest.approx(second["mean"] - first, abs=1e-9)
    settings = [read_json(path)["made_by"] for path in sorted(out.rglob("*.scores.json"))]
    assert len(settings) == 5
    said = {(one["instruction"], one["query_max_length"], one["document_max_length"]) for one in settings}
    assert len(said) == 1
    own = Embedder(tiny("qwen3")).checkpoint  # its lengths, though it was trained on 48 tokens
    assert said.pop()[1:] == (own.query_max_length, own.document_max_length)
    assert (out / "ablation.md").read_text().count("(p ") == 1


def test_a_folder_of_several_tasks_needs_a_name(script, tmp_path):
    assert script.open_test(f"beir:{write_beir(tmp_path / 'dev')}:dev").split == "dev"
    with pytest.raises(DataError, match=r"12 tasks.*name one"):
        script.open_test(f"bright:{tmp_path}")
