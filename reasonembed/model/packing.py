"""Ragged batches without padding: texts end to end in one row, positions starting anew, attention that stays inside a text.

A row holds texts of a token budget, sorted by length, so that texts of one length stand together in a *run*; attention over a
run is one dense call without a mask. It hooks into Transformers' public `AttentionInterface`, so every backbone that goes through
it is packed without a line of modelling code. Knows token ids and tensors, no text and no weights.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

TokenIds = npt.NDArray[np.int64]

ATTENTION = "reasonembed_packed"
"""Name under which `packed_attention` is registered with Transformers."""

WRITTEN_OUT = 512
"""Longest text, in tokens, whose attention is written out in training on a CPU in bfloat16 (`_attend_written_out`)."""

WRITTEN_OUT_SCORES = 2**22
"""Most attention scores at a time there: the matrices stay near the processor's cache."""


@dataclass(frozen=True, slots=True)
class Run:
    """Texts of equal length that lie behind each other in a row.

    Attributes:
        start: First token in the row.
        count: Number of texts.
        length: Tokens of each.
    """

    start: int
    count: int
    length: int

    @property
    def end(self) -> int:
        """One past the last token."""
        return self.start + self.count * self.length


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One row of texts.

    Attributes:
        texts: Indices of the texts, in the order in which they lie; filler is not counted.
        token_ids: (n_tokens,) int64, filler included.
        positions: (n_tokens,) int64, starting anew with every text.
        boundaries: (n_texts + 1,) int32, cumulative lengths; one more where there is filler.
    """

    texts: list[int]
    token_ids: TokenIds
    positions: TokenIds
    boundaries: npt.NDArray[np.int32]

    def runs(self) -> list[Run]:
        """The runs of the texts, without the filler."""
        ends = self.boundaries[: len(self.texts) + 1]
        return list(runs_of(tuple(ends.tolist())))


@functools.lru_cache(maxsize=64)
def runs_of(boundaries: tuple[int, ...]) -> tuple[Run, ...]:
    """Texts of equal length that are neighbours, as runs.

    >>> runs_of((0, 3, 6, 8))
    (Run(start=0, count=2, length=3), Run(start=6, count=1, length=2))
    """
    lengths = [end - start for start, end in itertools.pairwise(boundaries)]
    runs, start = [], boundaries[0]
    for length, group in itertools.groupby(lengths):
        count = len(list(group))
        runs.append(Run(start, count, length))
        start += count * length
    return tuple(runs)


def pack(
    token_ids: Sequence[TokenIds], *, budget: int, multiple: int = 1, filler: int = 0, first_position: int = 0
) -> Iterator[PackedRow]:
    """Lay texts into rows, longest first.

    Args:
        token_ids: One 1-D array a text, at least one token each.
        budget: Most tokens in a row; a longer single text has a row of its own.
        multiple: Rows are filled up to a multiple of this many tokens: each new row length costs the CPU's matrix library a
            new kernel (performance.md section 1), so few lengths are better than many.
        filler: Token id of the filler, which forms a text of its own.
        first_position: Position of a text's first token (RoBERTa's family counts from the padding id + 1).

    Yields:
        Rows; every text is in exactly one.

    >>> rows = pack([np.array([7, 8]), np.array([1, 2, 3])], budget=8, multiple=4)
    >>> [(row.texts, row.token_ids.tolist(), row.positions.tolist(), row.boundaries.tolist()) for row in rows]
    [([1, 0], [1, 2, 3, 7, 8, 0, 0, 0], [0, 1, 2, 0, 1, 0, 1, 2], [0, 3, 5, 8])]
    """
    for texts in groups([len(ids) for ids in token_ids], budget):
        yield _row(token_ids, texts, multiple, filler, first_position)


def groups(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Which texts share a row: longest first, at most `budget` tokens together, a longer single text alone.

    >>> list(groups([3, 9, 4, 2], budget=10))
    [[1], [2, 0, 3]]
    """
    texts: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if texts and tokens + lengths[index] > budget:
            yield texts
            texts, tokens = [], 0
        texts.append(index)
        tokens += lengths[index]
    if texts:
        yield texts


