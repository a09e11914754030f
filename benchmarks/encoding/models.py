"""The models of the benchmark as directories every contender opens: given ones saved in one layout, or random ones of their shape.

Speed does not depend on the weights, so where no weights are at hand a random model of the same shape stands in; the output says so.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonembed import Embedder
from reasonembed.io.atomic import atomic_folder
from reasonembed.io.manifest import read_json
from reasonembed.model import mini
from reasonembed.model.checkpoint import open_checkpoint
from reasonembed.model.layout import write_layout
from reasonembed.model.tokens import open_tokenizer


@dataclass(frozen=True)
class Shape:
    """A backbone's shape: class of its configuration in Transformers, its values, its pooling."""

    config: str
    pooling: str
    values: dict[str, Any]


SHAPES = {
    "minilm": Shape("BertConfig", "mean", {
        "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536,
        "max_position_embeddings": 512,
    }),
    "smollm2": Shape("LlamaConfig", "last", {
        "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "intermediate_size": 1536, "max_position_embeddings": 8192,
    }),
    "qwen3-0.6b": Shape("Qwen3Config", "last", {
        "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "intermediate_size": 3072, "max_position_embeddings": 32768,
    }),
    "qwen3-8b": Shape("Qwen3Config", "last", {
        "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "intermediate_size": 12288, "max_position_embeddings": 40960,
    }),
    "qwen3-tiny": Shape("Qwen3Config", "last", {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "intermediate_size": 128, "max_position_embeddings": 32768,
    }),
}  # fmt: skip
"""From the checkpoints' own config.json: all-MiniLM-L6-v2, SmolLM2-135M, Qwen3-0.6B, Qwen3-8B; the last is for dry runs."""


def given(name: str, weights: Path, folder: Path) -> tuple[Path, str]:
    """A checkpoint as a directory every contender opens.

    Args:
        name: Key of `SHAPES`, for its pooling.
        weights: Directory in Sentence Transformers' layout, used as it is; else one or a GGUF file, saved into `folder` once.
        folder: Where it is saved.

    Returns:
        The directory and what to call it.
    """
    if (weights / "modules.json").is_file():
        return weights, weights.name
    if not folder.exists():
        Embedder(weights, append_eos=SHAPES[name].pooling == "last", engine="torch", dtype="float32").save(folder)
    return folder, weights.name


def random_model(
    name: str,
    folder: Path,
    *,
    tokenizer: Path | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    seed: int = 0,
) -> tuple[Path, str]:
    """A random model of a known shape, saved once, in the layout every contender opens.

    Args:
        name: Key of `SHAPES`.
        folder: Where it is saved; one that exists is used again.
        tokenizer: Folder with tokenizer.json and tokenizer_config.json; None takes that of the small model that ships.
        dtype: Of the stored weights.
        device: Where the weights are drawn; a GPU is faster for large ones.
        seed: Of the weights.

    Returns:
        The directory and what to call it.
    """
    source = tokenizer or mini.path()
    label = f"random weights of {name}'s shape, tokenizer {source.name}"
    if folder.exists():
        return folder, label
    import tokenizers
    import torch
    import transformers

    shape = SHAPES[name]
    words = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    config = getattr(transformers, shape.config)(**shape.values, vocab_size=-(-words.get_vocab_size() // 64) * 64)
    torch.manual_seed(seed)
    with atomic_folder(folder) as temporary, torch.device(device):
        model = transformers.AutoModel.from_config(config, dtype=getattr(torch, dtype))
        model.save_pretrained(temporary)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(source / file, temporary / file)
        ends = shape.pooling == "last" and "eos_token" in read_json(temporary / "tokenizer_config.json")
        checkpoint = open_checkpoint(temporary, pooling=(shape.pooling,), append_eos=ends or None)
        write_layout(
            temporary, checkpoint, open_tokenizer(checkpoint), hidden_size=model.config.hidden_size, query_prompt=""
        )
    return folder, label
