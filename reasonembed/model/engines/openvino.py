"""Token ids to pooled vectors with an OpenVINO graph: no torch, ready in a third of a second.

Gets a checkpoint whose graph maps token ids and mask to token vectors (batch, length, dim); pads batches of
like length under a token budget, keeps several in flight, pools here. Dynamic quantisation of activations stays
off: it loses accuracy and lets the company of a text change its vector.
"""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from reasonembed.errors import ModelError
from reasonembed.model.batches import length_batches
from reasonembed.model.hardware import has_bf16
from reasonembed.model.pooling import pool_padded
from reasonembed.openvino_runtime import import_openvino

if TYPE_CHECKING:
    import openvino

    from reasonembed.model.checkpoint import Checkpoint

TOKEN_BUDGET = 1024
"""Tokens of a batch, padding included. Measured with two batches in flight on two cores (MiniLM, 120 mixed texts of
up to 512 tokens): 1,024 takes 3.0 s of processor time and 249 MB, 2,048 3.1 s and 262 MB, 4,096 3.3 s and 325 MB;
lengths rounded up to multiples of 16 or 32 gain nothing, for a new shape costs only milliseconds."""

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
    """An engine (see `engines.Engine`) over OpenVINO: two batches in flight a stream of the device.

    `OMP_NUM_THREADS`, which torch obeys too, limits the threads where it is set. May be used from several threads.

    Args:
        checkpoint: With `openvino_file`, an `.xml` beside its `.bin`.
        device: None or `cpu`, or another OpenVINO device such as `gpu`.
        dtype: `auto` is bfloat16 where the processor multiplies it (AMX, AVX512-BF16), else float32.

    Raises:
        ModelError: No graph, an unreadable one, one with other inputs or outputs, or a device or dtype that
            is not there.
    """

    name = "openvino"

    def __init__(self, checkpoint: Checkpoint, *, device: str | None = None, dtype: str = "auto") -> None:
        if checkpoint.openvino_file is None:
            raise ModelError(f"{checkpoint.path}: no OpenVINO graph (openvino/openvino_model.xml). Fix: engine='torch'")
        self.dtype = ("bfloat16" if has_bf16() else "float32") if dtype == "auto" else dtype
        self.device = (device or "cpu").lower()
        self._checkpoint = checkpoint
        core = import_openvino().Core()
        graph = _read(core, checkpoint.openvino_file)
        self._inputs = _check_inputs(graph, checkpoint.openvino_file)
        self._output, width = _check_output(graph, checkpoint.openvino_file)
        self.dim = width * len(checkpoint.pooling)
        compiled = _compile(core, graph, self.device, self.dtype)
        self._idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(2 * compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):  # the next lies ready
            self._idle.put(compiled.create_infer_request())

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
        running: deque[_Batch] = deque()
        try:
            for rows in length_batches(lengths, TOKEN_BUDGET):
                while running and self._idle.empty():
                    self._finish(running.popleft(), vectors)
                texts = [token_ids[row] for row in rows]
                running.append(self._start(rows, texts, None if prompts is None else prompts[rows]))
            while running:
                self._finish(running.popleft(), vectors)
        finally:  # only after an error: nothing may run on once its arrays are gone
            for batch in running:
                batch.request.wait()
                self._idle.put(batch.request)
        return vectors

    def _start(
        self, rows: list[int], texts: Sequence[npt.NDArray[np.int64]], prompts: npt.NDArray[np.int64] | None
    ) -> _Batch:
        ids, mask = pad(texts)  # (batch, longest) each
        feed = {name: _INPUTS[name](ids, mask) for name in self._inputs}
        request = self._idle.get()
        request.start_async(feed, share_inputs=True)
        return _Batch(request, rows, prompts, feed, mask.astype(np.float32))

    def _finish(self, batch: _Batch, vectors: npt.NDArray[np.float32]) -> None:
        """Wait for a batch, pool it into its rows of `vectors`, free its request."""
        try:
            batch.request.wait()
            hidden = batch.request.get_output_tensor(self._output).data.astype(np.float32, copy=False)
            vectors[batch.rows] = pool_padded(hidden, batch.mask, self._checkpoint.pooling, batch.prompts)
        finally:
            self._idle.put(batch.request)

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


class _Batch(NamedTuple):
    """A batch in flight; `feed` keeps the arrays alive that OpenVINO reads meanwhile."""

    request: openvino.InferRequest
    rows: list[int]
    prompts: npt.NDArray[np.int64] | None  # (batch,)
    feed: dict[str, npt.NDArray[np.int64]]  # (batch, longest) each
    mask: npt.NDArray[np.float32]  # (batch, longest)


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
        "PERFORMANCE_HINT": "THROUGHPUT",  # several streams of few threads: no thread waits for another at every layer
    }
    if device == "cpu" and os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        options["INFERENCE_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]
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
