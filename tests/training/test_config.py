"""Recipes: the paper's values where nothing is said, what is wrong told by key, what ships opens, the manual lists every key."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from reasonembed.errors import DataError
from reasonembed.io.config import recipe_names
from reasonembed.training.config import TRAIN_RECIPES, TrainConfig, changed, load_train_config, parse_train_config

PAPER = ("paper-llama-3.1-8b", "paper-qwen3-4b", "paper-qwen3-8b")


def test_left_out_values_are_the_papers():  # paper.md 2.1 to 2.3
    config = parse_train_config({"name": "x", "data": "samples"})
    assert config.loss == {"name": "ri_infonce"}
    assert (config.batch.queries, config.batch.group, config.batch.mask) == (64, 16, "none")
    assert set(config.lengths.model_dump().values()) == {512}
    optimiser = config.optimiser
    assert (optimiser.learning_rate, optimiser.warmup, optimiser.schedule, optimiser.epochs) == (1e-4, 0.1, "linear", 1)
    assert (optimiser.weight_decay, optimiser.clip, config.save.every) == (0.0, 1.0, 500)
    lora = parse_train_config({"name": "x", "data": "samples", "lora": {}}).lora
    assert (lora.r, lora.alpha, lora.dropout) == (32, 64, 0)


def test_recipes_that_ship():
    assert recipe_names(TRAIN_RECIPES) == ["cpu-small", "one-gpu", *PAPER]
    for name in PAPER:
        config = load_train_config(name)
        defaults = TrainConfig(name=name, data=config.data)
        assert (config.loss, config.batch, config.lengths) == (defaults.loss, defaults.batch, defaults.lengths)
        assert (config.optimiser, config.save) == (defaults.optimiser, defaults.save)
        assert (config.lora.r, config.lora.alpha, config.gradient_checkpointing, config.dtype) == (
            32,
            64,
            True,
            "bfloat16",
        )
    one, paper = load_train_config("one-gpu"), load_train_config("paper-qwen3-8b")
    assert (one.model, one.loss, one.lora, one.optimiser) == (paper.model, paper.loss, paper.lora, paper.optimiser)
    assert (one.batch.queries, one.batch.group, one.batch.cached) == (64, 16, True)
    small = load_train_config("cpu-small")
    assert (small.batch.queries, small.batch.group, small.lora, small.dropout) == (64, 8, None, 0)


def test_files_are_taken_from_the_recipes_folder_or_the_current_one(tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text("name: a\ndata: samples\nmodel: mine\nevaluate: {tasks: [{path: dev}]}\n")
    (tmp_path / "mine").mkdir()
    config = load_train_config(tmp_path / "a.yaml", changes={"optimiser.steps": 3})
    assert config.data[0].path == tmp_path / "samples"
    assert config.evaluate.tasks[0].path == tmp_path / "dev"
    assert config.model == str(tmp_path / "mine")
    assert config.optimiser.steps == 3
    taught = {"loss": {"name": "distillation"}, "teacher": "mine"}
    (tmp_path / "b.yaml").write_text("name: b\ndata: samples\nloss: {name: distillation}\nteacher: mine\n")
    assert load_train_config(tmp_path / "b.yaml").teacher == str(tmp_path / "mine")
    assert parse_train_config({"name": "b", "data": "samples", **taught}).teacher == "mine"
    assert load_train_config("cpu-small").data[0].path == Path("data/samples")
    assert load_train_config(tmp_path / "a.yaml", changes={"data": ["here"]}).data[0].path == Path("here")


def test_changes_reach_sections_that_were_not_there():
    config = parse_train_config({"name": "x", "data": "samples"})
    assert changed(config, {"lora.r": 8, "load_in_4bit": True}).lora.r == 8
    assert changed(config, {"loss.name": "infonce"}).loss == {"name": "infonce"}
    assert changed(config, {"data": [{"path": "b", "queries": 4}]}).data[0].queries == 4
    assert config.lora is None


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"optimizer": {}}, "optimizer is {}: Extra inputs"),
        ({"batch": {"group": 0}}, "batch.group is 0"),
        ({"batch": {"mask": "all"}}, "batch.mask is 'all'"),
        ({"optimiser": {"learning_rate": 0}}, "optimiser.learning_rate is 0"),
        ({"optimiser": {"learning_rate": float("inf")}}, "optimiser.learning_rate is inf"),
        ({"load_in_4bit": True}, "set `lora`"),
        ({"loss": {"name": "nonsense"}}, "nonsense"),
        ({"loss": {"name": "infonce", "kappa": 5}}, "kappa"),
        ({"loss": {"name": "distillation"}}, "the loss distillation learns from a teacher: set `teacher: MODEL`"),
        ({"teacher": "large"}, "a teacher is for `loss: {name: distillation}`"),
        ({"name": "../up"}, "name is '../up'"),
        ({"data": []}, "data is []"),
        ({"data": [{"path": "a", "group": 0}]}, "data.0.group is 0"),
    ],
)
def test_what_is_wrong_is_told(told, said):
    with pytest.raises(DataError, match=re.escape(said)):
        parse_train_config({"name": "x", "data": "samples", **told})


def test_data_must_be_there_and_a_recipe_must_exist():
    with pytest.raises(DataError, match="data: Field required"):
        parse_train_config({"name": "x"})
    with pytest.raises(DataError, match=r"no training 'nonsense'.*cpu-small"):
        load_train_config("nonsense")


def test_numbers_with_an_exponent_are_numbers_in_a_loss_too(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "name: a\ndata: samples\nloss: {name: ri_infonce, epsilon: 1e-5, temperature: 5E-2}\n"
    )
    assert load_train_config(tmp_path / "a.yaml").loss == {"name": "ri_infonce", "epsilon": 1e-5, "temperature": 0.05}


def test_a_recipe_is_checked_without_torch():
    code = "import sys; from reasonembed.training.config import load_train_config; load_train_config('one-gpu')"
    code += "; from reasonembed.training import batches, data, measure, report; print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split() == ["False"]


def test_the_manual_lists_every_key_with_its_default():
    yaml = pytest.importorskip("yaml")
    manual = (Path(__file__).parents[2] / "docs/train.md").read_text("utf-8")
    smallest, whole = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", manual, re.DOTALL))
    assert parse_train_config(smallest).data[0].path == Path(smallest["data"])
    optional = {"lora": {"r": 32, "alpha": 64, "dropout": 0.0}}
    assert parse_train_config(whole) == parse_train_config({"name": whole["name"], "data": whole["data"], **optional})
    for section, value in parse_train_config(whole).model_dump().items():
        assert section in whole
        if isinstance(value, dict) and section != "loss":
            assert set(value) == set(whole[section]), section
