"""Peak memory and rate of judging many pairs: the stages `annotate` and `samples` with a judge that answers at once.

    python benchmarks/synth_memory.py 1000000                # pairs, twenty candidates a request
    python benchmarks/synth_memory.py 1000000 --group 1      # one request each

Prints one JSON object; what it measures is this package, its files and its client, not a language model.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from reasonembed.encode.bench import peak_mb
from reasonembed.io.jsonl import write_jsonl
from reasonembed.llm.client import Llm
from reasonembed.llm.types import Answer, Request
from reasonembed.synth.config import SynthConfig
from reasonembed.synth.folder import Run, StageReport
from reasonembed.synth.run import annotate, write_samples
from reasonembed.types import SynthQuery

CANDIDATES = 100
DOCUMENTS = 1000


class Judge:
    """Answers every candidate of a request, its score by its number."""

    def __init__(self) -> None:
        self._asked = 0

    def describe(self) -> dict[str, str]:
        """Its name."""
        return {"model": "judge"}

    async def answer(self, request: Request) -> Answer:
        """At once."""
        self._asked += 1
        numbers = re.findall(r"^\[(\d+)\]$", request.messages[-1].content, re.MULTILINE)
        said = [f"[{number}] because <score>{int(number) % 5 + 1}</score>" for number in numbers]
        return Answer(
            "\n".join(said) or f"because <score>{self._asked % 5 + 1}</score>", prompt_tokens=9, completion_tokens=9
        )

    async def aclose(self) -> None:
        """Nothing to let go of."""


def mined(folder: Path, pairs: int, group: int) -> Run:
    """A run whose candidates are mined: `pairs` / 100 queries with 100 candidates each."""
    folder.mkdir(parents=True, exist_ok=True)
    count = pairs // CANDIDATES
    documents = ({"id": f"d{n}", "text": f"document {n} " + "text " * 20} for n in range(DOCUMENTS))
    write_jsonl(folder / "docs.jsonl", documents)
    judging = {"mode": "grouped" if group > 1 else "pointwise", "reasoning": "brief", "group": group}
    config = SynthConfig.model_validate({"name": "big", "corpus": folder / "docs.jsonl", "annotate": judging})
    run = Run(folder / "run", config)
    run.store_corpus()
    queries = (SynthQuery(f"q{n}", f"question {n} " + "word " * 20, "d0", (1, 99), "phd") for n in range(count))
    write_jsonl(run.path("queries"), map(asdict, queries))
    found = ([[f"d{(n * 31 + i) % DOCUMENTS}", 1.0] for i in range(CANDIDATES)] for n in range(count))
    write_jsonl(run.path("mine"), ({"query": f"q{n}", "candidates": rows} for n, rows in enumerate(found)))
    for stage in ("queries", "mine"):
        run.record(StageReport(stage, {"written": count}), {}, [])
    return run


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=int, nargs="?", help="default: 100,000, with --full a million")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--group", type=int, default=20, help="candidates judged in one request")
    told = parser.parse_args()
    told.pairs = told.pairs or (1_000_000 if told.full else 100_000)
    with tempfile.TemporaryDirectory() as folder, Llm(Judge()) as llm:
        run = mined(Path(folder), told.pairs, told.group)
        started = time.perf_counter()
        judged = annotate(run, llm).counts["written"]
        seconds = time.perf_counter() - started
        samples = write_samples(run).counts["written"]
    peak = round(peak_mb())
    rate = round(judged / seconds)
    print(
        json.dumps(
            {"pairs": judged, "samples": samples, "group": told.group, "pairs_per_second": rate, "peak_mib": peak}
        )
    )


if __name__ == "__main__":
    main()
