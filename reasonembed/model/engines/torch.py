"""Any Transformers backbone through torch, on a CPU or a GPU, by the library's public interfaces only.

Texts are packed: no padding, attention stays inside a text (`model.packing`). A backbone that does not take packed rows is found
by a probe at load and padded instead, with a logged line; the vectors are the same.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reasonembed.errors import MissingExtraError, ModelError
from reasonembed.model import packing
from reasonembed.model.batches import length_batches
from reasonembed.model.checkpoint import Checkpoint
from reasonembed.model.pooling import pool_padded

logger = logging.getLogger(__name__)

TokenIds = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

CPU_BUDGET = 4096
"""Tokens in a row on a CPU (performance.md section 1: 2,048 to 8,192 are equally fast, 512 is a third slower)."""

GPU_BUDGET = 65536
"""Tokens in a row on a GPU: eight texts of the longest length, the batch of the paper's evaluation (paper.md section 4)."""

MULTIPLE = 128
"""Rows are filled up to a multiple of this many tokens, so that few row lengths occur."""

_ONE_ROW_MODES = frozenset({"last", "cls"})
_PROBE_FLOOR = {"float32": 0.9999, "bfloat16": 0.99, "float16": 0.99}
_RUNS_OUT = ("out of memory", "can't allocate memory", "not enough memory")


