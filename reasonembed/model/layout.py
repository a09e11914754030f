"""Writes the model directory that every tool opens: Sentence Transformers 5.3 to 6.x, FlagEmbedding, vLLM, and our Embedder.

The module names and pooling keys are Sentence Transformers' *old* ones: 5.3 cannot read the new ones, and vLLM reads the new
pooling key as mean pooling (vllm#45995); 6.x reads both. The tokenizer's template carries the EOS, so no tool can forget it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from reasonembed.io.atomic import atomic_write
from reasonembed.io.manifest import read_json, versions, write_json
from reasonembed.model.checkpoint import OWN_FILE, Checkpoint
from reasonembed.model.tokens import TextTokenizer

_OLD_POOLING_KEYS = {
    "cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens", "weightedmean": "pooling_mode_weightedmean_tokens",
    "last": "pooling_mode_lasttoken",
}  # fmt: skip


def write_layout(
    folder: Path, checkpoint: Checkpoint, tokenizer: TextTokenizer, *, hidden_size: int, query_prompt: str
) -> None:
    """Write everything but the weights into a folder, and make its `config.json` readable by transformers 4.

    Args:
        folder: Where the weights and `config.json` of transformers 5 lie already.
        checkpoint: What the model is.
        tokenizer: Its tokenizer with the template in force.
        hidden_size: Width of a token vector, before pooling.
        query_prompt: What stands before a query that comes without an instruction.
    """
    _both_rope_spellings(folder / "config.json")
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), *_head_modules(checkpoint)]
    modules.append(("Normalize", f"{len(modules)}_Normalize"))
    with atomic_write(folder / "modules.json") as file:
        rows = [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (kind, path) in enumerate(modules)
        ]
        file.write(json.dumps(rows, indent=2))  # type: ignore[call-overload]
    (folder / modules[-1][1]).mkdir()
    write_json(folder / modules[-1][1] / "config.json", {})
    pooling: dict[str, Any] = {"word_embedding_dimension": hidden_size}
    pooling |= {key: mode in checkpoint.pooling for mode, key in _OLD_POOLING_KEYS.items()}
    (folder / "1_Pooling").mkdir()
    write_json(folder / "1_Pooling" / "config.json", pooling | {"include_prompt": checkpoint.include_prompt})
    for head, (_, path) in zip(checkpoint.heads, modules[2:], strict=False):
        shutil.copytree(head.path, folder / path)
    longest = max(checkpoint.query_max_length, checkpoint.document_max_length)
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": longest, "do_lower_case": checkpoint.lower_case},
    )
    _write_prompts(folder, checkpoint, query_prompt)
    _write_tokenizer(folder, checkpoint, tokenizer, longest)


def _both_rope_spellings(path: Path) -> None:
    """Add `rope_theta` and `rope_scaling` beside transformers 5's `rope_parameters`.

    transformers 4 (Sentence Transformers 5.3) knows only the old keys and would take its default base without a word: SmolLM2,
    base 100,000, then gives vectors at cosine 0.95 to the right ones (tests/live/test_peers.py).
    """
    config = read_json(path)
    rope = config.get("rope_parameters") or {}
    if (
        "rope_theta" not in rope
    ):  # no rotary positions, or one base per layer type, which transformers 4 spells per model
        return
    config["rope_theta"] = rope["rope_theta"]
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    write_json(path, config)


def _head_modules(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    return [(head.kind, f"{index}_{head.kind}") for index, head in enumerate(checkpoint.heads, start=2)]


def _write_prompts(folder: Path, checkpoint: Checkpoint, query_prompt: str) -> None:
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "__version__": {
                "sentence_transformers": "5.3.0",
                **{k: v for k, v in versions().items() if k in ("torch", "transformers")},
            },
            "prompts": {"query": query_prompt, "document": checkpoint.document_prompt},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    own = {
        "query_format": checkpoint.query_format, "instruction": checkpoint.instruction,
        "query_max_length": checkpoint.query_max_length, "document_max_length": checkpoint.document_max_length,
        "document_prompt": checkpoint.document_prompt, "causal": checkpoint.causal,
    }  # fmt: skip
    write_json(folder / OWN_FILE, own | {"versions": versions()})


def _write_tokenizer(folder: Path, checkpoint: Checkpoint, tokenizer: TextTokenizer, longest: int) -> None:
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    copy = Tokenizer.from_str(tokenizer.tokenizer.to_str())
    special = {index: str(copy.id_to_token(index)) for index in (*tokenizer.prefix, *tokenizer.suffix)}
    before, after = (" ".join(special[index] for index in ids) for ids in (tokenizer.prefix, tokenizer.suffix))
    single = f"{before} $A {after}".strip()
    if special:
        copy.post_processor = TemplateProcessing(
            single=single,
            pair=f"{single} $B:1 {after}".strip(),
            special_tokens=[(text, index) for index, text in special.items()],
        )
    with atomic_write(folder / "tokenizer.json") as file:
        file.write(copy.to_str(pretty=True))  # type: ignore[call-overload]
    source = checkpoint.path / "tokenizer_config.json"
    config = read_json(source) if source.is_file() else {}
    kept = {
        key: value
        for key, value in config.items()
        if key.endswith("_token") or key in ("added_tokens_decoder", "padding_side")
    }
    kept.pop("add_eos_token", None), kept.pop("add_bos_token", None)
    eos = (
        special[tokenizer.suffix[-1]]
        if tokenizer.suffix and "last" in checkpoint.pooling
        else _text(kept.get("eos_token"))
    )
    if eos:
        kept["eos_token"] = eos
        kept["pad_token"] = kept.get("pad_token") or eos
    # PreTrainedTokenizerFast: transformers 5 would write TokenizersBackend, which transformers 4 does not know.
    write_json(
        folder / "tokenizer_config.json",
        kept
        | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": longest,
            "clean_up_tokenization_spaces": False,
        },
    )


def _text(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token
