"""Seconds from process start to answer of the command line, by hyperfine; prints a table, stores JSON.

Measures `reasonembed --help` (goal below 0.5 s) and `reasonembed search INDEX question` on an index of
TheoremQA made with the shipped model (goal below 1 s), with a warm file cache, and records what was imported.
CPU seconds stand beside wall seconds, since another process on the machine delays only the latter.

    python benchmarks/startup.py [--runs 10] [--out benchmarks/results/startup.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import reasonembed
from reasonembed.io.manifest import now, versions, write_json

QUESTION = "What are the eigenvalues of the matrix [[5, 4], [1, 2]]?"
RUN = "from reasonembed.cli import main; main()"
WATCHED = ("torch", "transformers", "sentence_transformers", "datasets", "scipy", "openvino", "numpy")


@dataclass(frozen=True)
class Measured:
    """One command. Seconds of wall clock and of processor; `imported` is a part of `WATCHED`."""

    command: str
    goal_s: float
    median_s: float
    min_s: float
    max_s: float
    cpu_s: float
    runs: int
    imported: list[str]


def main() -> None:
    """Build the index, measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument(
        "--full", action="store_true", help="no difference; `make bench ARGS=--full` gives it to every script"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "startup.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        call(["index", str(theoremqa()), "-o", str(index)])
        results = [
            measure("reasonembed --help", ["--help"], goal=0.5, runs=arguments.runs, folder=Path(folder)),
            measure(
                "reasonembed search INDEX question", ["search", str(index), QUESTION],
                goal=1.0, runs=arguments.runs, folder=Path(folder),
            ),
        ]  # fmt: skip
    table(results)
    write_json(
        arguments.out,
        {
            "date": now(),
            "machine": machine(),
            "versions": versions(),
            "results": [asdict(r) for r in results],
        },
    )
    print(f"stored in {arguments.out}")


def theoremqa() -> Path:
    """The TheoremQA set that ships with the package."""
    return Path(reasonembed.__file__).parent / "data" / "theoremqa"


def call(arguments: list[str]) -> None:
    """Run one command of reasonembed; its output is shown only when it fails."""
    result = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stdout + result.stderr)


def measure(name: str, arguments: list[str], *, goal: float, runs: int, folder: Path) -> Measured:
    """Time a command with hyperfine, two runs to warm the file cache first, and list what it imports."""
    script = folder / "run.py"
    script.write_text(RUN)
    command = [sys.executable, str(script), *arguments]
    export = folder / "hyperfine.json"
    hyperfine = [
        "hyperfine",
        "--shell=none",
        "--warmup=2",
        f"--runs={runs}",
        f"--export-json={export}",
        "--style=none",
    ]
    subprocess.run([*hyperfine, subprocess.list2cmdline(command)], check=True, stdout=subprocess.DEVNULL)
    times = json.loads(export.read_text())["results"][0]
    return Measured(
        name,
        goal,
        times["median"],
        times["min"],
        times["max"],
        times["user"] + times["system"],
        len(times["times"]),
        imported(command),
    )


def imported(command: list[str]) -> list[str]:
    """Which of `WATCHED` a Python command imports, by `-X importtime`."""
    result = subprocess.run([command[0], "-X", "importtime", *command[1:]], capture_output=True, text=True, check=True)
    timed = (line for line in result.stderr.splitlines() if line.startswith("import time:"))
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in timed}
    return [name for name in WATCHED if name in names]


def machine() -> dict[str, str | int | None]:
    """Processor, cores this process may use, memory in bytes, system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory": memory,
        "system": platform.platform(),
    }


def table(results: list[Measured]) -> None:
    """Print one row a command."""
    heads = "".join(f"{head:>9}" for head in ("median s", "min s", "max s", "cpu s", "goal s", "runs"))
    print(f"{'command':<36}{heads}  torch  other imports")
    for r in results:
        seconds = "".join(f"{value:>9.3f}" for value in (r.median_s, r.min_s, r.max_s, r.cpu_s, r.goal_s))
        others = ", ".join(name for name in r.imported if name != "torch") or "-"
        print(f"{r.command:<36}{seconds}{r.runs:>9}  {'yes' if 'torch' in r.imported else 'no':<5}  {others}")


if __name__ == "__main__":
    main()