class TorchEngine:
    """`Engine` over `transformers.AutoModel`.

    Args:
        checkpoint: An opened directory.
        device: Such as `cpu`, `cuda:0`; None takes a GPU where there is one.
        dtype: `auto` is bfloat16 where the hardware multiplies it, else float32.
        budget: Most tokens in a row; None is `CPU_BUDGET` or `GPU_BUDGET`.

    Attributes:
        model: The backbone, in evaluation mode.
        packed: Whether texts are packed; False where the backbone does not take it.
        budget: Most tokens in a row.

    Raises:
        ModelError: The weights cannot be loaded.
        MissingExtraError: torch or transformers is not installed.
    """

    name = "torch"

    def __init__(
        self, checkpoint: Checkpoint, *, device: str | None = None, dtype: str = "auto", budget: int | None = None
    ) -> None:
        try:
            import torch
            import transformers  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(error.name or "torch", "torch", "the torch engine") from error
        self.device = device or ("cuda:0" if torch.cuda.is_available() else "cpu")
        self.dtype = best_dtype(self.device) if dtype == "auto" else dtype
        self._checkpoint = checkpoint
        self.model = _load(checkpoint, getattr(torch, self.dtype)).to(self.device).eval()
        self.dim = int(self.model.config.hidden_size) * len(checkpoint.pooling)
        self._vocabulary = int(self.model.get_input_embeddings().weight.shape[0])
        self.budget = budget or (CPU_BUDGET if self.device.startswith("cpu") else GPU_BUDGET)
        self._pooled_rows: Any = None
        self._final_norm = self._hook_final_norm()
        self.packed = _takes_packed_rows(self)
        how = "packed rows" if self.packed else "padded batches"
        logger.info("%s: %s on %s, %s of %d tokens", checkpoint.name, self.dtype, self.device, how, self.budget)

    # --- token ids to vectors ----------------------------------------------------------------------------------------------

    def embed(self, token_ids: Sequence[TokenIds], prompt_lengths: Sequence[int] | None = None) -> Vectors:
        """See `Engine.embed`.

        Raises:
            ModelError: A token id is outside the model's vocabulary, or one text alone does not fit into memory.
        """
        vectors = np.empty((len(token_ids), self.dim), np.float32)
        largest = max((int(ids.max()) for ids in token_ids), default=0)
        if largest >= self._vocabulary:
            raise ModelError(
                f"token id {largest} is outside the vocabulary of {self._vocabulary}. Fix: use the model's own tokenizer"
            )
        for texts in self.rows([len(ids) for ids in token_ids]):
            skipped = None if prompt_lengths is None else [prompt_lengths[index] for index in texts]
            vectors[texts] = self._embed_or_split([token_ids[index] for index in texts], skipped)
        return vectors

    def rows(self, lengths: Sequence[int], budget: int | None = None) -> Iterator[list[int]]:
        """Which texts run together.

        Args:
            lengths: Tokens of each text.
            budget: Most tokens in a row; None is the engine's own.

        Yields:
            Indices of the texts of a packed row or a padded batch, longest first; every index exactly once.
        """
        together = packing.groups if self.packed else length_batches
        yield from together(lengths, budget or self.budget)

    def pooled(self, token_ids: Sequence[TokenIds], prompt_lengths: Sequence[int] | None = None) -> Any:
        """Run texts together, whatever their number of tokens; differentiable where gradients are enabled.

        Args:
            token_ids: One 1-D array a text, at least one text; see `rows`.
            prompt_lengths: See `Engine.embed`.

        Returns:
            (n_texts, dim) float32 tensor on the engine's device, in order, not normalised.
        """
        run = self._packed if self.packed else self._padded
        return run(token_ids, prompt_lengths)

    def _embed_or_split(self, token_ids: list[TokenIds], skipped: list[int] | None) -> Vectors:
        """One batch; where memory runs out, its halves."""
        try:
            return self._forward(token_ids, skipped)
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or any(words in str(error).lower() for words in _RUNS_OUT)):
                raise
            if len(token_ids) == 1:
                raise ModelError(
                    f"a text of {len(token_ids[0]):,} tokens does not fit into the memory of {self.device}. "
                    "Fix: a smaller max_length, dtype='bfloat16', or another device"
                ) from error
        half = len(token_ids) // 2
        logger.warning("out of memory at %d texts: trying halves", len(token_ids))
        parts = [(token_ids[:half], skipped and skipped[:half]), (token_ids[half:], skipped and skipped[half:])]
        return np.concatenate([self._embed_or_split(ids, skip or None) for ids, skip in parts])

    def _forward(self, token_ids: list[TokenIds], skipped: list[int] | None) -> Vectors:
        import torch

        with torch.inference_mode():
            result: Vectors = self.pooled(token_ids, skipped).cpu().numpy()
        return result

    def _packed(self, token_ids: Sequence[TokenIds], skipped: Sequence[int] | None) -> Any:
        """Pooled vectors of texts that lie in one row: (n_texts, dim) float32 tensor."""
        import torch

        total = sum(map(len, token_ids))
        (row,) = packing.pack(token_ids, budget=total, multiple=MULTIPLE, first_position=self._first_position())
        boundaries = torch.from_numpy(row.boundaries).to(self.device)
        longest = int(np.diff(row.boundaries).max())
        runs = row.runs()
        if self._final_norm is not None:
            self._pooled_rows = _pooled_places(row, self._checkpoint.pooling, self.device)
        try:
            hidden = self.model(
                input_ids=torch.from_numpy(row.token_ids)[None].to(self.device),  # (1, n_tokens)
                position_ids=torch.from_numpy(row.positions)[None].to(self.device),
                cu_seq_lens_q=boundaries, cu_seq_lens_k=boundaries, max_length_q=longest, max_length_k=longest,
                use_cache=False,
            ).last_hidden_state[0]  # fmt: skip  # (n_tokens, hidden), or (n_texts, hidden) behind the final norm's hook
        finally:
            self._pooled_rows = None
        if self._final_norm is not None:
            pooled = hidden.float()
        else:
            prompts = (
                None if skipped is None else torch.tensor([skipped[text] for text in row.texts], device=self.device)
            )
            pooled = _pool_runs(hidden, runs, self._checkpoint.pooling, prompts)
        return pooled[torch.from_numpy(np.argsort(row.texts)).to(self.device)]

    def _padded(self, token_ids: Sequence[TokenIds], skipped: Sequence[int] | None) -> Any:
        """Pooled vectors of a right-padded batch: (n_texts, dim) float32 tensor."""
        import torch

        lengths = torch.tensor([len(ids) for ids in token_ids])
        longest = int(lengths.max())
        pad = int(self._checkpoint.config.get("pad_token_id") or 0)
        inputs = torch.full((len(token_ids), longest), pad, dtype=torch.int64)
        for row, ids in enumerate(token_ids):
            inputs[row, : len(ids)] = torch.from_numpy(ids)
        mask = (torch.arange(longest)[None] < lengths[:, None]).to(torch.int64)  # (batch, longest)
        inputs, mask = inputs.to(self.device), mask.to(self.device)
        hidden = self.model(input_ids=inputs, attention_mask=mask).last_hidden_state  # (batch, longest, hidden)
        prompts = None if skipped is None else torch.tensor(skipped, device=self.device)
        return pool_padded(hidden.float(), mask.float(), self._checkpoint.pooling, prompts)

    # --- what packing needs to know of the backbone --------------------------------------------------------------------------

    def _first_position(self) -> int:
        """RoBERTa's family keeps the rows of its position table up to the padding id for padding."""
        family = str(self.model.config.model_type) in ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl")
        return int(self.model.config.pad_token_id or 0) + 1 if family else 0

    def _hook_final_norm(self) -> Any:
        """Where pooling reads one token a text, let the final norm see only those: a norm of n rows, not of all tokens."""
        norm = getattr(self.model, "norm", None)
        if norm is None or len(self._checkpoint.pooling) > 1 or self._checkpoint.pooling[0] not in _ONE_ROW_MODES:
            return None
        if not self._checkpoint.include_prompt:
            return None

        def only_pooled(module: Any, states: tuple[Any, ...]) -> tuple[Any, ...]:
            return states if self._pooled_rows is None else (states[0][:, self._pooled_rows], *states[1:])

        return norm.register_forward_pre_hook(only_pooled)


