"""Token ids to pooled vectors with an OpenVINO graph: no torch, ready in a third of a second.

Gets a checkpoint whose graph maps token ids and mask to token vectors (batch, length, dim); pads batches of
like length under a token budget, pools here. Dynamic quantisation of activations stays off: it loses accuracy
and lets the company of a text change its vector.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reasonembed.errors import ModelError
from reasonembed.model.batches import length_batches
from reasonembed.model.hardware import has_amx_bf16
from reasonembed.model.pooling import pool_padded

if TYPE_CHECKING:
    import openvino

    from reasonembed.model.checkpoint import Checkpoint

TOKEN_BUDGET = 2048
"""Tokens of a batch, padding included. Measured on 2 cores with 256-token texts, 512 to 8192 are equally
fast; a small batch keeps memory flat."""

_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_OUTPUTS = ("last_hidden_state", "token_embeddings")
_INPUTS: dict[str, Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.int64]]] = {
    "input_ids": lambda ids, mask: ids,
    "attention_mask": lambda ids, mask: mask,
    "token_type_ids": lambda ids, mask: np.zeros_like(ids),
    "position_ids": lambda ids, mask: np.ascontiguousarray(np.broadcast_to(np.arange(ids.shape[1]), ids.shape)),
}
"""What the inputs of a graph are made of, from (batch, length) token ids and mask."""


class OpenVINOEngine:
    """An engine (see `engines.Engine`) over OpenVINO; all cores, one batch at a time.

    Args:
        checkpoint: With `openvino_file`, an `.xml` beside its `.bin`.
        device: None or `cpu`, or another OpenVINO device such as `gpu`.
        dtype: `auto` is bfloat16 where the processor has AMX, else float32.

    Raises:
        ModelError: No graph, an unreadable one, one with other inputs or outputs, or a device or dtype that
            is not there.
    """

    name = "openvino"

    def __init__(self, checkpoint: Checkpoint, *, device: str | None = None, dtype: str = "auto") -> None:
        if checkpoint.openvino_file is None:
            raise ModelError(f"{checkpoint.path}: no OpenVINO graph (openvino/openvino_model.xml). Fix: engine='torch'")
        self.dtype = ("bfloat16" if has_amx_bf16() else "float32") if dtype == "auto" else dtype
        self.device = (device or "cpu").lower()
        self._checkpoint = checkpoint
        core = import_openvino().Core()
        graph = _read(core, checkpoint.openvino_file)
        self._inputs = _check_inputs(graph, checkpoint.openvino_file)
        self._output, width = _check_output(graph, checkpoint.openvino_file)
        self.dim = width * len(checkpoint.pooling)
        self._request = _compile(core, graph, self.device, self.dtype).create_infer_request()
        self._one_at_a_time = threading.Lock()

    def embed(
        self, token_ids: Sequence[npt.NDArray[np.int64]], prompt_lengths: Sequence[int] | None = None
    ) -> npt.NDArray[np.float32]:
        """Embed texts given as token ids; see `engines.Engine.embed`.

        Returns:
            (n_texts, dim) float32, in the order of the texts, not normalised.

        Raises:
            ModelError: A token id the model has no embedding for, or a text longer than its positions.
        """
        lengths = [len(ids) for ids in token_ids]
        if not lengths:
            return np.empty((0, self.dim), dtype=np.float32)
        self._check(token_ids, lengths)
        prompts = None if prompt_lengths is None else np.asarray(prompt_lengths, dtype=np.int64)
        vectors = np.empty((len(token_ids), self.dim), dtype=np.float32)
        for batch in length_batches(lengths, TOKEN_BUDGET):
            ids, mask = pad([token_ids[i] for i in batch])  # (batch, longest) each
            kept = None if prompts is None else prompts[batch]
            with self._one_at_a_time:
                hidden = self._infer(ids, mask)  # (batch, longest, width), valid until the next call
                vectors[batch] = pool_padded(hidden, mask.astype(np.float32), self._checkpoint.pooling, kept)
        return vectors

    def _infer(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        feed = {name: _INPUTS[name](ids, mask) for name in self._inputs}
        outputs = self._request.infer(feed, share_inputs=True, share_outputs=True)
        hidden: npt.NDArray[np.float32] = outputs[self._output].astype(np.float32, copy=False)
        return hidden

    def _check(self, token_ids: Sequence[npt.NDArray[np.int64]], lengths: Sequence[int]) -> None:
        where = self._checkpoint.path
        positions, vocabulary = self._checkpoint.max_positions, self._checkpoint.config.get("vocab_size")
        if min(lengths) < 1:
            raise ModelError(f"{where}: text {lengths.index(0)} has no tokens. Fix: at least 1 token a text")
        if positions is not None and max(lengths) > positions:
            raise ModelError(
                f"{where}: a text has {max(lengths):,} tokens, the model has {positions:,} positions. "
                f"Fix: max_length={positions} or less"
            )
        low, high = min(int(ids.min()) for ids in token_ids), max(int(ids.max()) for ids in token_ids)
        if low < 0 or (vocabulary is not None and high >= vocabulary):
            raise ModelError(
                f"{where}: token id {low if low < 0 else high} is outside the vocabulary of {vocabulary}. "
                "Fix: use the model's own tokenizer"
            )


def pad(texts: Sequence[npt.NDArray[np.int64]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Lay texts one a row, zeros on the right.

    Returns:
        Token ids and mask (1 where there is a token), each (n_texts, longest) int64.
    """
    lengths = np.array([len(ids) for ids in texts])
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    ids = np.zeros_like(mask)
    ids[mask.astype(bool)] = np.concatenate(texts)
    return ids, mask


