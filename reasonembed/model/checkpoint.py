"""What a model directory says about itself: architecture, pooling, prompts, lengths; read without loading a weight.

`Checkpoint` is what the engines and the `Embedder` need to know; `open_checkpoint` reads it from a Sentence Transformers
directory (old and new spelling), a FlagEmbedding or plain Transformers directory, a GGUF file, or the hub. What a directory
does not say comes from `known.KNOWN`; what the caller says wins over both.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reasonembed.errors import MissingExtraError, ModelError
from reasonembed.io.manifest import read_json
from reasonembed.model.head import Head
from reasonembed.model.known import REASONEMBED_FORMAT, find_known
from reasonembed.model.pooling import POOLING_MODES

logger = logging.getLogger(__name__)

OWN_FILE = "reasonembed.json"
"""What `Embedder.save` writes beside the Sentence Transformers files: format, instruction, lengths, EOS."""

LONGEST_DEFAULT = 8192
"""Length limit in tokens where a checkpoint allows more and nobody says otherwise (paper.md section 4; mteb results#644)."""

DECODERS = frozenset(
    {
        "qwen3",
        "qwen2",
        "llama",
        "mistral",
        "mixtral",
        "gemma",
        "gemma2",
        "gemma3_text",
        "phi3",
        "qwen3_moe",
        "olmo2",
        "gpt2",
    }
)
"""Architectures pooled at the last token where nothing says otherwise."""

_POSITION_OFFSET = {
    "xlm-roberta": 2,
    "roberta": 2,
    "camembert": 2,
    "mpnet": 2,
}  # rows of the position table kept for padding
_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "openvino/*", "*.jinja")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model directory, opened but not loaded.

    Attributes:
        path: The directory, or the folder of the GGUF file.
        name: What scores and the table of known checkpoints call it.
        layout: `sentence-transformers`, `transformers` or `gguf`.
        model_type: `qwen3`, `bert`, ...
        config: Transformers' `config.json` (empty for GGUF).
        pooling: Modes whose vectors are concatenated, of `pooling.POOLING_MODES`.
        include_prompt: Whether pooling reads the tokens of the prompt.
        heads: Layers behind the pooling, in order.
        query_format: Format of a query with an instruction, two `{}`: instruction, then query; None for a model that was
            not trained with instructions.
        instruction: Instruction used when the caller gives none; None uses `query_prompt`.
        query_prompt: Text put before a query that has no instruction.
        document_prompt: Text put before a document.
        default_prompt: Text put before what `Embedder.encode` gets (Sentence Transformers' default prompt).
        query_max_length: Longest query, tokens, special tokens included.
        document_max_length: Longest document, tokens, special tokens included.
        max_positions: Longest input the architecture takes, tokens; None where config.json does not say.
        append_eos: True appends EOS where the tokenizer does not; False leaves the tokenizer alone; None is "not said".
        eos_token: Text of the EOS where it is not the tokenizer's own.
        lower_case: Whether texts are lower-cased before the tokenizer (old Sentence Transformers).
        causal: False asks a decoder for bidirectional attention; None leaves it to the architecture.
        gguf_file: Name of the GGUF file inside `path`.
        openvino_file: OpenVINO graph whose output is the token vectors (batch, length, dim).
        revision: Revision it was fetched at; None for a local directory.
        trust_remote_code: Whether the directory's own Python may run.
    """

    path: Path
    name: str
    layout: str
    model_type: str
    config: dict[str, Any] = field(default_factory=dict)
    pooling: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    heads: tuple[Head, ...] = ()
    query_format: str | None = None
    instruction: str | None = None
    query_prompt: str = ""
    document_prompt: str = ""
    default_prompt: str = ""
    query_max_length: int = 512
    document_max_length: int = 512
    max_positions: int | None = None
    append_eos: bool | None = None
    eos_token: str | None = None
    lower_case: bool = False
    causal: bool | None = None
    gguf_file: str | None = None
    openvino_file: Path | None = None
    revision: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for mode in self.pooling:
            if mode not in POOLING_MODES:
                raise ModelError(f"{self.name}: pooling {mode!r} is unknown. Fix: one of {', '.join(POOLING_MODES)}")
        if self.query_format is not None and self.query_format.count("{}") != 2:
            raise ModelError(
                f"{self.name}: query format {self.query_format!r} needs two '{{}}': the instruction, then the query"
            )
        for what, length in (("query", self.query_max_length), ("document", self.document_max_length)):
            if length < 1 or (self.max_positions is not None and length > self.max_positions):
                raise ModelError(
                    f"{self.name}: {what} length {length} is outside 1..{self.max_positions} tokens, what the model takes"
                )


def open_checkpoint(
    name_or_path: str | Path, *, revision: str | None = None, trust_remote_code: bool = False, **told: Any
) -> Checkpoint:
    """Open a model directory, a GGUF file, or a name on the hub.

    Args:
        name_or_path: Directory, `.gguf` file, or hub name such as `hanhainebula/reason-embed-qwen3-8b-0928`.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Let the directory's own Python run.
        told: Fields of `Checkpoint` that the caller knows better; None values are ignored.

    Raises:
        ModelError: Nothing there, pickled weights only, or a module or setting that is not supported.
        MissingExtraError: The hub is needed and `huggingface_hub` is not installed.
    """
    path, commit = _locate(str(name_or_path), revision)
    name = str(name_or_path) if commit else path.name
    if path.suffix == ".gguf":
        said = _read_gguf(path)
        folder = path.parent
    else:
        said = _read_folder(path)
        folder = path
    fields: dict[str, Any] = {
        "path": folder,
        "name": name,
        "revision": commit,
        "trust_remote_code": trust_remote_code,
    }
    fields |= said | _own(folder)
    fields |= {key: value for key, value in told.items() if value is not None}
    return Checkpoint(**fields)


def with_lengths(checkpoint: Checkpoint, max_length: int) -> Checkpoint:
    """The same checkpoint with one limit, in tokens, for queries and documents.

    Raises:
        ModelError: The model takes no such length.
    """
    return replace(checkpoint, query_max_length=max_length, document_max_length=max_length)


def _locate(name: str, revision: str | None) -> tuple[Path, str | None]:
    path = Path(name).expanduser()
    if path.exists():
        if path.is_dir() and not (path / "config.json").is_file() and not (path / "modules.json").is_file():
            found = sorted(path.glob("*.gguf"))
            if len(found) == 1:
                return found[0], None
            if found:
                raise ModelError(
                    f"{path}: several GGUF files ({', '.join(f.name for f in found)}). Fix: name one of them"
                )
            raise ModelError(f"{path}: no config.json, modules.json or .gguf file. Fix: point at a model directory")
        return path, None
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"{name}: no such directory or file")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "hub", f"fetching {name}") from error
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*_HUB_FILES, "*.py"]))
    except Exception as error:  # the hub client raises many kinds: offline, not found, gated, HTTP
        raise ModelError(f"{name}: no such directory, and the hub does not give it: {error}") from error
    return folder, folder.name


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _own(folder: Path) -> dict[str, Any]:
    keys = (
        "query_format",
        "instruction",
        "query_max_length",
        "document_max_length",
        "document_prompt",
        "append_eos",
        "causal",
    )
    said = _json(folder / OWN_FILE)
    return {key: said[key] for key in keys if said.get(key) is not None}


def _read_folder(path: Path) -> dict[str, Any]:
    config = _json(path / "config.json")
    openvino_file = next(
        (f for f in (path / "openvino/openvino_model.xml", path / "openvino_model.xml") if f.is_file()), None
    )
    _check_weights(path, openvino_file)
    model_type = str(config.get("model_type", ""))
    if not model_type:
        raise ModelError(f"{path}: config.json is missing or names no model_type. Fix: point at a model directory")
    max_positions = config.get("max_position_embeddings")
    if max_positions is not None:
        max_positions -= _POSITION_OFFSET.get(model_type, 0)
    length = _default_length(path, max_positions)
    decoder = model_type in DECODERS
    fields: dict[str, Any] = {
        "layout": "transformers", "model_type": model_type, "config": config, "openvino_file": openvino_file,
        "max_positions": max_positions, "query_max_length": length, "document_max_length": length,
        "pooling": ("last",) if decoder else ("mean",), "query_format": REASONEMBED_FORMAT if decoder else None,
    }  # fmt: skip
    if (path / "modules.json").is_file():
        fields |= _read_sentence_transformers(path, length)
    fields |= _from_known(
        path.name if find_known(path.name) else str(config.get("_name_or_path", "")), max_positions, fields
    )
    return fields


def _from_known(name: str, max_positions: int | None, said: dict[str, Any]) -> dict[str, Any]:
    known = find_known(name)
    if known is None:
        return {}
    limit = max_positions or LONGEST_DEFAULT
    fields: dict[str, Any] = {
        "query_format": known.query_format, "document_prompt": known.document_prompt, "causal": known.causal,
        "append_eos": known.append_eos, "eos_token": known.eos_token, "instruction": known.instruction,
        "query_max_length": min(known.query_max_length, limit), "document_max_length": min(known.document_max_length, limit),
    }  # fmt: skip
    if said["layout"] != "sentence-transformers":
        fields["pooling"] = (known.pooling,)
    return fields


def _check_weights(path: Path, openvino_file: Path | None) -> None:
    if any(path.glob("*.safetensors")) or openvino_file is not None:
        return
    pickled = sorted(f.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl") for f in path.glob(pattern))
    if pickled:
        raise ModelError(
            f"{path}: only pickled weights ({', '.join(pickled[:3])}), which can run code when opened; they are refused. "
            "Fix: save the model with safe_serialization=True where you trust it"
        )
    raise ModelError(
        f"{path}: no weights (*.safetensors, openvino/openvino_model.xml or *.gguf). Fix: fetch the model whole"
    )


def _default_length(path: Path, max_positions: int | None) -> int:
    said = _json(path / "tokenizer_config.json").get("model_max_length")
    limits = [LONGEST_DEFAULT, max_positions, int(said) if isinstance(said, int | float) else None]
    return min(limit for limit in limits if limit)


# --- Sentence Transformers ---------------------------------------------------------------------------------------------

_OLD_POOLING = {  # key written up to 5.3 -> mode, in the order in which Sentence Transformers concatenates
    "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len", "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "last",
}  # fmt: skip
_NEW_POOLING = {"lasttoken": "last", "mean_sqrt_len_tokens": "mean_sqrt_len"}


def _read_sentence_transformers(path: Path, length: int) -> dict[str, Any]:
    """Fields said by modules.json and its neighbours, in the spelling of any version from 2 to 6."""
    fields: dict[str, Any] = {"layout": "sentence-transformers", "append_eos": None}
    heads: list[Head] = []
    normalised = False
    for module in _modules(path):
        kind, folder = str(module["type"]).rsplit(".", 1)[-1], path / str(module["path"])
        if kind == "Transformer":
            settings = _transformer_settings(path, folder)
            fields["lower_case"] = bool(settings.get("do_lower_case"))
            said = settings.get("max_seq_length")
            fields["query_max_length"] = fields["document_max_length"] = int(said) if said else length
        elif kind == "Pooling":
            fields |= _read_pooling(folder)
        elif kind in ("Dense", "LayerNorm", "Normalize"):
            heads.append(Head(folder, kind))
            normalised = kind == "Normalize"
        elif kind != "Dropout":
            raise ModelError(
                f"{path}: module {module['type']} is not supported. Fix: Transformer, Pooling, Dense, LayerNorm, Normalize"
            )
    if normalised:
        heads.pop()  # the Embedder normalises at the end anyway
    prompts = _json(path / "config_sentence_transformers.json")
    if not normalised and prompts.get("similarity_fn_name") in ("dot", "dot_score"):
        logger.warning(
            "%s scores by dot product of vectors that are not normalised; here they are, and scores are cosines",
            path.name,
        )
    return fields | {"heads": tuple(heads)} | _read_prompts(prompts)


def _modules(path: Path) -> list[dict[str, Any]]:
    file = path / "modules.json"
    try:
        modules = json.loads(file.read_text("utf-8"))
        return sorted(modules, key=lambda module: int(module["idx"]))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise ModelError(f"{file}: not a list of modules: {error}. Fix: fetch the model again") from error


def _transformer_settings(path: Path, folder: Path) -> dict[str, Any]:
    if folder != path and folder.is_dir() and any(folder.iterdir()):
        raise ModelError(f"{path}: the transformer lies in {folder.name}/. Fix: open {folder} or save the model again")
    names = ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_xlnet_config.json")
    return next((_json(folder / name) for name in names if (folder / name).is_file()), {})


def _read_pooling(folder: Path) -> dict[str, Any]:
    config = _json(folder / "config.json")
    said = config.get("pooling_mode")
    if said is None:
        modes = tuple(mode for key, mode in _OLD_POOLING.items() if config.get(key))
    else:
        modes = tuple(_NEW_POOLING.get(mode, mode) for mode in ([said] if isinstance(said, str) else said))
    return {"pooling": modes or ("mean",), "include_prompt": bool(config.get("include_prompt", True))}


def _read_prompts(config: dict[str, Any]) -> dict[str, Any]:
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name") or "", "")
    document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), default)
    return {
        "query_prompt": prompts.get("query", default),
        "document_prompt": document,
        "default_prompt": default,
    }


# --- GGUF --------------------------------------------------------------------------------------------------------------

_GGUF_POOLING = {1: "mean", 2: "cls", 3: "last"}  # llama.cpp's enum llama_pooling_type


def _read_gguf(path: Path) -> dict[str, Any]:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise MissingExtraError("gguf", "torch", f"opening {path.name}") from error
    try:
        reader = GGUFReader(str(path))
    except Exception as error:  # the reader raises whatever a damaged file provokes
        raise ModelError(f"{path}: cannot be read as GGUF: {error}. Fix: fetch the file again") from error

    def value(key: str) -> Any:
        found = reader.get_field(key)
        return None if found is None else found.contents()

    architecture = str(value("general.architecture"))
    positions = value(f"{architecture}.context_length")
    mode = _GGUF_POOLING.get(value(f"{architecture}.pooling_type") or 0)
    length = min(LONGEST_DEFAULT, positions or LONGEST_DEFAULT)
    return {
        "name": path.stem, "layout": "transformers" if mode is None else "gguf", "model_type": architecture, "gguf_file": path.name,
        "pooling": (mode or ("last" if architecture in DECODERS else "mean"),), "append_eos": value("tokenizer.ggml.add_eos_token"),
        "query_format": REASONEMBED_FORMAT if architecture in DECODERS else None,
        "max_positions": positions, "query_max_length": length, "document_max_length": length,
    }  # fmt: skip
