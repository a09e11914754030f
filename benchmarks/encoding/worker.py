"""One contender in one process: loads, then encodes the texts whenever asked, and says how long it took.

    python worker.py SETTINGS.json        (started by `harness.Worker`; runs under any Python with the contender's libraries)

Answers are JSON lines on the first standard output; what libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch", "transformers", "sentence-transformers", "FlagEmbedding", "openvino", "onnxruntime", "optimum-intel",
    "optimum-onnx", "tokenizers", "numpy",
)  # fmt: skip


def main(serve: Callable[[dict[str, Any], Any], None]) -> None:
    """Serve one contender until standard input ends.

    Args:
        serve: Gets the settings, and a function that writes an answer.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    settings = json.loads(Path(sys.argv[1]).read_text("utf-8"))

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        serve(settings, answer)
    except ImportError as error:
        answer(missing=str(error))
    except Exception as error:  # a peer may raise anything: the row says what
        answer(failed=f"{type(error).__name__}: {error}"[:300])


def _serve(settings: dict[str, Any], answer: Any) -> None:
    import numpy as np
    from peers import CONTENDERS, Setup, export

    setup = Setup(**settings["setup"])
    if "export" in settings:
        export(setup, settings["export"], settings["out"])
        answer(exported=settings["out"])
        return
    texts = json.loads(Path(settings["texts"]).read_text("utf-8"))
    start = time.perf_counter()
    encode, dtype, note = CONTENDERS[settings["contender"]][1](setup)
    answer(ready=True, load_s=time.perf_counter() - start, dtype=dtype, note=note, versions=library_versions())
    vectors = None
    for command in sys.stdin:
        if command.strip() == "vectors":
            np.save(settings["vectors"], np.asarray(vectors, np.float32), allow_pickle=False)
            answer(saved=settings["vectors"])
            continue
        start, used = time.perf_counter(), time.process_time()
        vectors = encode(texts)
        answer(seconds=time.perf_counter() - start, cpu_s=time.process_time() - used, **memory())


def memory() -> dict[str, float]:
    """Peak memory so far in MB: of the process (VmHWM, which unlike ru_maxrss forgets the parent), of the GPU by torch."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_available()
    return {"peak_mb": peak} | ({"gpu_peak_mb": torch.cuda.max_memory_allocated() / 2**20} if torch and on_gpu else {})


def library_versions() -> dict[str, str]:
    """Of Python and of those of `PACKAGES` that are installed."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main(_serve)
