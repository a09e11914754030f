"""The model of a training: opened from any directory the `Embedder` opens, with adapters or without, and saved as such a directory.

Gets a `TrainConfig`, gives an embedder with the module that is trained. What is saved is never the module itself but the starting
model, opened again on the CPU, with the trained weights put in: training goes on undisturbed.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from reasonembed.encode.embedder import Embedder
from reasonembed.errors import MissingExtraError, ModelError
from reasonembed.io.atomic import atomic_write
from reasonembed.io.manifest import read_json, write_json
from reasonembed.model.checkpoint import OWN_FILE, Checkpoint
from reasonembed.model.engines.torch import best_dtype
from reasonembed.training.batches import check_lengths
from reasonembed.training.config import LoraConfig, TrainConfig
from reasonembed.training.encoder import PackedEncoder

logger = logging.getLogger(__name__)

Weights = Mapping[str, torch.Tensor]

FULL_FILE, ADAPTER_FILE, ADAPTER_CONFIG = "model.safetensors", "adapter_model.safetensors", "adapter_config.json"
"""Trained weights in a checkpoint: all of them, or those of the adapters (PEFT's names)."""
_PREFIX = "backbone."
_TOLD = ("instruction", "query_max_length", "document_max_length", "append_eos")


@dataclass(frozen=True, slots=True)
class Trainable:
    """A model that is trained.

    Attributes:
        config: Of the training.
        embedder: Around the live weights, with the instruction and the lengths that its result is saved with (`as_trained`).
        encoder: What is trained; shares its weights with the embedder's engine.
        dtype: Of the computation, `float32` or `bfloat16`.
        peft: The backbone with its adapters; None where all weights are trained.
    """

    config: TrainConfig
    embedder: Embedder
    encoder: PackedEncoder
    dtype: str
    peft: Any = None

    @property
    def engine(self) -> Any:
        """The torch engine of the embedder."""
        return self.embedder.engine

    def autocast(self) -> torch.autocast:
        """A fresh context in which matrices are multiplied in `dtype`."""
        kind = torch.device(self.engine.device).type
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.dtype == "bfloat16")


def open_trainable(config: TrainConfig, *, device: str | None = None) -> Trainable:
    """Open the model of a training.

    Weights that are trained are float32; those below adapters are in the dtype of the computation, or in 4 bits.

    Args:
        config: Names the model and says how it is trained.
        device: Such as `cpu`; None takes the GPU of this process, else the CPU.

    Raises:
        ModelError: It cannot be opened, has layers behind the pooling, or does not take the lengths.
        MissingExtraError: PEFT is not installed.
    """
    device = device or own_device()
    dtype = best_dtype(device) if config.dtype == "auto" else config.dtype
    loaded_on = "cpu" if config.load_in_4bit else device
    embedder = _opened(config, loaded_on, dtype if config.lora else "float32")
    engine: Any = embedder.engine
    if config.load_in_4bit:
        _quantise(engine, device)
    if config.dropout is not None:
        _set_dropout(engine.model, config.dropout)
    peft = None
    if config.lora is not None:
        torch.manual_seed(config.seed)  # adapters begin at random: the same on every process and after every stop
        peft = engine.model = _with_adapters(engine.model, config.lora)
    if config.gradient_checkpointing:
        _checkpoint_activations(engine.model)
    encoder = PackedEncoder(engine)
    encoder._no_split_modules = getattr(engine.model, "_no_split_modules", None)  # layers that FSDP shards one by one
    count = sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad)
    logger.info("%s: %s weights are trained, computed in %s on %s", embedder.name, f"{count:,}", dtype, device)
    return Trainable(config, embedder, encoder, dtype, peft)