def import_openvino() -> ModuleType:
    """Import openvino without its telemetry.

    `import openvino` alone reports the import to a server and writes `~/intel/stats`
    (openvino/tools/ovc/__init__.py, 2026.4). With `openvino_telemetry` hidden meanwhile it takes its own
    silent stand-in, for conversions too.
    """
    if "openvino" not in sys.modules:
        hidden = {"openvino_telemetry": sys.modules.get("openvino_telemetry")}
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        try:
            importlib.import_module("openvino")
        finally:
            del sys.modules["openvino_telemetry"]
            sys.modules.update({name: module for name, module in hidden.items() if module is not None})
    return importlib.import_module("openvino")


def _read(core: openvino.Core, file: Path) -> openvino.Model:
    for part in (file, file.with_suffix(".bin")):
        if not part.is_file():
            raise ModelError(f"{part}: no such file. Fix: copy the model directory whole, or engine='torch'")
    try:
        return core.read_model(file)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelError(
            f"{file}: not a readable OpenVINO graph ({reason}). Fix: copy it and its .bin again"
        ) from error


def _check_inputs(graph: openvino.Model, file: Path) -> tuple[str, ...]:
    names = tuple(port.any_name for port in graph.inputs)
    unknown = sorted(set(names) - set(_INPUTS))
    if unknown or "input_ids" not in names or "attention_mask" not in names:
        raise ModelError(
            f"{file}: inputs {', '.join(names)}; input_ids and attention_mask are needed, token_type_ids and "
            "position_ids known. Fix: export the encoder alone, without cache or images"
        )
    return names


def _check_output(graph: openvino.Model, file: Path) -> tuple[int, int]:
    """Index of the output with the token vectors, and their width."""
    ports = list(graph.outputs)
    ranks = [port.partial_shape.rank.get_length() if port.partial_shape.rank.is_static else 0 for port in ports]
    found = [i for i, port in enumerate(ports) if ranks[i] == 3 and set(_OUTPUTS) & set(port.names)]
    found = found or [i for i, rank in enumerate(ranks) if rank == 3]
    if not found or ports[found[0]].partial_shape[2].is_dynamic:
        shapes = ", ".join(str(port.partial_shape) for port in ports)
        raise ModelError(f"{file}: outputs {shapes}; token vectors (batch, length, dim) are needed. Fix: export them")
    return found[0], int(ports[found[0]].partial_shape[2].get_length())


def _compile(core: openvino.Core, graph: openvino.Model, device: str, dtype: str) -> openvino.CompiledModel:
    if device.upper() not in core.available_devices:
        there = ", ".join(name.lower() for name in core.available_devices)
        raise ModelError(f"device {device!r} is not here. Fix: one of {there}, or engine='torch'")
    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[dtype],
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        compiled = core.compile_model(graph, device.upper(), options)
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO cannot compile the graph for {device} in {dtype}: {error}. Fix: dtype='float32'"
        ) from error
    runs = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if runs != _HINTS[dtype]:
        raise ModelError(f"dtype {dtype!r}: {device} would compute in {runs} instead. Fix: dtype='float32'")
    return compiled
