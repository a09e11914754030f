"""What this machine is and can do: its description, its load, the matrix multiplication it reaches, a model's work per token.

python machine.py MODEL_DIRECTORY [DEVICE]        prints JSON: GFLOP/s per dtype and shape, linear FLOPs per token
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHAPES = {
    "cpu": ((8192, 384, 384), (8192, 384, 1536), (8192, 1536, 384), (8192, 1024, 3072), (2048, 576, 1536)),
    "cuda": ((8192, 8192, 8192), (16384, 4096, 12288), (16384, 12288, 4096)),
}
"""(M, K, N): on a CPU those of the models' own layers at a full batch, on a GPU those of Qwen3-8B's."""


def description() -> dict[str, Any]:
    """Processor, what it multiplies in hardware, cores this process may use, memory in GB, system."""
    from reasonembed.model.hardware import cpu_flags, cpu_name

    units = ("avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    return {
        "cpu": cpu_name(), "units": [unit for unit in units if unit in cpu_flags()],
        "no_units": [unit for unit in units if unit not in cpu_flags()], "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(), "loadavg": os.getloadavg(),
    }  # fmt: skip


def busy_seconds() -> float:
    """Seconds that all cores together have worked since the machine started; 0.0 where /proc is not there."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def others_share(seconds: float = 0.5) -> float:
    """Share of all cores that is busy while this process sleeps."""
    start = busy_seconds()
    time.sleep(seconds)
    return (busy_seconds() - start) / (seconds * (os.cpu_count() or 1))


def wait_quiet(limit: float, *, share: float) -> None:
    """Wait until others use less than `share` of the cores, at most `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end and others_share() > share:
        pass


def matmul_peak(device: str, *, seconds: float = 0.25) -> dict[str, dict[str, float]]:
    """GFLOP/s of a linear layer, dtype -> "M,K,N" -> best call, by torch's default library and by oneDNN.

    Both, since torch multiplies float32 on a CPU by MKL, which reaches on AMD processors half of what oneDNN does.

    Args:
        device: `cpu` or `cuda:0`.
        seconds: For each library, dtype and shape; at least one call.
    """
    import torch

    found: dict[str, dict[str, float]] = {}
    for dtype in ("float32", "bfloat16"):
        for m, k, n in SHAPES["cuda" if device.startswith("cuda") else "cpu"]:
            a = torch.randn(m, k, device=device, dtype=getattr(torch, dtype))
            b = torch.randn(n, k, device=device, dtype=getattr(torch, dtype))
            products = [lambda a=a, b=b: torch.nn.functional.linear(a, b)]
            if device == "cpu" and torch.backends.mkldnn.is_available():
                products.append(lambda a=a, b=b: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
            fastest = min(_fastest(product, device, seconds) for product in products)
            found.setdefault(dtype, {})[f"{m},{k},{n}"] = round(2 * m * k * n / fastest / 1e9, 1)
    return found


def _fastest(product: Callable[[], Any], device: str, seconds: float) -> float:
    import torch

    fastest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or fastest == float("inf"):
        start = time.perf_counter()
        product()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def linear_flops(model: str) -> int:
    """FLOPs of a model's linear layers for one token: two for each weight; attention, embeddings and BERT's pooler not counted."""
    import torch
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        backbone = AutoModel.from_config(AutoConfig.from_pretrained(model))
    return sum(
        2 * module.weight.numel()
        for name, module in backbone.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.startswith("pooler")
    )


def main() -> None:
    """Print what this machine reaches, and what one token of the model costs."""
    device = sys.argv[2] if len(sys.argv) > 2 else "cpu"
    print(json.dumps({"linear_flops_per_token": linear_flops(sys.argv[1]), "gflops": matmul_peak(device)}))


if __name__ == "__main__":
    main()
