"""What the language-model client itself costs: of the ideal at a fixed latency, requests a second without one, memory.

    python benchmarks/llm.py [--full]        prints one table, stores benchmarks/results/llm.json

The server runs in a process of its own (tests/llm_server.py) and speaks real HTTP; the backend without latency answers in
this process, so that only our own work is left.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reasonembed.encode.bench import peak_mb
from reasonembed.io.manifest import now, versions, write_json
from reasonembed.llm.client import Llm
from reasonembed.llm.open import open_llm
from reasonembed.llm.types import Answer, Request, user

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from llm_server import llm_server_process  # noqa: E402


class Instant:
    """A backend that answers at once."""

    def describe(self) -> dict[str, Any]:
        """As every backend."""
        return {"kind": "benchmark", "model": "instant"}

    async def answer(self, request: Request) -> Answer:
        """The same answer as the scripted server's."""
        return Answer(f"answer to {request.messages[0].content}", prompt_tokens=3, completion_tokens=3)

    async def aclose(self) -> None:
        """Nothing is held."""


def rate(llm: Llm, n: int) -> float:
    """Requests a second, every reply checked."""
    started = time.perf_counter()
    for reply in llm.answers(user(f"question {i}") for i in range(n)):
        assert reply.answer is not None, reply.failure
        assert reply.answer.text == f"answer to question {reply.index}"
    return n / (time.perf_counter() - started)


def fixed_latency(latency: float, concurrency: int, n: int) -> dict[str, Any]:
    """Share of the ideal `concurrency / latency` against a server in another process."""
    with llm_server_process(latency) as url, open_llm(url, cache=None, concurrency=concurrency) as llm:
        rate(llm, concurrency)  # connections
        cpu = time.process_time()
        got = rate(llm, n)
        cpu = time.process_time() - cpu
    ideal = concurrency / latency
    return {
        "what": f"server of {latency * 1000:.0f} ms, {concurrency} at once", "requests": n, "per_s": got,
        "ideal_per_s": ideal, "of_ideal": got / ideal, "client_cpu_ms": 1000 * cpu / n,
    }  # fmt: skip


def instant(n: int, folder: Path) -> list[dict[str, Any]]:
    """Requests a second of the client alone: without a cache, writing it, reading it."""
    rows = []
    for what, cache in (
        ("no cache", None),
        ("cache written", folder / "c.sqlite"),
        ("cache read", folder / "c.sqlite"),
    ):
        with Llm(Instant(), cache=cache) as llm:
            rows.append({"what": f"no latency, {what}", "requests": n, "per_s": rate(llm, n), "peak_mb": peak_mb()})
    return rows


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="also a million requests through the cache, for memory")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        rows += instant(20_000, Path(folder))
    if options.full:
        with tempfile.TemporaryDirectory() as folder:
            rows += instant(1_000_000, Path(folder))
    rows += [fixed_latency(latency, 64, round(64 * 10 / latency)) for latency in (1.0, 0.2)]
    for row in rows:
        share = f"{row['of_ideal']:.1%} of ideal, {row['client_cpu_ms']:.2f} ms CPU" if "of_ideal" in row else ""
        share = share or f"peak {row['peak_mb']:.0f} MB"
        print(f"{row['what']:<36}{row['requests']:>10,} requests {row['per_s']:>10,.0f}/s   {share}")
    about = {"date": now(), "cores": os.cpu_count(), "versions": versions(), "rows": rows}
    write_json(ROOT / "benchmarks" / "results" / "llm.json", about)


if __name__ == "__main__":
    main()
