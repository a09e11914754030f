from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from training_small import small_config, write_samples

from reasonembed import Embedder
from reasonembed.errors import ModelError
from reasonembed.model import hardware
from reasonembed.training.backbone import (
    as_trained,
    load_weights,
    merge,
    merged,
    open_trainable,
    save_model,
    save_weights,
    trained_weights,
)

TEXTS = ["lemma of bal", "a matrix has an eigenvalue", "x", "the query finds a document " * 4]


@pytest.fixture
def data(tmp_path):
    return write_samples(tmp_path / "toy.jsonl")


def shaken(trainable, seed=1):
    """Every trained weight moved by random numbers, as a training would."""
    generator = torch.Generator().manual_seed(seed)
    for weight in trainable.encoder.parameters():
        if weight.requires_grad:
            weight.data += 0.02 * torch.randn(weight.shape, generator=generator)
    return trainable


def vectors(trainable, texts=TEXTS):
    ids, _ = trainable.embedder.tokenizer.encode(texts, max_length=48)
    trainable.encoder.eval()
    with torch.no_grad():
        return trainable.encoder(ids).numpy()


@pytest.mark.parametrize(
    ("kind", "lora"), [("bert", None), ("qwen3", None), ("qwen3", {"r": 4, "alpha": 8}), ("bert", {})]
)
def test_a_saved_model_has_the_vectors_of_the_live_one(tiny, data, tmp_path, kind, lora):
    trainable = shaken(open_trainable(small_config(tiny(kind), data, lora=lora), device="cpu"))
    expected = vectors(trainable)
    start = Embedder(tiny(kind), engine="torch", dtype="float32").encode(TEXTS, max_length=48)
    assert np.abs(expected - start).max() > 0.01
    save_model(trainable, tmp_path / "saved")
    saved = Embedder(tmp_path / "saved", dtype="float32")
    assert np.allclose(saved.encode(TEXTS), expected, atol=2e-6)
    assert np.array_equal(vectors(trainable), expected)  # and training can go on undisturbed
    own = Embedder(tiny(kind)).checkpoint  # 48 tokens cut texts in training, not what is read afterwards
    assert (saved.checkpoint.query_max_length, saved.checkpoint.document_max_length) == (
        own.query_max_length,
        own.document_max_length,
    )
    assert own.document_max_length > 48


def test_a_model_reads_texts_as_long_as_it_was_trained_on(tiny, data):
    short = replace(Embedder(tiny("bert")).checkpoint, query_max_length=32, document_max_length=64)
    saved = as_trained(short, small_config(tiny("bert"), data))  # 48 tokens each
    assert (saved.query_max_length, saved.document_max_length) == (48, 64)


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8}])
def test_weights_come_back_from_a_checkpoint(tiny, data, tmp_path, lora):
    config = small_config(tiny("qwen3"), data, lora=lora)
    first = shaken(open_trainable(config, device="cpu"))
    save_weights(first, tmp_path / "checkpoint")
    second = open_trainable(config, device="cpu")
    load_weights(second, tmp_path / "checkpoint")
    ours, theirs = trained_weights(first), trained_weights(second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    if lora:  # the adapters alone
        assert all("lora_" in name for name in load_file(tmp_path / "checkpoint" / "adapter_model.safetensors"))


def test_merge_of_a_checkpoint_is_the_saved_model(tiny, data, tmp_path):
    config = small_config(tiny("qwen3"), data, lora={"r": 4, "alpha": 8}, instruction="Find the lemma.")
    trainable = shaken(open_trainable(config, device="cpu"))
    save_weights(trainable, tmp_path / "checkpoint")
    save_model(trainable, tmp_path / "saved")
    merge(tmp_path / "checkpoint", tmp_path / "merged")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("saved", "merged"))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    checkpoint = Embedder(tmp_path / "merged").checkpoint
    assert checkpoint.instruction == "Find the lemma."
    assert checkpoint.document_max_length == Embedder(tiny("qwen3")).checkpoint.document_max_length