def _pooled_places(row: packing.PackedRow, pooling: Sequence[str], device: str) -> Any:
    """Where the pooled token of each text lies: (n_texts,) int64 tensor."""
    import torch

    ends = row.boundaries[: len(row.texts) + 1].astype(np.int64)
    return torch.from_numpy(ends[1:] - 1 if pooling[0] == "last" else ends[:-1]).to(device)


def _pool_runs(hidden: Any, runs: Sequence[packing.Run], pooling: Sequence[str], prompts: Any) -> Any:
    """Pool a packed row: (n_tokens, hidden) -> (n_texts, dim) float32; a run is a batch in which nothing is padded."""
    import torch

    pooled, first = [], 0
    parts = hidden[: runs[-1].end].split([run.end - run.start for run in runs])
    for run, part in zip(runs, parts, strict=True):
        tokens = part.float().unflatten(0, (run.count, run.length))  # (count, length, hidden)
        mask = torch.ones(run.count, run.length, device=hidden.device)
        skipped = None if prompts is None else prompts[first : first + run.count]
        pooled.append(pool_padded(tokens, mask, pooling, skipped))
        first += run.count
    return torch.cat(pooled)


def _takes_packed_rows(engine: TorchEngine) -> bool:
    """Try a packed row against each of its texts alone; leave the backbone set to whichever is right."""
    packing.register()
    window = getattr(engine.model.config, "sliding_window", None) or 0
    limit = engine._checkpoint.max_positions or 512
    longest = min(limit, window + 9 if window < 512 else 12)
    rng = np.random.default_rng(0)
    low, high = min(5, engine._vocabulary - 1), min(engine._vocabulary, 1000)
    texts = [rng.integers(low, high, size=min(n, limit)).astype(np.int64) for n in (longest, 7, 7, 3)]
    before = engine.model.config._attn_implementation
    engine.packed = False
    expected = np.concatenate([engine._forward([ids], None) for ids in texts])
    try:
        engine.model.set_attn_implementation(packing.ATTENTION)
        engine.packed = True
        found = engine._forward(texts, None)
    except (packing.NotPackable, ValueError, TypeError, IndexError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    else:
        norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
        lowest = float(((expected * found).sum(axis=1) / norms).min())
        if lowest >= _PROBE_FLOOR[engine.dtype]:
            return True
        reason = f"the probe's lowest cosine is {lowest:.4f}"
    engine.model.set_attn_implementation(before)
    logger.warning(
        "%s (%s) does not take packed rows (%s): padding instead",
        engine._checkpoint.name,
        engine.model.config.model_type,
        reason,
    )
    return False


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Transformers without its own progress bars while the block runs."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def best_dtype(device: str) -> str:
    """What `auto` stands for on a device: bfloat16 where the hardware multiplies it, else float32."""
    if device.startswith("cuda"):
        return "bfloat16"
    from reasonembed.model.hardware import has_bf16

    return "bfloat16" if device.startswith("cpu") and has_bf16() else "float32"


def _load(checkpoint: Checkpoint, dtype: Any) -> Any:
    from transformers import AutoModel

    options: dict[str, Any] = {
        "dtype": dtype,
        "trust_remote_code": checkpoint.trust_remote_code,
        "local_files_only": True,
    }
    options |= {"gguf_file": checkpoint.gguf_file} if checkpoint.gguf_file else {"use_safetensors": True}
    try:
        with without_bars():
            model = AutoModel.from_pretrained(str(checkpoint.path), **options)
    except Exception as error:  # whatever a damaged or foreign directory provokes in the library
        raise ModelError(f"{checkpoint.path}: the weights cannot be loaded: {error}") from error
    if checkpoint.causal is not None:
        model.config.is_causal = checkpoint.causal
        for layer in model.modules():
            if hasattr(layer, "is_causal"):
                layer.is_causal = checkpoint.causal
    return model
