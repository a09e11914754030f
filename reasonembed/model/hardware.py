"""What the processor can multiply; read once, without torch."""

from __future__ import annotations

import functools
import platform
from pathlib import Path


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Feature flags of the first core as Linux names them; empty where they cannot be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        next((line.split(":", 1)[1] for line in lines if line.startswith(("flags", "Features"))), "").split()
    )


def has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16: matrix units (AMX) or dot products of vectors (AVX512-BF16).

    Both gain: on a Zen 5 without AMX, MiniLM takes 0.42 (torch) and 0.61 (OpenVINO) of float32's processor time at a
    cosine of at least 0.9999 to it (docs/performance.md). Without either, bfloat16 is several times slower than float32.
    """
    return not cpu_flags().isdisjoint({"amx_bf16", "avx512_bf16"})


@functools.cache
def cpu_name() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
