from __future__ import annotations

import gzip
import importlib.util
import json

import numpy as np
import pytest
from training_small import small_config, small_settings, write_beir, write_samples

import reasonembed
from reasonembed import Embedder
from reasonembed.errors import DataError, MismatchError, MissingExtraError, ModelError
from reasonembed.io.manifest import read_json
from reasonembed.training.log import read_log
from reasonembed.training.run import train

TEXTS = ["lemma of bal", "a matrix has an eigenvalue", "the query finds a document " * 4]


@pytest.fixture
def data(tmp_path):
    return write_samples(tmp_path / "toy.jsonl")


def quick(model, data, **told):
    return small_config(model, data, **{"optimiser": {"learning_rate": 1e-2, "steps": 2}, **told})


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """A finished training of adapters, its recipe, and its files."""
    folder = tmp_path_factory.mktemp("finished")
    config = quick(
        tiny("qwen3"), write_samples(folder / "toy.jsonl"), lora={"r": 4, "alpha": 8}, instruction="Find the lemma."
    )
    return config, train(config, folder / "run", progress=False)


def test_the_result_opens_in_our_embedder_with_instruction_and_lengths(finished):
    checkpoint = Embedder(finished[1].model).checkpoint
    assert checkpoint.instruction == "Find the lemma."
    own = Embedder(finished[0].model).checkpoint
    lengths = (checkpoint.query_max_length, checkpoint.document_max_length)
    assert lengths == (own.query_max_length, own.document_max_length)


def test_the_result_gives_the_same_vectors_in_sentence_transformers(finished):
    from sentence_transformers import SentenceTransformer

    ours = Embedder(finished[1].model, dtype="float32")
    theirs = SentenceTransformer(str(finished[1].model), device="cpu")
    assert np.allclose(theirs.encode(TEXTS), ours.encode_corpus(TEXTS), atol=1e-5)
    assert np.allclose(theirs.encode(TEXTS, prompt_name="query"), ours.encode_queries(TEXTS), atol=1e-5)


def test_the_result_gives_the_same_vectors_in_flagembedding(finished):
    from FlagEmbedding import FlagLLMModel

    instruction = "Find the lemma."
    theirs = FlagLLMModel(
        str(finished[1].model), query_instruction_for_retrieval=instruction, use_fp16=False, devices="cpu",
        query_instruction_format="Instruct: {}\nQuery: {}", query_max_length=48, passage_max_length=48,
    )  # fmt: skip
    ours = Embedder(finished[1].model, dtype="float32")
    assert np.allclose(theirs.encode_queries(TEXTS), ours.encode_queries(TEXTS), atol=1e-5)
    assert np.allclose(theirs.encode_corpus(TEXTS), ours.encode_corpus(TEXTS), atol=1e-5)