def _row(token_ids: Sequence[TokenIds], texts: list[int], multiple: int, filler: int, first_position: int) -> PackedRow:
    parts = [token_ids[index] for index in texts]
    missing = -sum(map(len, parts)) % multiple
    if missing:
        # The filler is no longer than the longest text, so that its positions exist; several fillers stand behind each other.
        longest = len(parts[0])
        parts += [np.full(min(longest, missing - start), filler, np.int64) for start in range(0, missing, longest)]
    lengths = np.array([len(part) for part in parts])
    boundaries = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
    positions = np.concatenate([np.arange(length) for length in lengths]) + first_position
    return PackedRow(texts, np.concatenate(parts), positions.astype(np.int64), boundaries)


# --- attention (torch) ---------------------------------------------------------------------------------------------------


class NotPackable(ValueError):
    """The backbone asks for something packed attention does not do; the engine pads instead."""


def register() -> None:
    """Make `packed_attention` known to Transformers under the name `ATTENTION`; may be called any number of times."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)


def packed_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Any = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[Any, None]:
    """Attention of a packed row, each text to itself; called by Transformers in every layer.

    Args:
        module: The attention layer; `module.is_causal` decides where `is_causal` is not given.
        query: (1, heads, n_tokens, head_dim).
        key: (1, key_heads, n_tokens, head_dim).
        value: (1, key_heads, n_tokens, head_dim).
        attention_mask: None; a packed row needs no mask.
        scaling: Factor of the scores; None is 1 / sqrt(head_dim).
        dropout: Of the attention weights, in training.
        is_causal: Whether a token sees only what stands before it.
        sliding_window: A token sees tokens less than this many away; None sees all.
        cu_seq_lens_q: (n_texts + 1,) int32 cumulative lengths.
        max_length_q: Tokens of the longest text.
        others: Other keywords of other implementations.

    Returns:
        (1, n_tokens, heads, head_dim), and None for the weights.

    Raises:
        NotPackable: The call asks for a mask, soft-capping, sinks or a position bias, or brings no lengths.
    """
    import torch

    asked = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if cu_seq_lens_q is None or attention_mask is not None or query.shape[0] != 1 or asked:
        raise NotPackable(f"{type(module).__name__}: no packed lengths, a mask, or {asked or 'several rows'}")
    causal = bool(getattr(module, "is_causal", True)) if is_causal is None else is_causal
    options = {
        "scale": scaling,
        "dropout": dropout,
        "causal": causal,
        "window": sliding_window,
        "training": getattr(module, "training", False),
    }
    states = (query, key, value)
    if torch.is_autocast_enabled(query.device.type):  # rotary positions may have made float32 of queries and keys
        states = tuple(x.to(torch.get_autocast_dtype(query.device.type)) for x in states)
    q, k, v = (x[0].transpose(0, 1) for x in states)  # (n_tokens, heads, head_dim) each
    if q.is_cuda and not dropout and q.element_size() == 2 and _varlen() is not None:
        attended = _attend_varlen(q, k, v, cu_seq_lens_q, max_length_q, options)
    else:
        attended = _attend_runs(q, k, v, runs_of(tuple(cu_seq_lens_q.tolist())), options)
    return attended[None], None


def _attend_runs(q: Any, k: Any, v: Any, runs: Sequence[Run], options: dict[str, Any]) -> Any:
    """Dense scaled-dot-product calls, one a run: (n_tokens, heads, head_dim) in and out."""
    import torch

    repeats = q.shape[1] // k.shape[1]
    written_out = options["training"] and not q.is_cuda and q.dtype == torch.bfloat16
    parts = []
    sizes = [run.end - run.start for run in runs]  # split, since the gradient of a slice is as long as the whole row
    for run, *split in zip(runs, q.split(sizes), k.split(sizes), v.split(sizes), strict=True):
        states = [x.unflatten(0, (run.count, run.length)).transpose(1, 2) for x in split]
        if repeats > 1:  # grouped queries: key and value heads are shared
            states[1:] = [x.repeat_interleave(repeats, dim=1) for x in states[1:]]
        attend: Any = _attend_written_out if written_out and run.length <= WRITTEN_OUT else _attend_fused
        attended = attend(*states, options)  # (count, heads, length, head_dim) each
        parts.append(attended.transpose(1, 2).flatten(0, 1))  # (count * length, heads, head_dim)
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attend_fused(q: Any, k: Any, v: Any, options: dict[str, Any]) -> Any:
    """Attention of texts of one length by torch's own call: (count, heads, length, head_dim) in and out."""
    import torch

    length, window, causal = q.shape[2], options["window"], options["causal"]
    windowed = window is not None and length > window
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v,
        attn_mask=_window_mask(length, window, causal, q.device) if windowed else None,
        dropout_p=options["dropout"],
        is_causal=causal and not windowed and length > 1,
        scale=options["scale"],
    )  # fmt: skip


