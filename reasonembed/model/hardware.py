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


def has_amx_bf16() -> bool:
    """Whether the CPU has bfloat16 matrix units (Intel AMX), where bfloat16 is several times faster than float32."""
    return "amx_bf16" in cpu_flags()


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
