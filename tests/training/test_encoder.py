"""The encoder that is trained: unit vectors and gradients as of Transformers' own forward, one text at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from contrastive import closest, encoder_of
from transformers import AutoModel

from reasonembed.model import packing
from reasonembed.training.gather import gather_constant, gather_with_local_grad, most

SIZES = (1, 17, 3, 40, 17, 60)  # mistral's window is 16 tokens, modernbert's reach 8
DECODERS = ("qwen3", "mistral")


def texts_of(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 384, size=size).astype(np.int64) for size in sizes]


def alone(model, kind, ids):
    hidden = model(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden[-1] if kind in DECODERS else hidden.mean(0), dim=0)


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "bert", "xlm-roberta", "modernbert", "mpnet"])
def test_vectors_and_gradients_are_those_of_each_text_alone(tiny, kind):
    encoder, plain, texts = encoder_of(tiny(kind)), AutoModel.from_pretrained(tiny(kind)).eval(), texts_of(SIZES)
    encoder._engine.embed(texts)  # what evaluation during training leaves behind has to bear gradients
    vectors, expected = encoder(texts), torch.stack([alone(plain, kind, ids) for ids in texts])
    assert torch.allclose(vectors, expected, atol=2e-5)
    target = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    (vectors * target).sum().backward()
    (expected * target).sum().backward()
    wanted = {name: parameter.grad for name, parameter in plain.named_parameters() if parameter.grad is not None}
    found = {name: parameter.grad for name, parameter in encoder.backbone.named_parameters() if parameter.requires_grad}
    assert (
        closest(found, wanted) <= 1e-5
    )  # of equal names: each trained weight has a gradient, as DistributedDataParallel wants it


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 3])
def test_attention_written_out_is_the_fused_one(monkeypatch, causal, window):
    monkeypatch.setattr(packing, "WRITTEN_OUT_SCORES", 2 * 4 * 9 * 9)  # two of the five texts at a time
    options = {"causal": causal, "window": window, "scale": 0.3, "dropout": 0.0}
    found = []
    for attend in (packing._attend_fused, packing._attend_written_out):
        torch.manual_seed(0)
        states = [torch.randn(5, 4, 9, 8, requires_grad=True) for _ in range(3)]
        attended = attend(*states, options)
        attended.square().sum().backward()
        found.append([attended, *(x.grad for x in states)])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "bert"])
def test_training_in_bfloat16_is_near_float32(tiny, kind, monkeypatch):
    encoder, texts, calls = encoder_of(tiny(kind)).train(), texts_of(SIZES), []
    written_out = packing._attend_written_out
    monkeypatch.setattr(packing, "_attend_written_out", lambda *args: calls.append(args[0].dtype) or written_out(*args))
    exact = encoder(texts)
    assert not calls
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = encoder(texts)
    assert set(calls) == {torch.bfloat16}  # of queries and keys too, which rotary positions make float32
    assert (exact * near).sum(1).min() >= 0.999


def test_rows_hold_each_text_once_under_the_budget(tiny):
    lengths = [5, 30, 7, 30, 11]
    for kind in ("bert", "mpnet"):
        rows = encoder_of(tiny(kind)).rows(lengths, 40)
        assert sorted(index for row in rows for index in row) == list(range(5))
        assert max(sum(lengths[index] for index in row) for row in rows) <= 40
    assert encoder_of(tiny("bert")).rows(lengths) == [[1, 3, 4, 2, 0]]


def test_without_a_process_group_nothing_is_sent():
    local = torch.randn(3, 2, requires_grad=True)
    assert gather_with_local_grad(local) is local
    assert not gather_constant(local).requires_grad
    assert most(7, local.device) == 7
