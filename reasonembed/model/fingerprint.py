"""Identity of a model directory's weights, cheap enough to take at every start."""

from __future__ import annotations

from pathlib import Path

from reasonembed.io.manifest import fingerprint
from reasonembed.model.checkpoint import Checkpoint

WHOLE_BELOW = 64 * 2**20
"""Files up to this many bytes are hashed whole; of longer ones `BLOCKS` blocks, evenly spaced, first and last included."""

BLOCKS = 512
BLOCK_BYTES = 4096


def weights_fingerprint(checkpoint: Checkpoint, *, openvino: bool) -> str:
    """Hash of the weights an engine reads, 32 hex digits.

    Training changes practically every block of a weight file, so evenly spaced blocks tell two models of one shape apart;
    hashing 16 GB whole would take longer than loading it.

    Args:
        checkpoint: An opened directory.
        openvino: Whether the OpenVINO graph is what runs.
    """
    if openvino and checkpoint.openvino_file is not None:
        files = [checkpoint.openvino_file, checkpoint.openvino_file.with_suffix(".bin")]
    elif checkpoint.gguf_file is not None:
        files = [checkpoint.path / checkpoint.gguf_file]
    else:
        files = sorted(checkpoint.path.glob("*.safetensors"))
    files += [head.path / "model.safetensors" for head in checkpoint.heads if head.kind != "Normalize"]
    tokenizer = checkpoint.path / "tokenizer.json"
    parts: list[str | bytes] = []
    for file in [*files, *([tokenizer] if tokenizer.is_file() else [])]:
        parts += [file.name, str(file.stat().st_size), _sample(file)]
    return fingerprint(parts)


def _sample(file: Path) -> bytes:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= WHOLE_BELOW:
            return stream.read()
        blocks = []
        for index in range(BLOCKS):
            stream.seek(index * (size - BLOCK_BYTES) // (BLOCKS - 1))
            blocks.append(stream.read(BLOCK_BYTES))
    return b"".join(blocks)
