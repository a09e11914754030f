"""Judging 100,000 pairs takes hardly more memory than judging 10,000: everything is streamed, from candidates to samples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def measured(pairs: int) -> dict[str, int]:
    command = [sys.executable, str(ROOT / "benchmarks" / "synth_memory.py"), str(pairs), "--group", "20"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def test_memory_does_not_grow_with_the_pairs():
    few, many = measured(10_000), measured(100_000)
    assert (many["pairs"], many["samples"]) == (100_000, 1_000)
    assert many["peak_mib"] < 200  # most of it the packages
    assert many["peak_mib"] - few["peak_mib"] < 25  # for 90,000 pairs more
