"""The packed engine: the same vectors as Transformers' own forward, alone, in company, in any order and partition."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel

from reasonembed.errors import ModelError
from reasonembed.model.checkpoint import open_checkpoint
from reasonembed.model.engines.torch import TorchEngine

KINDS = ("qwen3", "qwen2", "llama", "mistral", "bert", "mpnet", "xlm-roberta", "modernbert")
rng = np.random.default_rng(0)


def texts_of(sizes):
    return [rng.integers(5, 384, size=size).astype(np.int64) for size in sizes]


@pytest.fixture(scope="module")
def engines(tiny):
    built = {}

    def engine(kind, **options):
        key = (kind, *sorted(options.items()))
        if key not in built:
            pooling = options.pop("pooling", None)
            checkpoint = open_checkpoint(tiny(kind), pooling=None if pooling is None else (pooling,))
            built[key] = TorchEngine(checkpoint, device="cpu", **{"dtype": "float32", **options})
        return built[key]

    return engine


def plain(tiny, kind, texts):
    """Each text alone through Transformers' own forward, with its own attention: last token, or mean."""
    model = AutoModel.from_pretrained(tiny(kind)).eval()
    rows = []
    for ids in texts:
        with torch.no_grad():
            hidden = model(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0]
        rows.append((hidden[-1] if kind in KINDS[:4] else hidden.mean(0)).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_as_transformers_own_forward(engines, tiny, kind):
    texts = texts_of([1, 2, 17, 17, 40, 100, 128, 3, 3, 3])  # mistral's window is 16 tokens, modernbert's reach 8
    engine = engines(kind)
    assert engine.packed == (kind != "mpnet")
    assert np.allclose(engine.embed(texts), plain(tiny, kind, texts), atol=2e-5)


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "bert", "modernbert", "mpnet"])
@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12), seed=st.integers(0, 99), cut=st.integers(0, 12))
def test_any_company_order_and_partition(engines, kind, sizes, seed, cut):
    engine, texts = engines(kind, budget=96), texts_of(sizes)
    order = np.random.default_rng(seed).permutation(len(texts))
    whole = engine.embed(texts)
    assert np.allclose(whole[order], engine.embed([texts[i] for i in order]), atol=1e-5)
    parts = [engine.embed(texts[:cut]), engine.embed(texts[cut:])]
    assert np.allclose(whole, np.concatenate(parts), atol=1e-5)


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "bert", "modernbert", "xlm-roberta"])
def test_a_text_does_not_see_its_neighbour(engines, kind):
    text, *neighbours = texts_of([20, 20, 20, 9])
    first, second = (engines(kind).embed([neighbour, text, neighbours[2]])[1] for neighbour in neighbours[:2])
    assert np.abs(first - second).max() <= 1e-6


@pytest.mark.parametrize("kind", ["qwen3", "bert"])
def test_the_edges(engines, kind):
    engine = engines(kind)
    assert engine.embed([]).shape == (0, 32)
    ones = texts_of([1] * 1000)
    assert np.allclose(engine.embed(ones)[:5], np.concatenate([engine.embed([ids]) for ids in ones[:5]]), atol=1e-5)
    limit = engine._checkpoint.document_max_length
    assert np.isfinite(engine.embed(texts_of([limit, 1]))).all()
    with pytest.raises(ModelError, match="token id 384 is outside the vocabulary"):
        engine.embed([np.array([384])])


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "mean_sqrt_len", "weightedmean", "last"])
def test_prompts_left_out_of_the_pooling(engines, pooling):
    from reasonembed.model.pooling import pool_padded

    texts, prompts = texts_of([12, 7, 12, 30]), [2, 3, 2, 5]
    engine = engines("bert", pooling=pooling)
    model = AutoModel.from_pretrained(engine._checkpoint.path).eval()
    for ids, prompt, found in zip(texts, prompts, engine.embed(texts, prompts), strict=True):
        with torch.no_grad():
            hidden = model(input_ids=torch.from_numpy(ids)[None]).last_hidden_state.numpy()
        expected = pool_padded(hidden, np.ones((1, len(ids)), np.float32), (pooling,), np.array([prompt]))
        assert np.allclose(found, expected[0], atol=2e-5)


def test_the_final_norm_sees_pooled_tokens_only(engines):
    engine, rows = engines("qwen3"), []
    hook = engine.model.norm.register_forward_hook(lambda module, args, output: rows.append(output.shape[1]))
    engine.embed(texts_of([5, 50, 9]))
    hook.remove()
    assert rows == [3]


def test_bfloat16_is_near(engines):
    texts = texts_of([3, 30, 100])
    for kind in ("qwen3", "bert"):
        a, b = engines(kind).embed(texts), engines(kind, dtype="bfloat16").embed(texts)
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosines.min() >= 0.999


def test_memory_that_runs_out_halves_only_the_failing_batch(engines, monkeypatch, caplog):
    engine = TorchEngine(engines("bert")._checkpoint, device="cpu", dtype="float32")
    texts = texts_of([30, 20, 10, 5])
    expected, sizes, real = engine.embed(texts), [], engine.model.forward

    def small_memory(*args, **kwargs):
        sizes.append(kwargs["position_ids"].shape[1])
        if len(sizes) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is")
        return real(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", small_memory)
    with caplog.at_level(logging.WARNING):
        assert np.allclose(engine.embed(texts), expected, atol=1e-5)
    assert len(sizes) == 3
    assert "out of memory at 4 texts" in caplog.text


def test_one_text_too_big_is_a_clear_error(engines, monkeypatch):
    engine = TorchEngine(engines("bert")._checkpoint, device="cpu", dtype="float32")

    def no_memory(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(engine.model, "forward", no_memory)
    with pytest.raises(ModelError, match="a text of 30 tokens does not fit into the memory of cpu"):
        engine.embed(texts_of([30, 20]))


def test_another_error_is_not_taken_for_memory(engines, monkeypatch):
    engine = TorchEngine(engines("bert")._checkpoint, device="cpu", dtype="float32")

    def broken(*args, **kwargs):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(engine.model, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        engine.embed(texts_of([30, 20]))


def test_padding_is_said_where_packing_is_not_taken(tiny, caplog):
    with caplog.at_level(logging.WARNING):
        TorchEngine(open_checkpoint(tiny("mpnet")), device="cpu", dtype="float32")
    assert "does not take packed rows" in caplog.text
