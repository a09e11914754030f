"""Export reasonembed-mini as it ships with the package: OpenVINO, 8-bit weights, word embeddings in 4 bits, < 25 MB.

Gets the Sentence Transformers directory that `scripts/make_mini.py` writes, gives one whose
graph is `openvino/openvino_model.xml|.bin`: input_ids and attention_mask (batch, length) int64 in,
last_hidden_state (batch, length, dim) out. The same packages give the same bytes: what varies between runs is
rewritten.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reasonembed.errors import ModelError
from reasonembed.io.atomic import atomic_folder
from reasonembed.io.manifest import read_json, write_json

if TYPE_CHECKING:
    import openvino

    Floats = npt.NDArray[np.float32]


MAX_MODEL_BYTES = 25_000_000
DEFAULT_OUTPUT = Path(__file__).parents[1] / "reasonembed" / "model" / "mini" / "reasonembed-mini"
GROUP = 64
"""Weights that share a scale in a linear layer. Rows of 384 or 1536 have outliers: groups of 64 halve the
error and cost 0.4 MB. Rows of the embeddings are one group."""

WORDS = "word_embeddings"
WORD_GROUP = 16
"""Word embeddings that share a scale. They are two thirds of the weights, and 4 bits make them fit; with 32 a scale one text in 150
kept a cosine of 0.9988 to float32, with 16 the least is 0.9994."""

UNCOMPRESSED = "token_type_embeddings"
"""Left as float16: two rows."""

COPIED = (
    "config.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
)
COPIED_FOLDERS = ("1_Pooling",)

CARD = Path(__file__).parent / "mini" / "card.md"


def convert(source: Path, scratch: Path) -> openvino.Model:
    """The transformer of a checkpoint as an OpenVINO model with 8-bit weights.

    Args:
        source: Sentence Transformers directory.
        scratch: Folder for a file that must outlive the model.

    Returns:
        openvino.Model: (input_ids, attention_mask) -> last_hidden_state.
    """
    import openvino
    import torch
    from transformers import AutoModel

    class TokenEmbeddings(torch.nn.Module):  # type: ignore[misc]
        """Only what Sentence Transformers asks for goes in and out; token types are all 0."""

        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(source, attn_implementation="sdpa", local_files_only=True).eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            types = torch.zeros_like(input_ids)  # without them RoBERTa cuts them out of a buffer that ends at 514
            found = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=types)
            hidden: torch.Tensor = found.last_hidden_state
            return hidden

    ids = torch.arange(100, 114).reshape(2, 7)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    with torch.no_grad():
        graph = openvino.convert_model(TokenEmbeddings(), example_input=(ids, mask))
    graph.outputs[0].set_names({"last_hidden_state"})
    half = scratch / "half.xml"
    openvino.save_model(graph, half, compress_to_fp16=True)
    graph = openvino.Core().read_model(half)
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "Constant" and wanted(node):
            (pack_rows if WORDS in node.get_friendly_name() else compress)(node)
    graph.validate_nodes_and_infer_types()
    return graph


def wanted(node: openvino.Node) -> bool:
    """Whether a constant is a weight matrix to be stored in 8 or 4 bits."""
    name = node.get_friendly_name()
    return ".weight" in name and len(node.shape) == 2 and UNCOMPRESSED not in name


def quantise(
    weights: Floats, bits: int = 8
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """Asymmetric quantisation of each group: `weight = (value - zero_point) * scale`.

    The range of a group, stretched to hold 0, is laid over 0..2^bits - 1; values are rounded with the scale as it is
    stored.

    Args:
        weights: (..., group) float32.
        bits: Of a value.

    Returns:
        Values (..., group), zero points (..., 1) and scales (..., 1).
    """
    most = 2**bits - 1
    low = np.minimum(weights.min(axis=-1, keepdims=True), 0)
    high = np.maximum(weights.max(axis=-1, keepdims=True), 0)
    scale = np.maximum((high - low) / most, np.finfo(np.float16).tiny).astype(np.float16)
    zero = np.clip(np.rint(-low / scale.astype(np.float32)), 0, most)
    values = np.clip(np.rint(weights / scale.astype(np.float32)) + zero, 0, most)
    return values.astype(np.uint8), zero.astype(np.uint8), scale


def pack_rows(node: openvino.Node) -> None:
    """Put word embeddings in 4 bits; the graph unpacks the rows of the tokens it was given, so the matrix stays small in memory too.

    A byte holds two values, column c in its low half and column c + dim / 2 in its high half, or so two zero points.
    """
    from openvino import opset13 as ops

    name, (rows, columns) = node.get_friendly_name(), node.shape
    groups = columns // WORD_GROUP
    values, zero, scale = quantise(node.data.astype(np.float32).reshape(rows, groups, WORD_GROUP), bits=4)
    lookup = lookup_of(node)
    ids = lookup.input_value(1)

    def gathered(part: npt.NDArray[Any], suffix: str) -> openvino.Node:
        constant = ops.constant(part)
        constant.set_friendly_name(name + suffix)
        return ops.convert(ops.gather(constant, ids, np.int64(0)), "f32")

    def unpacked(part: npt.NDArray[np.uint8], suffix: str, group: int) -> openvino.Node:
        low, high = np.split(part.reshape(rows, -1), 2, axis=1)
        packed = gathered(low | high << 4, suffix)  # (batch, length, groups * group / 2)
        upper = ops.floor(ops.multiply(packed, np.float32(1 / 16)))
        lower = ops.subtract(packed, ops.multiply(upper, np.float32(16)))
        return ops.reshape(ops.concat([lower, upper], -1), np.array([0, 0, groups, group]), special_zero=True)

    shifted = ops.subtract(unpacked(values, "/packed", WORD_GROUP), unpacked(zero, "/zero_point", 1))
    embedded = ops.multiply(shifted, gathered(scale, "/scale"))  # (batch, length, groups, group)
    embedded = ops.reshape(embedded, np.array([0, 0, columns]), special_zero=True)
    for target in lookup.output(0).get_target_inputs():
        target.replace_source_output(embedded.output(0))


def lookup_of(node: openvino.Node) -> openvino.Node:
    """The Gather that reads a matrix, behind the conversion from float16."""
    while node.get_type_name() != "Gather":
        (target,) = node.output(0).get_target_inputs()
        node = target.get_node()
    return node


def compress(node: openvino.Node) -> None:
    """Put a weight matrix in 8 bits in its place in the graph."""
    from openvino import opset13 as ops

    name, (rows, columns) = node.get_friendly_name(), node.shape
    linear = "embeddings" not in name
    shape = (rows, columns // GROUP, GROUP) if linear else (rows, columns)
    parts = [ops.constant(part) for part in quantise(node.data.astype(np.float32).reshape(shape))]
    for part, suffix in zip(parts, ("", "/zero_point", "/scale"), strict=True):
        part.set_friendly_name(name + suffix)
    values, zero, scale = parts
    shifted = ops.subtract(ops.convert(values, "f16"), ops.convert(zero, "f16"))
    weights = ops.multiply(shifted, scale)
    if linear:
        weights = ops.reshape(weights, np.array([rows, columns]), special_zero=False)
    for target in node.output(0).get_target_inputs():
        target.replace_source_output(weights.output(0))


def canonical(xml: str) -> str:
    """The graph's XML without what changes from run to run.

    Counters in the names of layers become the layer's position; names of inner tensors and the record of the
    run go. Weights keep their names.
    """
    net = ET.fromstring(xml)
    net.set("name", "reasonembed-mini")
    for record in net.findall("rt_info"):
        net.remove(record)
    for layer in net.iterfind("layers/layer"):
        name, kind = layer.get("name", ""), layer.get("type", "")
        if kind not in ("Parameter", "Result") and re.search(r"_\d+$", name):
            layer.set("name", f"{kind}_{layer.get('id')}")
        for port in layer.iterfind("output/port"):
            names = port.get("names", "")
            if kind != "Parameter" and names != "last_hidden_state":
                port.attrib.pop("names", None)
    ET.indent(net, "")
    return '<?xml version="1.0"?>\n' + ET.tostring(net, encoding="unicode") + "\n"


def save_graph(graph: openvino.Model, folder: Path) -> None:
    """Write `openvino_model.xml` and `.bin` into a folder."""
    import openvino

    folder.mkdir()
    file = folder / "openvino_model.xml"
    openvino.save_model(graph, file, compress_to_fp16=False)
    file.write_text(canonical(file.read_text("utf-8")), "utf-8")


def write_layout(source: Path, folder: Path) -> None:
    """Write all but the graph: the Sentence Transformers layout as every version reads it, and the card."""
    for name in COPIED:
        shutil.copyfile(source / name, folder / name)
    tokenizer = read_json(source / "tokenizer.json")
    compact = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(compact + "\n", "utf-8")
    for name in COPIED_FOLDERS:
        (folder / name).mkdir()
        shutil.copyfile(source / name / "config.json", folder / name / "config.json")
    (folder / "2_Normalize").mkdir()
    write_json(folder / "2_Normalize" / "config.json", {})
    parts = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(parts)
    ]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2) + "\n", "utf-8")
    shutil.copyfile(CARD, folder / "README.md")


def export(source: Path, output: Path) -> int:
    """Export `source` to `output`, whole or not at all.

    Returns:
        Size of the graph, bytes.

    Raises:
        ModelError: The source is no BERT checkpoint, or the graph exceeds `MAX_MODEL_BYTES`.
    """
    if not (source / "model.safetensors").is_file():
        raise ModelError(f"{source}: no model.safetensors. Fix: name a Sentence Transformers directory")
    kind = read_json(source / "config.json").get("model_type")
    if kind != "roberta":
        raise ModelError(
            f"{source}: model_type is {kind!r}, the export knows 'roberta'. Fix: name a directory of reasonembed-mini"
        )
    with atomic_folder(output) as folder:
        write_layout(source, folder)
        with tempfile.TemporaryDirectory() as scratch:
            save_graph(convert(source, Path(scratch)), folder / "openvino")
        size = sum(file.stat().st_size for file in (folder / "openvino").iterdir())
        if size > MAX_MODEL_BYTES:
            raise ModelError(f"the graph takes {size:,} bytes, the limit is {MAX_MODEL_BYTES:,}. Fix: compress more")
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
    return size


def main() -> None:
    """Command line: SRC [-o DIR]."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="Sentence Transformers directory of reasonembed-mini")
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT_OUTPUT, help="folder to write (replaced)")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # keeps openvino silent
    try:
        size = export(arguments.source, arguments.output)
    except ModelError as error:
        sys.exit(f"error: {error}")
    print(f"{arguments.output}: graph of {size:,} bytes")


if __name__ == "__main__":
    main()
