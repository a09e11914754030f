"""The header of a GGUF file: how long a text its model takes, and whether the file is whole.

Format: ggml's docs/gguf.md, versions 2 and 3. Nothing but the header is read.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reasonembed.errors import ModelError

_VALUE_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the value types; 8 is a string, 9 an array."""
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110),
    12: (256, 144), 13: (256, 176), 14: (256, 210), 30: (1, 2),
}  # fmt: skip
"""Tensor type -> weights and bytes of a block (ggml/src/ggml-common.h): F32, F16, Q4_0 to Q8_0, Q2_K to Q6_K, BF16."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself.

    Attributes:
        context_length: Longest text, tokens; None where it does not say.
        least_size: Bytes the file must have for its tensors; those of unknown types count nothing.
    """

    context_length: int | None
    least_size: int


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the header and check that the file is whole.

    Raises:
        ModelError: It is no GGUF file, or shorter than its tensors.
    """
    try:
        with path.open("rb") as file:
            header = _Reader(file).header()
            size = file.seek(0, os.SEEK_END)
    except (OSError, struct.error, KeyError, ValueError, MemoryError, OverflowError) as error:
        raise ModelError(f"{path}: no readable GGUF file ({error}). Fix: fetch it again") from error
    if size < header.least_size:
        raise ModelError(
            f"{path}: {size:,} bytes, its tensors need {header.least_size:,}: only a part was fetched. Fix: fetch it again"
        )
    return header


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def header(self) -> GgufHeader:
        if self._file.read(4) != b"GGUF" or self._number("I") < 2:
            raise ValueError("it does not begin as one")
        n_tensors, n_values = self._number("Q"), self._number("Q")
        context_length, alignment = None, 32
        for _ in range(n_values):
            key, kind = self._file.read(self._number("Q")), self._number("I")
            if key.endswith(b".context_length") and kind in (4, 10):
                context_length = self._number("I" if kind == 4 else "Q")
            elif key == b"general.alignment" and kind == 4:
                alignment = self._number("I")
            else:
                self._skip(kind)
        end = max((self._tensor_end() for _ in range(n_tensors)), default=0)
        start = -(-self._file.tell() // alignment) * alignment
        return GgufHeader(context_length, start + end if end else 0)

    def _tensor_end(self) -> int:
        """Where a tensor ends, from the begin of the data."""
        self._file.seek(self._number("Q"), os.SEEK_CUR)
        weights = 1
        for _ in range(self._number("I")):
            weights *= self._number("Q")
        per_block, n_bytes = _BLOCKS.get(self._number("I"), (1, 0))
        return self._number("Q") + weights // per_block * n_bytes

    def _number(self, form: str) -> int:
        return int(struct.unpack(f"<{form}", self._file.read(struct.calcsize(form)))[0])

    def _skip(self, kind: int) -> None:
        if kind == 8:
            self._file.seek(self._number("Q"), os.SEEK_CUR)
        elif kind == 9:
            kind, count = self._number("I"), self._number("Q")
            if kind in _VALUE_SIZES:
                self._file.seek(_VALUE_SIZES[kind] * count, os.SEEK_CUR)
            else:
                for _ in range(count):
                    self._skip(kind)
        else:
            self._file.seek(_VALUE_SIZES[kind], os.SEEK_CUR)