def _attend_written_out(q: Any, k: Any, v: Any, options: dict[str, Any]) -> Any:
    """The same by matrix products, a few texts at a time.

    Without AMX the backward pass of torch's fused call is slow in bfloat16 (`benchmarks/training.py`; with AMX nobody has measured
    it yet). In float32 the fused call is faster and stays.
    """
    import torch

    length, window, causal = q.shape[2], options["window"], options["causal"]
    masked = causal or (window is not None and length > window)
    hidden = ~_window_mask(length, window or length, causal, q.device) if masked else None
    scaled = q * (q.shape[-1] ** -0.5 if options["scale"] is None else options["scale"])
    texts = max(WRITTEN_OUT_SCORES // (q.shape[1] * length**2), 1)
    parts = []
    for q_part, k_part, v_part in zip(scaled.split(texts), k.split(texts), v.split(texts), strict=True):
        scores = q_part @ k_part.transpose(2, 3)  # (texts, heads, length, length)
        if hidden is not None:
            scores = scores.masked_fill(hidden, float("-inf"))
        weights = torch.nn.functional.dropout(scores.softmax(-1), options["dropout"])
        parts.append(weights @ v_part)
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@functools.lru_cache(maxsize=4)
def _window_mask(length: int, window: int, causal: bool, device: Any) -> Any:
    """(length, length) bool: which tokens see which; a window of w reaches w - 1 tokens away (as in Transformers' masks)."""
    import torch

    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None]
    return (distance < window) & (distance >= 0 if causal else distance > -window)


@functools.cache
def _varlen() -> Any:
    """Flash attention over texts of any lengths: torch's own (2.10 and later), else the package flash-attn, else None."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        try:
            from flash_attn import flash_attn_varlen_func
        except ImportError:
            return None

        def by_flash_attn(
            q: Any, k: Any, v: Any, boundaries: Any, longest: int, scale: Any, window: tuple[int, int]
        ) -> Any:
            return flash_attn_varlen_func(
                q, k, v, boundaries, boundaries, longest, longest,
                softmax_scale=scale, causal=window[1] == 0, window_size=window,
            )  # fmt: skip

        return by_flash_attn

    def by_torch(q: Any, k: Any, v: Any, boundaries: Any, longest: int, scale: Any, window: tuple[int, int]) -> Any:
        return varlen_attn(
            q, k, v, boundaries, boundaries, longest, longest,
            scale=scale, window_size=window, enable_gqa=q.shape[1] != k.shape[1],
        )  # fmt: skip

    return by_torch


def _attend_varlen(q: Any, k: Any, v: Any, boundaries: Any, longest: int | None, options: dict[str, Any]) -> Any:
    """One flash-attention call for all texts of a row on a GPU."""
    reach = -1 if options["window"] is None else options["window"] - 1
    window = (reach, 0 if options["causal"] else reach)
    longest = longest or int(boundaries.diff().max())
    return _varlen()(q.contiguous(), k.contiguous(), v.contiguous(), boundaries, longest, options["scale"], window)
