"""The small layers behind the pooling (Sentence Transformers' Dense and LayerNorm), in numpy float32, for every engine alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reasonembed.errors import ModelError
from reasonembed.io.manifest import read_json

Vectors = npt.NDArray[np.float32]


def l2_normalise(vectors: Vectors) -> Vectors:
    """(n, dim) float32 with rows of unit length; a row of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)  # torch.nn.functional.normalize's epsilon
    return unit


def _gelu(x: Vectors) -> Vectors:
    from math import erf

    activated: Vectors = (0.5 * x * (1.0 + np.vectorize(erf, otypes=[np.float32])(x / np.sqrt(2.0)))).astype(np.float32)
    return activated


_ACTIVATIONS: dict[str, Callable[[Vectors], Vectors]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: np.reciprocal(1 + np.exp(-x)),
    "SiLU": lambda x: x * np.reciprocal(1 + np.exp(-x)),
    "GELU": _gelu,
}


@dataclass(frozen=True, slots=True)
class Head:
    """One layer behind the pooling.

    Attributes:
        path: Its folder, with `config.json` and `model.safetensors`.
        kind: `Dense`, `LayerNorm`, or `Normalize` (L2, where another layer follows it).
    """

    path: Path
    kind: str

    def load(self) -> Callable[[Vectors], Vectors]:
        """Read the weights.

        Returns:
            A function (n, in) float32 -> (n, out) float32.

        Raises:
            ModelError: No safetensors weights, or a configuration that is not supported.
        """
        if self.kind == "Normalize":
            return l2_normalise
        weights = self.path / "model.safetensors"
        if not weights.is_file():
            raise ModelError(
                f"{self.path}: no model.safetensors (pickled weights are refused). "
                "Fix: open the model in Sentence Transformers and save it again"
            )
        from safetensors.numpy import load_file

        tensors = {name: value.astype(np.float32) for name, value in load_file(weights).items()}
        return self._dense(tensors) if self.kind == "Dense" else self._layer_norm(tensors)

    def _dense(self, tensors: dict[str, Vectors]) -> Callable[[Vectors], Vectors]:
        config = read_json(self.path / "config.json")
        name = str(config.get("activation_function") or "Identity").rsplit(".", 1)[-1]
        if name not in _ACTIVATIONS:
            raise ModelError(
                f"{self.path}: activation {name!r} is not supported. Fix: one of {', '.join(_ACTIVATIONS)}"
            )
        if config.get("module_input_name", "sentence_embedding") != "sentence_embedding" or config.get("use_residual"):
            raise ModelError(f"{self.path}: a Dense layer over tokens or with a residual is not supported")
        activation, weight = _ACTIVATIONS[name], tensors["linear.weight"]
        bias = tensors.get("linear.bias", np.zeros(weight.shape[0], np.float32))
        return lambda x: activation(x @ weight.T + bias)  # (n, in) -> (n, out)

    def _layer_norm(self, tensors: dict[str, Vectors]) -> Callable[[Vectors], Vectors]:
        weight, bias = tensors["norm.weight"], tensors["norm.bias"]

        def normalise(x: Vectors) -> Vectors:
            centred = x - x.mean(axis=1, keepdims=True)
            scaled = centred / np.sqrt(centred.var(axis=1, keepdims=True) + 1e-5)  # torch.nn.LayerNorm's epsilon
            shifted: Vectors = (scaled * weight + bias).astype(np.float32)
            return shifted

        return normalise
