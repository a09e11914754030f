"""The header of a GGUF file: context length, and a file that was cut is told from a whole one."""

from __future__ import annotations

import pytest

from reasonembed.errors import ModelError
from reasonembed.llm.gguf import _BLOCKS, read_gguf_header

gguf = pytest.importorskip("gguf")
np = pytest.importorskip("numpy")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(4096)
    writer.add_token_list(["a", "b"])
    writer.add_tensor("one", np.arange(96, dtype=np.float32).reshape(3, 32))
    packed = gguf.quants.quantize(np.ones((4, 64), np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("two", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_block_sizes_are_those_of_the_gguf_package():
    sizes = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert {kind: sizes[kind] for kind in _BLOCKS} == _BLOCKS


def test_a_whole_file(file):
    header = read_gguf_header(file)
    assert header.context_length == 4096
    assert file.stat().st_size - 32 < header.least_size <= file.stat().st_size  # the end is padded to 32 bytes


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_a_part_of_a_file(file, share):
    header = read_gguf_header(file)
    data = file.read_bytes()
    file.write_bytes(data[: int(share * header.least_size)])
    with pytest.raises(ModelError, match="fetch it again"):
        read_gguf_header(file)