def own_device() -> str:
    """The GPU of this process (`LOCAL_RANK`, set by torchrun and accelerate), else the CPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def _opened(config: TrainConfig, device: str, dtype: str) -> Embedder:
    """The starting model with the instruction and the lengths that are saved with it."""
    embedder = Embedder(config.model, engine="torch", device=device, dtype=dtype, append_eos=config.append_eos)
    layers = [head.kind for head in embedder.checkpoint.heads if head.kind != "Normalize"]
    if layers:
        raise ModelError(
            f"{embedder.name} has layers behind its pooling ({', '.join(layers)}), which are not trained. "
            "Fix: start from a model without them"
        )
    embedder.checkpoint = as_trained(embedder.checkpoint, config)
    return embedder


def as_trained(checkpoint: Checkpoint, config: TrainConfig) -> Checkpoint:
    """The checkpoint with the instruction of a training, which its result is saved with, and lengths that are at least the training's.

    Texts may be cut in training to save time; what the model reads afterwards is not cut shorter than before (docs/lab.md, 7).

    Raises:
        ModelError: The model does not take the lengths.
    """
    check_lengths(checkpoint, config.lengths)
    told: dict[str, Any] = {
        "query_max_length": max(checkpoint.query_max_length, config.lengths.query),
        "document_max_length": max(checkpoint.document_max_length, config.lengths.passage),
    }
    if config.instruction is not None and checkpoint.query_format is not None:
        told["instruction"] = config.instruction
    return replace(checkpoint, **told)


def _set_dropout(model: torch.nn.Module, probability: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = probability


def _checkpoint_activations(model: Any) -> None:
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


# --- adapters ----------------------------------------------------------------------------------------------------------------


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("peft", "train", "training adapters") from error
    return peft


def _with_adapters(model: torch.nn.Module, lora: LoraConfig) -> Any:
    """The model with float32 adapters on all linear layers and everything else frozen."""
    options = _peft().LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear", bias="none"
    )
    return _wrapped(model, options)


def _wrapped(model: torch.nn.Module, options: Any) -> Any:
    with warnings.catch_warnings():  # PEFT 0.21 asks transformers 5.23 by a deprecated name
        warnings.simplefilter("ignore", FutureWarning)
        return _peft().get_peft_model(model, options)


def _quantise(engine: Any, device: str) -> None:
    """Put linear layers into 4 bits (NF4), layer by layer, and the model on the GPU; it is loaded on the CPU first."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, layer in list(engine.model.named_modules()):
        if type(layer) is not torch.nn.Linear:
            continue
        small = Linear4bit(
            layer.in_features, layer.out_features, layer.bias is not None,
            compute_dtype=layer.weight.dtype, quant_type="nf4", device="meta",
        )  # fmt: skip
        small.weight = Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", module=small)
        small.bias = layer.bias
        engine.model.set_submodule(name, small.to(device))
    engine.model.to(device)
    engine.device = device


# --- trained weights in files --------------------------------------------------------------------------------------------------


def trained_weights(trainable: Trainable, state: Weights | None = None) -> dict[str, torch.Tensor]:
    """The trained weights by name, on the CPU, contiguous.

    Args:
        trainable: The model.
        state: State of the encoder where its own is sharded (FSDP); None takes the encoder's.
    """
    whole = trainable.encoder.state_dict() if state is None else state
    whole = {name.removeprefix(_PREFIX): value for name, value in whole.items()}
    if trainable.peft is not None:
        kept = _peft().get_peft_model_state_dict(trainable.peft, state_dict=whole, save_embedding_layers=False)
    else:
        kept = {name: whole[name] for name, _ in trainable.engine.model.named_parameters()}
    return {name: value.detach().cpu().contiguous().clone() for name, value in kept.items()}


def save_weights(trainable: Trainable, folder: Path, state: Weights | None = None) -> None:
    """Write the trained weights alone: safetensors of the backbone, or PEFT's directory of the adapters.

    Args:
        trainable: The model.
        folder: Made if it is not there.
        state: See `trained_weights`.

    Raises:
        StorageError: A file could not be written whole.
    """
    from safetensors.torch import save

    weights = trained_weights(trainable, state)
    with atomic_write(folder / (FULL_FILE if trainable.peft is None else ADAPTER_FILE), "wb") as file:
        file.write(save(weights, metadata={"format": "pt"}))
    if trainable.peft is not None:
        trainable.peft.peft_config["default"].save_pretrained(str(folder))
        checkpoint = trainable.embedder.checkpoint
        write_json(folder / OWN_FILE, {name: getattr(checkpoint, name) for name in _TOLD})


