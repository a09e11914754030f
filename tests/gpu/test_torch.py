"""On a CUDA machine: flash attention over packed rows gives the vectors of the CPU in float32."""

from __future__ import annotations

import numpy as np
import pytest

from reasonembed.model.checkpoint import open_checkpoint
from reasonembed.model.engines.torch import TorchEngine

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("kind", ["qwen3", "llama", "mistral", "bert", "modernbert", "mpnet"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_as_on_the_cpu(tiny, kind, dtype):
    rng = np.random.default_rng(0)
    texts = [rng.integers(5, 384, size=size).astype(np.int64) for size in (1, 7, 7, 40, 120)]
    checkpoint = open_checkpoint(tiny(kind))
    cpu = TorchEngine(checkpoint, device="cpu", dtype="float32").embed(texts)
    gpu = TorchEngine(checkpoint, device="cuda:0", dtype=dtype).embed(texts)
    cosines = (cpu * gpu).sum(1) / np.linalg.norm(cpu, axis=1) / np.linalg.norm(gpu, axis=1)
    assert cosines.min() >= (0.9999 if dtype == "float32" else 0.998)
