"""Tiny random models of every architecture we open, in the layouts users have; built in a second, saved as real directories.

`python tests/tiny.py` rebuilds the committed `tests/data/tiny-qwen3` (seed 0).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCABULARY = 384
EOS, PAD, BOS = "<|endoftext|>", "<|pad|>", "<|bos|>"
_SHARED = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
_DECODER = {
    **_SHARED,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": 1,
    "eos_token_id": 0,
    "bos_token_id": 2,
}
_ENCODER = {**_SHARED, "max_position_embeddings": 130, "pad_token_id": 1}
ARCHITECTURES = {
    "qwen3": lambda: transformers.Qwen3Config(**_DECODER, head_dim=8),
    "qwen2": lambda: transformers.Qwen2Config(**_DECODER),
    "llama": lambda: transformers.LlamaConfig(**_DECODER, rope_parameters={"rope_type": "default", "rope_theta": 50000.0}),
    "mistral": lambda: transformers.MistralConfig(**_DECODER, sliding_window=16),
    "bert": lambda: transformers.BertConfig(**{**_ENCODER, "max_position_embeddings": 128}),
    "mpnet": lambda: transformers.MPNetConfig(**_ENCODER),
    "xlm-roberta": lambda: transformers.XLMRobertaConfig(**_ENCODER),
    "modernbert": lambda: transformers.ModernBertConfig(
        **{**_ENCODER, "max_position_embeddings": 128}, local_attention=16, cls_token_id=2, sep_token_id=0, bos_token_id=2,
        eos_token_id=0, reference_compile=False,
    ),
}  # fmt: skip
DECODERS = ("qwen3", "qwen2", "llama", "mistral")
ENCODERS = ("bert", "mpnet", "xlm-roberta", "modernbert")


def tokenizer(*, eos: bool, bos: bool = False) -> Tokenizer:
    """A byte-level BPE of `VOCABULARY` tokens; its template appends EOS and prepends BOS where asked."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[EOS, PAD, BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    built.train_from_iterator(
        ["the theorem states that the matrix has an eigenvalue and the query finds a document"] * 4, trainer
    )
    if eos or bos:
        single = f"{BOS if bos else ''} $A {EOS if eos else ''}".strip()
        built.post_processor = processors.TemplateProcessing(single=single, special_tokens=[(EOS, 0), (BOS, 2)])
    return built


def build(folder: Path, kind: str, *, eos: bool | None = None, seed: int = 0, **tokenizer_config: object) -> Path:
    """Save a random model of architecture `kind` as a plain Transformers directory and return the folder."""
    torch.manual_seed(seed)
    config = ARCHITECTURES[kind]()
    model = transformers.AutoModel.from_config(config)
    for parameter in model.parameters():  # wider than the default init, so that vectors of different texts differ
        torch.nn.init.normal_(parameter, std=0.25) if parameter.ndim > 1 else None
    decoder = kind in DECODERS
    model.save_pretrained(folder)
    tokenizer(eos=decoder if eos is None else eos, bos=not decoder).save(str(folder / "tokenizer.json"))
    said = {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": EOS, "pad_token": PAD, "model_max_length": 512 if decoder else 128,
        "padding_side": "left" if decoder else "right", **tokenizer_config,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


if __name__ == "__main__":
    print(build(Path(__file__).parent / "data" / "tiny-qwen3", "qwen3"))  # noqa: T201
