"""Any Transformers backbone through torch, on a CPU or a GPU, by the library's public interfaces only.

Texts are sorted by length and padded on the right under a token budget; pooling reads the mask. Padding never changes a vector:
attention is masked and positions count from the left.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reasonembed.errors import MissingExtraError, ModelError
from reasonembed.model.batches import length_batches
from reasonembed.model.checkpoint import Checkpoint
from reasonembed.model.pooling import pool_padded

logger = logging.getLogger(__name__)

CPU_BUDGET = 8192
"""Tokens in a padded batch on a CPU (performance.md section 1: speed is flat from 2,048 to 8,192)."""

GPU_BUDGET = 65536
"""Tokens in a padded batch on a GPU: eight texts of the longest length, the batch of the paper's evaluation (paper.md section 4)."""


class TorchEngine:
    """`Engine` over `transformers.AutoModel`.

    Args:
        checkpoint: An opened directory.
        device: Such as `cpu`, `cuda:0`; None takes a GPU where there is one.
        dtype: `auto` is bfloat16 on CUDA and on CPUs with AMX, else float32.

    Raises:
        ModelError: The weights cannot be loaded.
        MissingExtraError: torch or transformers is not installed.
    """

    name = "torch"

    def __init__(self, checkpoint: Checkpoint, *, device: str | None = None, dtype: str = "auto") -> None:
        try:
            import torch
            import transformers  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(error.name or "torch", "torch", "the torch engine") from error
        self.device = device or ("cuda:0" if torch.cuda.is_available() else "cpu")
        self.dtype = _best_dtype(self.device) if dtype == "auto" else dtype
        self._checkpoint = checkpoint
        self.model = _load(checkpoint, getattr(torch, self.dtype)).to(self.device).eval()
        self.dim = int(self.model.config.hidden_size) * len(checkpoint.pooling)
        self._vocabulary = int(self.model.get_input_embeddings().weight.shape[0])
        self._budget = CPU_BUDGET if self.device.startswith("cpu") else GPU_BUDGET

    def embed(
        self, token_ids: Sequence[npt.NDArray[np.int64]], prompt_lengths: Sequence[int] | None = None
    ) -> npt.NDArray[np.float32]:
        """See `Engine.embed`.

        Raises:
            ModelError: A token id is outside the model's vocabulary.
        """
        vectors = np.empty((len(token_ids), self.dim), np.float32)
        largest = max((int(ids.max()) for ids in token_ids), default=0)
        if largest >= self._vocabulary:
            raise ModelError(
                f"token id {largest} is outside the vocabulary of {self._vocabulary}. Fix: use the model's own tokenizer"
            )
        for batch in length_batches([len(ids) for ids in token_ids], self._budget):
            skipped = None if prompt_lengths is None else [prompt_lengths[index] for index in batch]
            vectors[batch] = self._forward([token_ids[index] for index in batch], skipped)
        return vectors

    def _forward(
        self, token_ids: list[npt.NDArray[np.int64]], prompt_lengths: list[int] | None
    ) -> npt.NDArray[np.float32]:
        import torch

        lengths = torch.tensor([len(ids) for ids in token_ids])
        longest = int(lengths.max())
        pad = int(self._checkpoint.config.get("pad_token_id") or 0)
        inputs = torch.full((len(token_ids), longest), pad, dtype=torch.int64)
        for row, ids in enumerate(token_ids):
            inputs[row, : len(ids)] = torch.from_numpy(ids)
        mask = (torch.arange(longest)[None] < lengths[:, None]).to(torch.int64)  # (batch, longest)
        with torch.inference_mode():
            inputs, mask = inputs.to(self.device), mask.to(self.device)
            hidden = self.model(input_ids=inputs, attention_mask=mask).last_hidden_state  # (batch, longest, hidden)
            skipped = None if prompt_lengths is None else torch.tensor(prompt_lengths, device=self.device)
            pooled = pool_padded(hidden.float(), mask.float(), self._checkpoint.pooling, skipped)
        result: npt.NDArray[np.float32] = pooled.cpu().numpy()
        return result


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


def _best_dtype(device: str) -> str:
    if device.startswith("cuda"):
        return "bfloat16"
    from reasonembed.model.hardware import has_amx_bf16

    return "bfloat16" if device.startswith("cpu") and has_amx_bf16() else "float32"


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