def test_adapters_are_float32_and_alone_are_trained(tiny, data):
    trainable = open_trainable(small_config(tiny("qwen3"), data, lora={}, dtype="bfloat16"), device="cpu")
    for name, weight in trainable.encoder.named_parameters():
        assert weight.requires_grad == ("lora_" in name)
        assert weight.dtype == (torch.float32 if "lora_" in name else torch.bfloat16)
    linear = [name for name, module in trainable.engine.model.named_modules() if name.endswith("lora_A.default")]
    assert len(linear) == 2 * 7  # q, k, v, o, gate, up, down of two layers (paper.md 2.3)


def test_all_weights_are_float32_and_the_computation_is_not(tiny, data):
    trainable = open_trainable(small_config(tiny("bert"), data, dtype="bfloat16"), device="cpu")
    assert {weight.dtype for weight in trainable.encoder.parameters()} == {torch.float32}
    with trainable.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("has", [True, False])
def test_dtype_auto_is_what_the_processor_multiplies(tiny, data, monkeypatch, has):
    monkeypatch.setattr(hardware, "has_bf16", lambda: has)
    trainable = open_trainable(small_config(tiny("bert"), data, dtype="auto"), device="cpu")
    assert trainable.dtype == ("bfloat16" if has else "float32")


def test_adapters_begin_the_same_every_time(tiny, data):
    config = small_config(tiny("qwen3"), data, lora={})
    one, other = (trained_weights(open_trainable(config, device="cpu")) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_dropout_of_the_recipe_is_in_force(tiny, data):
    trainable = open_trainable(small_config(tiny("bert"), data, dropout=0.4), device="cpu")
    trainable.encoder.train()
    ids, _ = trainable.embedder.tokenizer.encode(TEXTS, max_length=48)
    assert not torch.allclose(trainable.encoder(ids), trainable.encoder(ids), atol=1e-3)
    without = open_trainable(small_config(tiny("bert"), data, dropout=0.0), device="cpu")
    without.encoder.train()
    assert torch.equal(without.encoder(ids), without.encoder(ids))


def test_gradient_checkpointing_changes_no_gradient(tiny, data):
    gradients = []
    for recomputed in (False, True):
        config = small_config(tiny("qwen3"), data, dropout=0.0, gradient_checkpointing=recomputed)
        trainable = open_trainable(config, device="cpu")
        assert trainable.engine.model.is_activation_checkpointing is recomputed
        trainable.encoder.train()
        ids, _ = trainable.embedder.tokenizer.encode(TEXTS, max_length=48)
        trainable.encoder(ids)[:, 0].sum().backward()
        gradients.append([weight.grad for weight in trainable.encoder.parameters() if weight.requires_grad])
    assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-7) for one, other in zip(*gradients, strict=True))


def test_a_16_bit_model_stays_one(tiny, data, tmp_path):
    import transformers

    half = transformers.AutoModel.from_pretrained(tiny("qwen3"), dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "half" / name).write_bytes((tiny("qwen3") / name).read_bytes())
    trainable = shaken(open_trainable(small_config(tmp_path / "half", data, lora={}), device="cpu"))
    assert merged(trainable).engine.dtype == "bfloat16"
    save_model(trainable, tmp_path / "saved")
    stored = transformers.AutoModel.from_pretrained(tmp_path / "saved", dtype="auto")
    assert stored.dtype == torch.bfloat16
    cosines = (Embedder(tmp_path / "saved", dtype="float32").encode(TEXTS) * vectors(trainable)).sum(axis=1)
    assert cosines.min() > 0.999


def test_what_cannot_be_trained_is_refused(tiny, data, tmp_path):
    with pytest.raises(
        ModelError, match=r"lengths.passage is 512, bert takes 128 tokens. Fix: `lengths: {passage: 128}`"
    ):
        open_trainable(small_config(tiny("bert"), data, lengths={"query": 48}), device="cpu")
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        merge(tmp_path, tmp_path / "out")


def test_layers_behind_the_pooling_are_refused(tiny, data, tmp_path):
    folder = tmp_path / "dense"
    save_model(open_trainable(small_config(tiny("bert"), data), device="cpu"), folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[2] = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text('{"in_features": 32, "out_features": 16}')
    save_file({"linear.weight": np.ones((16, 32), np.float32)}, folder / "2_Dense" / "model.safetensors")
    with pytest.raises(ModelError, match=r"layers behind its pooling \(Dense\)"):
        open_trainable(small_config(folder, data), device="cpu")
