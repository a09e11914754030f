from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonembed.model import packing
from reasonembed.model.packing import NotPackable, pack, packed_attention, runs_of

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def ids_of(sizes):
    return [np.full(size, index + 1, np.int64) for index, size in enumerate(sizes)]


@given(lengths, st.integers(1, 64), st.sampled_from([1, 8, 32]), st.sampled_from([0, 2]))
def test_every_text_lies_whole_in_exactly_one_row(sizes, budget, multiple, first):
    texts = ids_of(sizes)
    seen = []
    for row in pack(texts, budget=budget, multiple=multiple, first_position=first):
        assert len(row.token_ids) % multiple == 0
        assert sum(sizes[text] for text in row.texts) <= max(budget, sizes[row.texts[0]])
        assert row.boundaries[-1] == len(row.token_ids) == len(row.positions)
        for place, text in enumerate(row.texts):
            span = slice(row.boundaries[place], row.boundaries[place + 1])
            assert row.token_ids[span].tolist() == texts[text].tolist()
            assert row.positions[span].tolist() == list(range(first, first + sizes[text]))
        assert row.positions.max() < first + max(sizes)  # the filler needs no position that no text needs
        seen += row.texts
    assert sorted(seen) == list(range(len(sizes)))


@given(lengths)
def test_runs_cover_the_row_in_order(sizes):
    boundaries = tuple(np.concatenate([[0], np.cumsum(sizes)]).tolist())
    runs = runs_of(boundaries)
    assert [length for run in runs for length in [run.length] * run.count] == sizes
    assert [run.start for run in runs[1:]] == [run.end for run in runs[:-1]]


class Layer:
    is_causal = True


def reference(q, k, v, boundaries, *, causal, window):
    """Attention by the definition, one text, one head and one query at a time, in float64."""
    heads, shared = q.shape[1], q.shape[1] // k.shape[1]
    out = np.zeros((q.shape[2], heads, q.shape[3]))
    q, k, v = (x[0].double().numpy() for x in (q, k, v))
    for start, end in itertools.pairwise(boundaries):
        for head in range(heads):
            for i in range(start, end):
                seen = [
                    j for j in range(start, end)
                    if not (causal and j > i) and (window is None or abs(i - j) < window)
                ]  # fmt: skip
                scores = np.array([q[head, i] @ k[head // shared, j] for j in seen]) / np.sqrt(q.shape[2])
                weights = np.exp(scores - scores.max())
                out[i, head] = (weights / weights.sum()) @ np.array([v[head // shared, j] for j in seen])
    return out


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([1, 2]),
)
def test_attention_is_the_definition(sizes, causal, window, shared):
    generator = torch.Generator().manual_seed(sum(sizes))
    total = sum(sizes)
    q = torch.randn(1, 4, total, 8, generator=generator)
    k, v = torch.randn(2, 1, 4 // shared, total, 8, generator=generator)
    boundaries = np.concatenate([[0], np.cumsum(sizes)])
    options = {
        "cu_seq_lens_q": torch.tensor(boundaries, dtype=torch.int32),
        "is_causal": causal,
        "sliding_window": window,
    }
    found, weights = packed_attention(Layer(), q, k, v, None, **options)
    assert weights is None
    assert found.shape == (1, total, 4, 8)
    expected = reference(q, k, v, boundaries.tolist(), causal=causal, window=window)
    assert np.allclose(found[0].numpy(), expected, atol=1e-5)


def test_attention_refuses_what_it_does_not_do():
    q = torch.randn(1, 2, 4, 8)
    boundaries = torch.tensor([0, 4], dtype=torch.int32)
    for options in ({}, {"cu_seq_lens_q": boundaries, "softcap": 30.0}, {"cu_seq_lens_q": boundaries, "s_aux": q}):
        with pytest.raises(NotPackable):
            packed_attention(Layer(), q, q, q, None, **options)
    with pytest.raises(NotPackable):
        packed_attention(Layer(), q, q, q, torch.ones(4, 4), cu_seq_lens_q=boundaries)


def test_register_may_be_called_again():
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    packing.register()
    packing.register()
    assert ALL_ATTENTION_FUNCTIONS[packing.ATTENTION] is packed_attention
