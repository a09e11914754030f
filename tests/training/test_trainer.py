from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from training_small import small_config, small_settings, write_beir, write_samples

from reasonembed import Embedder
from reasonembed.errors import ModelError
from reasonembed.evaluation.runner import evaluate
from reasonembed.io.beir import read_beir
from reasonembed.training import trainer
from reasonembed.training.backbone import open_trainable
from reasonembed.training.checkpoints import checkpoints, drop_unfinished, finish_checkpoint, last_checkpoint
from reasonembed.training.config import EvaluateConfig, SaveConfig, TaskConfig
from reasonembed.training.evaluating import dev_scores, open_tasks, waited
from reasonembed.training.log import TrainingLog, read_log
from reasonembed.training.run import train

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path):
    return write_samples(tmp_path / "toy.jsonl")


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_log(run / "log.jsonl") if "loss" in row]


# --- learning ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("bert", {"dtype": "auto"}),
        (
            "qwen3",
            {"lora": {"r": 8, "alpha": 16}, "loss": {"name": "ri_infonce", "start_step": 5, "temperature": 0.05}},
        ),
    ],
)
def test_training_lowers_the_loss_and_raises_the_dev_score(tiny, data, tmp_path, kind, told):
    dev = write_beir(tmp_path / "dev")
    optimiser = {"learning_rate": 1e-2, "epochs": 20}
    evaluated = {"tasks": [{"path": str(dev)}], "every": 20}
    config = small_config(
        tiny(kind), data, optimiser=optimiser, evaluate=evaluated, dropout=0.0, instruction="", **told
    )
    result = train(config, tmp_path / "run", progress=False)
    found = losses(tmp_path / "run")
    assert result.steps == len(found) == 40
    assert np.mean(found[-4:]) < 0.5 * np.mean(found[:4])
    rows = [row for row in read_log(tmp_path / "run" / "log.jsonl") if "scores" in row]
    assert [row["step"] for row in rows] == [0, 20, 40]
    assert rows[-1]["mean"] > rows[0]["mean"] + 0.2
    assert result.best == max(row["mean"] for row in rows)
    embedder = Embedder(result.model, dtype="float32")
    again = evaluate(read_beir(dev, split="dev"), embedder, instruction="", cache=False)
    assert again.headline == pytest.approx(result.best, abs=0.05)


def test_the_row_of_a_step_says_what_happened(tiny, data, tmp_path):
    loss = {"name": "ri_infonce", "start_step": 0, "temperature": 0.05}
    config = small_config(
        tiny("bert"), data, loss=loss, optimiser={"learning_rate": 1e-3, "warmup": 0.5, "epochs": 9, "steps": 4}
    )
    train(config, tmp_path / "run", progress=False)
    rows = read_log(tmp_path / "run" / "log.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["epoch"] for row in rows] == [0, 0, 1, 1]
    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [0, 5e-4, 1e-3, 5e-4]
    )  # up over 2 steps, then down to 0
    wanted = {
        "loss", "ri_loss", "reasoning_loss", "intensity_min", "intensity_median", "intensity_mean", "intensity_max", "at_clamp",
        "objective", "grad_norm", "tokens", "cut", "seconds", "tokens_per_second", "dataset",
    }  # fmt: skip
    assert wanted <= rows[0].keys()
    assert rows[0]["objective"] == pytest.approx(rows[0]["ri_loss"], rel=1e-6)
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))


# --- stops and goes on ---------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys, json
from pathlib import Path
import torch
from reasonembed.training import trainer
from reasonembed.training.config import parse_train_config
from reasonembed.training.run import train
torch.set_num_threads(1)
finish = trainer.finish_checkpoint
def killed(path, **told):
    if path.name == "checkpoint-6":  # all its files are there but the marker
        os.kill(os.getpid(), signal.SIGKILL)
    finish(path, **told)
