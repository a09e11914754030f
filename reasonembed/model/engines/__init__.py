"""Engines turn token ids into pooled vectors; each is one file here. They know nothing of text, prompts or files of data.

A new engine is a file with a class that satisfies `Engine` and one line in `open_engine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from reasonembed.errors import ModelError

if TYPE_CHECKING:
    from reasonembed.model.checkpoint import Checkpoint

ENGINES = ("auto", "openvino", "torch")
DTYPES = ("auto", "float32", "bfloat16", "float16")


class Engine(Protocol):
    """Token ids of many texts in, one pooled vector a text out.

    Attributes:
        name: `torch`, `openvino`, ...
        device: `cpu`, `cuda:0`, ...
        dtype: Type of the arithmetic: `float32`, `bfloat16` or `float16`.
        dim: Width of the vectors.
    """

    name: str
    device: str
    dtype: str
    dim: int

    def embed(
        self, token_ids: Sequence[npt.NDArray[np.int64]], prompt_lengths: Sequence[int] | None = None
    ) -> npt.NDArray[np.float32]:
        """Embed texts given as token ids.

        Args:
            token_ids: One 1-D array a text, special tokens included, each at least one token long.
            prompt_lengths: Leading tokens of each text that pooling leaves out (Sentence Transformers'
                `include_prompt: false`); None pools all tokens.

        Returns:
            (n_texts, dim) float32, in the order of the texts, not normalised; the same vector whatever the company.
        """
        ...


def open_engine(
    checkpoint: Checkpoint, *, engine: str = "auto", device: str | None = None, dtype: str = "auto"
) -> Engine:
    """Open the engine that runs a checkpoint.

    Args:
        checkpoint: An opened directory.
        engine: One of `ENGINES`; `auto` takes `openvino` where the directory holds OpenVINO weights and no GPU is asked
            for, else `torch`.
        device: Such as `cpu` or `cuda:0`; None takes the best there is.
        dtype: One of `DTYPES`; `auto` takes bfloat16 where the hardware multiplies it (AMX, CUDA), else float32.

    Raises:
        ModelError: An unknown engine or dtype, or an engine the directory has no weights for.
        MissingExtraError: The engine's packages are not installed.
    """
    if engine not in ENGINES:
        raise ModelError(f"engine {engine!r} is unknown. Fix: one of {', '.join(ENGINES)}")
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r} is unknown. Fix: one of {', '.join(DTYPES)}")
    on_cpu = device is None or device.startswith("cpu")
    if engine == "openvino" or (engine == "auto" and checkpoint.openvino_file is not None and on_cpu):
        from reasonembed.model.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(checkpoint, device=device, dtype=dtype)
    from reasonembed.model.engines.torch import TorchEngine

    return TorchEngine(checkpoint, device=device, dtype=dtype)
