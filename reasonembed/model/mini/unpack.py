"""The shipped model as one that can be trained: its 8-bit and 4-bit weights as float32, in a Sentence Transformers directory.

What the graph computes is what the weights here compute: a stored matrix is `(value - zero point) * scale`, and activations are
not quantised. Only the last bits of the vectors differ, as between any two engines.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reasonembed.errors import ModelError
from reasonembed.io.atomic import atomic_folder
from reasonembed.io.manifest import read_json
from reasonembed.model import mini

if TYPE_CHECKING:
    import openvino

    Floats = npt.NDArray[np.float32]

_SUFFIX = "_compressed"
_PACKED = "/packed"
"""What OpenVINO puts behind the name of a weight stored in fewer bits."""
_COPIED = ("config.json", "modules.json", "sentence_bert_config.json", "1_Pooling", "2_Normalize", "README.md")


def unpack(out: Path) -> None:
    """Write the shipped model with float32 weights, whole or not at all; about 120 MB.

    Args:
        out: Directory to write; one that is there is replaced.

    Raises:
        ModelError: The graph does not hold the weights of a RoBERTa as `scripts/export_mini.py` stores them.
        StorageError: It could not be written whole.
    """
    from safetensors.numpy import save_file

    source = mini.path()
    weights = read_weights(
        source / "openvino/openvino_model.xml", layers=read_json(source / "config.json")["num_hidden_layers"]
    )
    with atomic_folder(out) as folder:
        for path in (*map(source.joinpath, _COPIED), *source.glob("*token*.json")):
            copy: Any = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, folder / path.name)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def read_weights(graph: Path, *, layers: int) -> dict[str, Floats]:
    """The weights of an exported graph under the names of Transformers' `RobertaModel`.

    Matrices keep their names in the graph. Vectors (biases and those of layer norms) have none, but their order, which is that of the
    computation.

    Args:
        graph: `openvino_model.xml`.
        layers: Of the encoder.

    Returns:
        Name -> weights, float32: matrices (out, in), vectors (dim,). RoBERTa's pooler, which the graph
        does not have, is zero, so that no loader misses it.

    Raises:
        ModelError: There are other vectors in it than expected.
    """
    from reasonembed.openvino_runtime import import_openvino

    constants = [
        node
        for node in import_openvino().Core().read_model(graph).get_ordered_ops()
        if node.get_type_name() == "Constant"
    ]
    by_name = {node.get_friendly_name(): node for node in constants}
    stored = {name.removesuffix(_PACKED) for name in by_name}
    weights = {
        name.removeprefix("self.model.").removesuffix(_SUFFIX): _matrix(name, by_name)
        for name in sorted(stored)
        if name.endswith(f".weight{_SUFFIX}")
    }
    vectors = [
        node.data for node in constants if list(node.shape[:2]) == [1, 1] and len(node.shape) == 3 and node.shape[2] > 1
    ]
    names = _vector_names(layers)
    if len(vectors) != len(names):
        raise ModelError(f"{graph}: {len(vectors)} vectors, {len(names)} were expected. Fix: install the package anew")
    weights |= {name: vector.reshape(-1).astype(np.float32) for name, vector in zip(names, vectors, strict=True)}
    dim = len(weights[names[0]])
    return weights | {
        "pooler.dense.weight": np.zeros((dim, dim), np.float32),
        "pooler.dense.bias": np.zeros(dim, np.float32),
    }


def _matrix(name: str, by_name: dict[str, openvino.Node]) -> Floats:
    """A weight matrix, (rows, columns) float32; its 8-bit form has groups, (rows, groups, group), its 4-bit form two values a byte."""
    if name + _PACKED in by_name:
        values, zero = (
            _halves(by_name[name + part].data) for part in (_PACKED, "/zero_point")
        )  # (rows, columns), (rows, groups)
        scale = by_name[f"{name}/scale"].data.astype(np.float32)  # (rows, groups, 1)
        grouped = values.reshape(*scale.shape[:2], -1)  # (rows, groups, group)
        unpacked: Floats = ((grouped - zero[..., None]) * scale).reshape(values.shape)
        return unpacked
    stored = by_name[name].data
    if f"{name}/scale" in by_name:
        zero, scale = (by_name[f"{name}/{part}"].data.astype(np.float16) for part in ("zero_point", "scale"))
        stored = (stored.astype(np.float16) - zero) * scale  # in float16, as the graph computes
    return np.ascontiguousarray(stored.astype(np.float32).reshape(len(stored), -1))


def _halves(packed: npt.NDArray[np.uint8]) -> Floats:
    """Of bytes (rows, n) the two values each, (rows, 2n): the low halves, then the high ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)


def _vector_names(layers: int) -> list[str]:
    """Vectors of a RoBERTa in the order of the computation."""
    norm = ["LayerNorm.weight", "LayerNorm.bias"]
    attention = [f"attention.self.{part}.bias" for part in ("query", "key", "value")]
    layer = [*attention, "attention.output.dense.bias", *(f"attention.output.{name}" for name in norm)]
    layer += ["intermediate.dense.bias", "output.dense.bias", *(f"output.{name}" for name in norm)]
    return [f"embeddings.{name}" for name in norm] + [
        f"encoder.layer.{number}.{name}" for number in range(layers) for name in layer
    ]