trainer.finish_checkpoint = killed
train(parse_train_config(json.loads(sys.argv[1])), sys.argv[2], progress=False)
"""


def stopping(folder: Path, **lora) -> dict:
    """A recipe with all that draws random numbers, which keeps a state, or that is decided over several steps."""
    loss = {"name": "ri_infonce", "start_step": 2, "temperature": 0.05}
    dev = {"tasks": [{"path": str(write_beir(folder / "dev"))}], "every": 2}
    return {"loss": loss, "lora": lora or None, "dropout": 0.2, "save": {"every": 3}, "evaluate": dev}


def assert_same_training(one: Path, other: Path) -> None:
    changing = ("seconds", "tokens_per_second")
    rows = [
        [{k: v for k, v in row.items() if k not in changing} for row in read_log(run / "log.jsonl")]
        for run in (one, other)
    ]
    assert rows[0] == rows[1]
    weights = [load_file(run / "model" / "model.safetensors") for run in (one, other)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_killed_training_goes_on_as_if_nothing_had_happened(tiny, data, tmp_path):
    told = stopping(tmp_path)
    settings = small_settings(tiny("bert"), data, **told)
    command = [sys.executable, "-c", KILLED, json.dumps(settings), str(tmp_path / "killed")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = tmp_path / "killed" / "checkpoints"
    assert (folder / "checkpoint-6" / "optimizer.pt").is_file()
    assert [step for step, _ in checkpoints(folder)] == [3]
    assert [row["step"] for row in read_log(tmp_path / "killed" / "log.jsonl")] == [0, 1, 2, 2, 3, 4, 4, 5, 6, 6]

    config = small_config(tiny("bert"), data, **told)
    straight = train(config, tmp_path / "straight", progress=False)
    resumed = train(config, tmp_path / "killed", progress=False)
    assert_same_training(straight.model.parent, resumed.model.parent)
    assert replace(resumed, model=straight.model) == straight


def test_a_stopped_training_of_adapters_goes_on_as_if_nothing_had_happened(tiny, data, tmp_path, monkeypatch):
    config = small_config(tiny("qwen3"), data, **stopping(tmp_path, r=8, alpha=16, dropout=0.1))
    write = TrainingLog.write

    def stopped(log, row):
        write(log, row)
        if row["step"] == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingLog, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped", progress=False)
    monkeypatch.setattr(TrainingLog, "write", write)
    straight = train(config, tmp_path / "straight", progress=False)
    more_often = config.model_copy(update={"save": SaveConfig(every=1, keep=9)})  # may change between two starts
    resumed = train(more_often, tmp_path / "stopped", progress=False)
    assert_same_training(straight.model.parent, resumed.model.parent)
    assert [step for step, _ in checkpoints(tmp_path / "stopped" / "checkpoints")] == [3, 4, 5, 6, 7, 8]


def test_only_marked_checkpoints_count_and_the_last_ones_stay(tmp_path):
    for step in (5, 10, 15, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "weights").write_text("w")
    assert last_checkpoint(tmp_path) == (0, None)
    for step in (5, 10, 15):
        finish_checkpoint(tmp_path / f"checkpoint-{step}", world=1, keep=2)
    assert last_checkpoint(tmp_path) == (15, tmp_path / "checkpoint-15")
    drop_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-15"]


def test_a_log_drops_what_comes_after_the_step_it_goes_on_from(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path)
    rows = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": 1.5},
        {"step": 2, "scores": {"a": 0.5}, "mean": 0.5},
        {"step": 3, "loss": 1.0},
    ]
    for row in rows:
        log.write(row)
    with path.open("a") as file:
        file.write('{"step": 4, "lo')  # killed while it wrote
    assert read_log(path) == rows
    assert TrainingLog(path, step=2).evaluations == rows[2:3]
    assert read_log(path) == rows[:3]
    TrainingLog(path, step=0)
    assert read_log(path) == []


# --- dev sets ------------------------------------------------------------------------------------------------------------------


def test_dev_scores_are_those_of_the_evaluator(tiny, data, tmp_path):
    folder = write_beir(tmp_path / "dev")
    tasks = (TaskConfig(path=folder), TaskConfig(path=folder, metric="recall@1", sample=5), TaskConfig(path=folder))
    trainable = open_trainable(small_config(tiny("bert"), data, dropout=0.5), device="cpu")
    trainable.encoder.train()
    before = torch.get_rng_state()
    found = dev_scores(trainable, open_tasks(EvaluateConfig(tasks=tasks), seed=3))
    assert trainable.encoder.training
    assert torch.equal(torch.get_rng_state(), before)
    embedder = Embedder(tiny("bert"), engine="torch", dtype="float32")
    whole = evaluate(read_beir(folder, split="dev"), embedder, cache=False, max_length=48)
    part = evaluate(
        read_beir(folder, split="dev"), embedder, cache=False, max_length=48, metric="recall@1", sample=5, seed=3
    )
    assert list(found) == ["beir/dev (dev)", "beir/dev (dev-sample5-seed3) recall@1", "beir/dev (dev) #2"]
    assert list(found.values()) == pytest.approx([whole.headline, part.headline, whole.headline])


def test_training_stops_when_patience_is_over_and_keeps_the_best(tiny, data, tmp_path):
    dev = write_beir(tmp_path / "dev")
    evaluated = {"tasks": [{"path": str(dev), "metric": "mrr@10"}], "every": 1, "patience": 2}
    # with so high a rate each step throws the model about: the scores go up and down
    config = small_config(
        tiny("bert"), data, optimiser={"learning_rate": 0.05, "epochs": 30, "warmup": 0.0}, evaluate=evaluated
    )
    result = train(config, tmp_path / "run", progress=False)
    rows = [row for row in read_log(tmp_path / "run" / "log.jsonl") if "scores" in row]
    assert result.steps == rows[-1]["step"] < 60
    assert waited(rows) == 2
    assert result.best_step == rows[-3]["step"]
    assert result.best == max(row["mean"] for row in rows)
    assert not (tmp_path / "run" / "best").exists()
    again = evaluate(read_beir(dev, split="dev"), Embedder(result.model, dtype="float32"), metric="mrr@10", cache=False)
    assert again.headline == pytest.approx(result.best, abs=1e-6)


# --- what goes wrong -------------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_the_samples(tiny, data, tmp_path, monkeypatch):
    start = tmp_path / "start"
    shutil.copytree(tiny("bert"), start)
    weights = load_file(start / "model.safetensors")
    weights["encoder.layer.1.output.dense.weight"][0, 0] = np.nan
    from safetensors.numpy import save_file

    save_file(weights, start / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr("reasonembed.model.engines.torch._takes_packed_rows", lambda engine: False)
    config = small_config(start, data)
    with pytest.raises(
        ModelError, match=r"step 1: the loss is nan.*dataset 'toy', samples toy:\d+, .*Fix: look at these lines"
    ):
        train(config, tmp_path / "run", progress=False)
    assert not checkpoints(tmp_path / "run" / "checkpoints")


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(tiny, data, tmp_path, monkeypatch):
    step = trainer.contrastive_step

    def exploding(encoder, batch, loss, **told):
        output = step(encoder, batch, loss, **told)
        if batch.step == 1:
            next(encoder.parameters()).grad.fill_(float("inf"))
        return output

    monkeypatch.setattr(trainer, "contrastive_step", exploding)
    with pytest.raises(ModelError, match=r"step 2: the gradient norm is (inf|nan).*samples toy:"):
        train(small_config(tiny("bert"), data), tmp_path / "run", progress=False)
    assert len(losses(tmp_path / "run")) == 1


# --- several processes -----------------------------------------------------------------------------------------------------------

SHARED = """
import json, sys, torch
from reasonembed.training.config import parse_train_config
from reasonembed.training.run import train
torch.set_num_threads(1)
print(train(parse_train_config(json.loads(sys.argv[1])), sys.argv[2], progress=False).steps)
"""


def test_two_processes_train_as_one(tiny, data, tmp_path):
    loss = {"name": "ri_infonce", "start_step": 2, "temperature": 0.05}
    told = {"loss": loss, "dropout": 0.0, "save": {"every": 4}, "optimiser": {"learning_rate": 1e-3, "epochs": 3}}
    told["evaluate"] = {"tasks": [{"path": str(write_beir(tmp_path / "dev"))}], "every": 4}
    settings = small_settings(tiny("bert"), data, **told)
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    launcher += [
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "localhost:0",
        str(script),
        json.dumps(settings),
        str(tmp_path / "two"),
    ]
    done = subprocess.run(launcher, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "".join(done.stdout.split()) == "66"  # torchrun takes the buffers away: ends of lines may come later
    one = train(small_config(tiny("bert"), data, **told), tmp_path / "one", progress=False)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    rows = [[row for row in read_log(tmp_path / name / "log.jsonl") if "loss" in row] for name in ("one", "two")]
    for left, right in zip(*rows, strict=True):
        assert right["ri_loss"] == pytest.approx(left["ri_loss"], rel=1e-4)
        assert right["grad_norm"] == pytest.approx(left["grad_norm"], rel=1e-3)
        assert (right["tokens"], right["cut"]) == (left["tokens"], left["cut"])
    two = Embedder(tmp_path / "two" / "model", dtype="float32").encode(["lemma of bal", "x y z"])
    assert np.allclose(two, Embedder(one.model, dtype="float32").encode(["lemma of bal", "x y z"]), atol=1e-3)