def load_weights(trainable: Trainable, folder: Path) -> None:
    """Read what `save_weights` wrote into the live model.

    Raises:
        ModelError: The weights are not those of this model.
    """
    from safetensors.torch import load_file

    weights = load_file(folder / (FULL_FILE if trainable.peft is None else ADAPTER_FILE))
    _put(trainable.engine.model, weights, adapters=trainable.peft is not None)


def _put(model: Any, weights: Weights, *, adapters: bool) -> None:
    """Copy weights into a model, each to its place."""
    if adapters:
        refused = _peft().set_peft_model_state_dict(model, dict(weights)).unexpected_keys
    else:
        result = model.load_state_dict(dict(weights), strict=False)
        names = {name for name, _ in model.named_parameters()}
        refused = [*result.unexpected_keys, *names.intersection(result.missing_keys)]
    if refused:
        raise ModelError(
            f"weights do not fit the model: {', '.join(refused[:3])}. Fix: name the model they were trained from"
        )


# --- saving --------------------------------------------------------------------------------------------------------------------


def merged(trainable: Trainable, state: Weights | None = None) -> Embedder:
    """The trained model as an ordinary one on the CPU, in the type its weights had on disk.

    The starting model is opened again in float32 and the trained weights put in, adapters added to the layers below them.

    Args:
        trainable: The model; it is left alone.
        state: See `trained_weights`.
    """
    embedder = _opened(trainable.config, "cpu", "float32")
    weights = trained_weights(trainable, state)
    if trainable.peft is None:
        _put(embedder.engine.model, weights, adapters=False)  # type: ignore[attr-defined]
    else:
        _merge(embedder, trainable.peft.peft_config["default"], weights)
    return _as_stored(embedder)


def _merge(embedder: Embedder, options: Any, weights: Weights) -> None:
    engine: Any = embedder.engine
    wrapped = _wrapped(engine.model, options)
    _put(wrapped, weights, adapters=True)
    engine.model = wrapped.merge_and_unload()


def _as_stored(embedder: Embedder) -> Embedder:
    """The embedder in the 16-bit type of its files, where that is their type."""
    config = embedder.checkpoint.config
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    if stored in ("bfloat16", "float16"):
        engine: Any = embedder.engine
        engine.model.to(getattr(torch, stored))
        engine.dtype = stored
    return embedder


def save_model(trainable: Trainable, folder: Path | str, state: Weights | None = None) -> None:
    """Write the trained model as a directory that every tool opens (`Embedder.save`), adapters merged.

    Args:
        trainable: The model.
        folder: Written whole or not at all; an old one is replaced.
        state: See `trained_weights`.

    Raises:
        StorageError: The folder could not be written.
    """
    merged(trainable, state).save(folder)


def merge(adapter: Path | str, out: Path | str, *, model: Path | str | None = None) -> None:
    """Add adapters to the model they were trained from and write a directory that every tool opens.

    Args:
        adapter: Folder with `adapter_config.json` and `adapter_model.safetensors`, such as a checkpoint of a training.
        out: Written whole or not at all.
        model: The model; None takes the one the adapters name.

    Raises:
        ModelError: The folder holds no adapters, or they do not fit the model.
        MissingExtraError: PEFT is not installed.
    """
    from safetensors.torch import load_file

    adapter = Path(adapter)
    for name in (ADAPTER_CONFIG, ADAPTER_FILE):
        if not (adapter / name).is_file():
            raise ModelError(
                f"{adapter}: no {name}. Fix: name a folder of PEFT adapters, such as RUN/checkpoints/checkpoint-500"
            )
    options = _peft().PeftConfig.from_pretrained(str(adapter))
    said = read_json(adapter / OWN_FILE) if (adapter / OWN_FILE).is_file() else {}
    embedder = Embedder(
        model or options.base_model_name_or_path, engine="torch", device="cpu", dtype="float32", append_eos=said.get("append_eos"),
    )  # fmt: skip
    embedder.checkpoint = replace(embedder.checkpoint, **{name: said[name] for name in _TOLD if name in said})
    _merge(embedder, options, load_file(adapter / ADAPTER_FILE))
    _as_stored(embedder).save(out)
