"""Weights of several trainings added to those of their start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SCRIPTS = Path(__file__).parents[1] / "scripts"


def model(folder, **tensors):
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def merge(*arguments):
    command = [sys.executable, str(SCRIPTS / "merge_weights.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_changes_are_added_by_their_weights_and_prefixes_are_seen_through(tmp_path):
    ids = torch.arange(3)
    start = model(tmp_path / "start", **{"layer.weight": torch.tensor([1.0, 2.0]), "ids": ids})
    one = model(tmp_path / "one", **{"bert.layer.weight": torch.tensor([2.0, 2.0]), "ids": ids + 1})
    two = model(tmp_path / "two", **{"layer.weight": torch.tensor([1.0, 6.0]), "ids": ids + 2})
    done = merge(start, "-o", tmp_path / "out", f"{one}=0.8", f"{two}=0.5")
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "out/model.safetensors")
    torch.testing.assert_close(found["layer.weight"], torch.tensor([1.8, 4.0]))
    assert torch.equal(found["ids"], ids)
    assert (tmp_path / "out/config.json").is_file()


def test_weights_of_another_model_are_refused(tmp_path):
    start = model(tmp_path / "start", **{"layer.weight": torch.ones(2)})
    other = model(tmp_path / "other", **{"layer.weight": torch.ones(3)})
    done = merge(start, "-o", tmp_path / "out", f"{other}=0.5")
    assert done.returncode != 0
    assert "layer.weight is missing or has another shape" in done.stderr
    assert not (tmp_path / "out").exists()
