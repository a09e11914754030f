"""What the language-model client itself costs: of the ideal at a fixed latency, requests a second without one, memory.

    python benchmarks/llm.py [--full]        prints one table, stores benchmarks/results/llm.json
    python benchmarks/llm.py --local MODEL.gguf --corpus DOCS.jsonl [--documents 8] [--each 3]      stores results/llm_local.json

The server runs in a process of its own (tests/llm_server.py) and speaks real HTTP; the backend without latency answers in
this process, so that only our own work is left.

`--local` has a model in this process write queries of documents, by the recipe `small`, all asked at once: as it is, where a prompt
waits for one that begins alike (`llm.prefixes`), and with nobody waiting; two runs each, in turns, every time with an empty cache.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reasonembed.encode.bench import peak_mb
from reasonembed.io.documents import read_documents
from reasonembed.io.manifest import now, versions, write_json
from reasonembed.llm.client import Llm
from reasonembed.llm.open import open_llm
from reasonembed.llm.prefixes import Prefixes
from reasonembed.llm.prompts import load_prompt
from reasonembed.llm.types import Answer, Request, user
from reasonembed.synth.checks import Rules
from reasonembed.synth.config import QueriesConfig, load_synth_config
from reasonembed.synth.queries import FRAME, Order, orders, query_request, read_query
from reasonembed.synth.settings import writing_of
from reasonembed.synth.tasks import PROMPTS
from reasonembed.types import SynthQuery

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


def local(options: argparse.Namespace) -> None:
    """Queries an hour that a model in this process writes, with and without waiting for beginnings that are alike."""
    config = load_synth_config("small")
    documents = list(itertools.islice(read_documents([options.corpus]), options.documents))
    wanted = list(orders(documents, config.queries, per_document=options.each, seed=config.seed))
    frame, writing = load_prompt(PROMPTS, FRAME), writing_of(config)
    asked = [query_request(frame, order, config.queries, writing, 0) for order in wanted]
    must_wait = Prefixes.must_wait
    rows = []
    for waits in (False, True, True, False):
        Prefixes.must_wait = must_wait if waits else lambda *_: False  # type: ignore[method-assign]
        rows.append({"waits": waits, **local_run(options.local, asked, wanted, config.queries)})
        row = rows[-1]
        print(
            f"{'waits' if waits else 'all at once':<12}{row['seconds']:>8.0f} s for {len(asked)} queries, {row['good']} pass the checks; "
            f"{row['prompt_tokens']:,} tokens of prompts, {row['completion_tokens']:,} generated",
            flush=True,
        )
    about = {
        "date": now(),
        "cores": os.cpu_count(),
        "versions": versions(),
        "model": options.local.name,
        "each": options.each,
    }
    write_json(ROOT / "benchmarks" / "results" / "llm_local.json", {**about, "rows": rows})


def local_run(model: Path, asked: list[Request], wanted: list[Order], config: QueriesConfig) -> dict[str, Any]:
    """One run, without loading the model."""
    rules = Rules(config.tolerance, config.longest_copy, config.overlap)
    with open_llm(model, cache=None) as llm:
        llm.answer(user("Hello."))  # loads it
        started, before = time.perf_counter(), llm.totals
        replies = list(llm.answers(asked))
        seconds, after = time.perf_counter() - started, llm.totals
    read = [
        read_query(order, reply.answer, rules) for order, reply in zip(wanted, replies, strict=True) if reply.answer
    ]
    return {
        "seconds": seconds, "good": sum(isinstance(query, SynthQuery) for query in read),
        "prompt_tokens": after.prompt_tokens - before.prompt_tokens,
        "completion_tokens": after.completion_tokens - before.completion_tokens,
    }  # fmt: skip


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also a million requests through the cache, for memory")
    parser.add_argument("--local", type=Path, help="a .gguf file or OpenVINO folder: measure that instead")
    parser.add_argument("--corpus", type=Path, help="documents that --local writes queries of")
    parser.add_argument("--documents", type=int, default=8, help="how many, the first ones")
    parser.add_argument("--each", type=int, default=3, help="queries of each document")
    options = parser.parse_args()
    if options.local:
        local(options)
        return
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