def test_the_result_has_the_layout_that_vllm_reads(finished):
    """An architecture `*Model`, weights as safetensors, the tokenizer, pooling and normalisation by modules.json (docs/train.md)."""
    model = finished[1].model
    (architecture,) = json.loads((model / "config.json").read_text())["architectures"]
    assert architecture == "Qwen3Model"
    modules = json.loads((model / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    pooling = json.loads((model / modules[1]["path"] / "config.json").read_text())
    assert pooling.get("pooling_mode_lasttoken") or pooling.get("pooling_mode") == "lasttoken"
    assert {"model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= {path.name for path in model.iterdir()}


def test_a_finished_run_is_only_read(finished, monkeypatch):
    config, result = finished
    monkeypatch.setattr("reasonembed.training.run._opened", None)  # nothing may be opened
    before = {path: path.stat().st_mtime_ns for path in result.model.parent.rglob("*")}
    assert train(config, result.model.parent) == result
    assert {path: path.stat().st_mtime_ns for path in result.model.parent.rglob("*")} == before


def test_the_manifest_says_what_was_trained(finished):
    config, result = finished
    manifest = read_json(result.model.parent / "manifest.json")
    assert manifest["settings"]["lora"]["r"] == 4
    assert list(manifest["data"]) == [str(config.data[0].path)]
    assert len(manifest["weights"]) == 32
    assert {"torch", "transformers", "peft", "accelerate"} <= manifest["versions"].keys()
    assert manifest["result"]["steps"] == result.steps == 2
    assert manifest["started"] <= manifest["finished"]


def test_a_folder_of_another_training_is_refused(tiny, data, tmp_path):
    config = quick(tiny("bert"), data)
    result = train(config, tmp_path / "run", progress=False)
    other = quick(tiny("bert"), data, seed=7, batch={"queries": 4, "group": 4, "row_tokens": 300})
    with pytest.raises(MismatchError, match=r"differs in batch.queries, seed. Fix: name a new folder"):
        train(other, tmp_path / "run", progress=False)
    assert train(quick(tiny("bert"), data, save={"every": 1}), tmp_path / "run", progress=False) == result
    data.write_text(data.read_text().replace("lemma", "theorem"))
    with pytest.raises(MismatchError, match=r"differs in data\..*toy.jsonl"):
        train(config, tmp_path / "run", progress=False)


def test_other_starting_weights_are_refused(tiny, data, tmp_path):
    from tiny import build

    start = build(tmp_path / "start", "bert", seed=1)
    result = train(quick(start, data), tmp_path / "run", progress=False)
    manifest = read_json(tmp_path / "run" / "manifest.json")
    manifest.pop("result")
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    build(start, "bert", seed=2)
    with pytest.raises(MismatchError, match="differs in weights"):
        train(quick(start, data), tmp_path / "run", progress=False)
    assert result.steps == 2


def test_a_folder_of_something_else_is_refused(tiny, data, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match="exists and is no training"):
        train(quick(tiny("bert"), data), tmp_path / "full")
    (tmp_path / "run").mkdir()
    assert train(quick(tiny("bert"), data), tmp_path / "run", progress=False).steps == 2


def test_the_starting_model_is_the_result_where_training_only_harms(tiny, data, tmp_path, caplog):
    dev = write_beir(tmp_path / "dev")
    # every query's positive is another query's word: what is learned is wrong on the dev set
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        row["neg"] = [row["pos"][0], *row["neg"][1:4]]
        row["wrong"] = other["neg"][0]
    for row in rows:
        row["pos"] = [row.pop("wrong")]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluated = {"tasks": [{"path": str(dev), "metric": "map@100"}], "every": 30}
    optimiser = {"learning_rate": 1e-2, "epochs": 15}
    config = quick(tiny("bert"), data, evaluate=evaluated, optimiser=optimiser, dropout=0.0)
    result = train(config, tmp_path / "run", progress=False)
    assert result.best_step == 0
    assert "no step scored better" in caplog.text
    start = Embedder(tiny("bert"), engine="torch", dtype="float32")
    assert np.allclose(Embedder(result.model, dtype="float32").encode(["x y"]), start.encode(["x y"]), atol=1e-6)


@pytest.mark.parametrize(("package", "told"), [("accelerate", {}), ("peft", {"lora": {}})])
def test_a_missing_package_is_named(tiny, data, tmp_path, monkeypatch, package, told):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))
    with pytest.raises(
        MissingExtraError, match=rf"training needs the package '{package}'. Fix: pip install 'reasonembed\[train\]'"
    ):
        train(quick(tiny("bert"), data, **told), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_reporter_that_is_not_installed_is_named(tiny, data, tmp_path):
    with pytest.raises(DataError, match=r"report_to names 'wandb', which is not installed. Fix: pip install wandb"):
        train(quick(tiny("bert"), data, report_to=["wandb"]), tmp_path / "run")


def test_4_bits_name_the_package_that_no_extra_brings(tiny, data, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)
    )
    with pytest.raises(DataError, match=r"needs the package 'bitsandbytes'. Fix: pip install bitsandbytes"):
        train(quick(tiny("qwen3"), data, lora={}, load_in_4bit=True), tmp_path / "run")


def test_a_folder_whose_training_failed_before_its_first_step_is_used_again(tiny, data, tmp_path):
    packed = tmp_path / "toy.jsonl.gz"
    packed.write_bytes(gzip.compress(data.read_bytes()))
    with pytest.raises(ModelError, match="no such directory"):
        train(quick(tmp_path / "mistyped", packed), tmp_path / "run", progress=False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["work"]
    assert train(quick(tiny("bert"), packed), tmp_path / "run", progress=False).steps == 2


def test_sharding_needs_several_gpus(tiny, data, tmp_path):
    with pytest.raises(DataError, match=r"fsdp shards weights over several GPUs.*Fix: torchrun"):
        train(quick(tiny("bert"), data, fsdp=True), tmp_path / "run")


def test_fixed_intensities_are_measured_once_with_the_starting_weights(tiny, data, tmp_path):
    loss = {"name": "fixed_intensity", "temperature": 0.05}
    result = train(quick(tiny("bert"), data, loss=loss), tmp_path / "run", progress=False)
    found = read_json(tmp_path / "run" / "intensity.json")
    assert sorted(found) == sorted(f"toy:{line}" for line in range(1, 17))
    rows = read_log(tmp_path / "run" / "log.jsonl")
    assert rows[0]["intensity_min"] >= min(found.values()) - 1e-6
    assert rows[0]["intensity_max"] <= max(found.values()) + 1e-6
    assert result.steps == 2
    assert "<svg" in (tmp_path / "run" / "report.html").read_text()


def test_a_student_comes_nearer_to_its_teacher(tiny, data, tmp_path):
    from tiny import build

    teacher = build(tmp_path / "teacher", "qwen3", seed=3)
    told = {
        "loss": {"name": "distillation", "temperature": 0.1, "teacher_temperature": 0.1, "alpha": 0},
        "dropout": 0.0,
    }
    config = quick(tiny("bert"), data, teacher=str(teacher), optimiser={"learning_rate": 3e-3, "epochs": 12}, **told)
    run = tmp_path / "run"
    train(config, run, progress=False)
    divergence = [row["divergence"] for row in read_log(run / "log.jsonl")]
    assert np.mean(divergence[-4:]) < 0.6 * np.mean(divergence[:4])
    assert "teacher_weights" in read_json(run / "manifest.json")
    manifest = read_json(run / "manifest.json")
    manifest.pop("result")
    (run / "manifest.json").write_text(json.dumps(manifest))
    build(teacher, "qwen3", seed=4)
    with pytest.raises(MismatchError, match="differs in teacher_weights"):
        train(config, run, progress=False)


def test_a_recipe_can_be_a_file(tiny, data, tmp_path):
    import yaml

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(small_settings(tiny("bert"), "toy.jsonl", optimiser={"steps": 1})))
    assert reasonembed.train(recipe, tmp_path / "run", progress=False).steps == 1
