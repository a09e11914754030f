from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling

from reasonembed.model.pooling import POOLING_MODES, pool_padded

THEIRS = {"last": "lasttoken", "mean_sqrt_len": "mean_sqrt_len_tokens"}
rng = np.random.default_rng(0)
HIDDEN = rng.standard_normal((3, 7, 5)).astype(np.float32)
MASK = np.array([[1] * 7, [1, 1, 1, 0, 0, 0, 0], [1] + [0] * 6], np.float32)


@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_every_mode_as_sentence_transformers(mode, library):
    peer = Pooling(5, THEIRS.get(mode, mode))
    expected = peer({"token_embeddings": torch.tensor(HIDDEN), "attention_mask": torch.tensor(MASK).long()})[
        "sentence_embedding"
    ]
    hidden, mask = (HIDDEN, MASK) if library == "numpy" else (torch.tensor(HIDDEN), torch.tensor(MASK))
    assert np.allclose(np.asarray(pool_padded(hidden, mask, (mode,))), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("mode", ["mean", "max", "mean_sqrt_len", "weightedmean", "last"])
def test_prompt_tokens_left_out_as_sentence_transformers(mode):
    peer = Pooling(5, THEIRS.get(mode, mode), include_prompt=False)
    features = {
        "token_embeddings": torch.tensor(HIDDEN[:2]),
        "attention_mask": torch.tensor(MASK[:2]).long(),
        "prompt_length": 2,
    }
    expected = peer(features)["sentence_embedding"].numpy()
    assert np.allclose(pool_padded(HIDDEN[:2], MASK[:2], (mode,), np.array([2, 2])), expected, atol=1e-6)


def test_several_modes_are_concatenated():
    both = pool_padded(HIDDEN, MASK, ("cls", "mean"))
    assert both.shape == (3, 10)
    assert np.array_equal(both[:, :5], pool_padded(HIDDEN, MASK, ("cls",)))
