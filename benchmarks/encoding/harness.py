"""Runs contenders in alternation: one persistent process each, the same texts, rounds in a turning order, medians.

Gets settings and names of contenders, gives one `Row` each. A run is disturbed when other processes used more than
`QUIET` of the cores meanwhile; the median is over the undisturbed runs where there are three, over all of them else.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from encoding.machine import busy_seconds, wait_quiet
from encoding.peers import CONTENDERS, REFERENCE, Setup

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

QUIET = 0.07
"""Share of the cores others may use in a run that counts as undisturbed."""


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        setup: Model, lengths, device.
        texts: The texts, in input order.
        tokens: Their number of tokens, as the model sees them.
        rounds: Timed rounds of each contender, after one that warms up.
        pythons: `own`, `onnx`, `openvino` -> interpreter; None where it was not given.
        work: Folder for settings, vectors and logs.
        timeout: Most seconds of one load or round; a slower contender is a row that says so.
        wait: Most seconds to wait for a quiet machine before each run.
        extra: Most rounds added for contenders with less than `rounds` undisturbed runs.
    """

    setup: Setup
    texts: list[str]
    tokens: int
    rounds: int
    pythons: dict[str, str | None]
    work: Path
    timeout: float = 300.0
    wait: float = 0.0
    extra: int = 0


@dataclass
class Row:
    """What one contender did: every run, and why there is none.

    Attributes:
        contender: Key of `CONTENDERS`.
        problem: Why there is no run; empty where there is one.
        dtype: Type of its arithmetic.
        note: How it batches.
        load_s: Seconds to load.
        first_s: Seconds of the pass that warms up.
        seconds: Wall seconds of each round.
        cpu_s: Processor seconds of each round.
        others: Share of the cores that other processes used in each round.
        peak_mb: Peak memory of the process in MB (2**20 bytes).
        gpu_peak_mb: The same on the GPU, as torch counts it.
        cosine_min: Lowest cosine to the reference's vectors.
        cosine_mean: Mean cosine to the reference's vectors.
        between_texts: Mean cosine between different texts' vectors; near 1 (random weights), the other two say little.
        versions: Of Python and the libraries in its process.
    """

    contender: str
    problem: str = ""
    dtype: str = ""
    note: str = ""
    load_s: float = 0.0
    first_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    gpu_peak_mb: float = 0.0
    cosine_min: float | None = None
    cosine_mean: float | None = None
    between_texts: float | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def quiet(self) -> list[float]:
        """Seconds of the undisturbed runs."""
        return [seconds for seconds, share in zip(self.seconds, self.others, strict=True) if share <= QUIET]

    @property
    def disturbed(self) -> bool:
        """Whether the median is over disturbed runs too."""
        return len(self.quiet) < min(3, len(self.seconds))

    @property
    def median(self) -> float:
        """Median seconds; NaN where there is no run."""
        runs = self.seconds if self.disturbed else self.quiet
        return statistics.median(runs) if runs else float("nan")


class Worker:
    """A contender's process; `script` answers its commands."""

    def __init__(
        self, name: str, python: str, plan: Plan, *, script: Path = HERE / "worker.py", **settings: Any
    ) -> None:
        self.name = name
        slug = "".join(c if c.isalnum() else "-" for c in name)
        self.vectors = plan.work / f"{slug}.npy"
        self.log = plan.work / f"{slug}.log"
        told = {
            "contender": name, "setup": asdict(plan.setup), "texts": str(plan.work / "texts.json"),
            "vectors": str(self.vectors), **settings,
        }  # fmt: skip
        file = plan.work / f"{slug}.json"
        file.write_text(json.dumps(told))
        threads = str(plan.setup.threads)
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
        environment["PYTHONPATH"] = str(ROOT) if python == sys.executable else ""
        self.timeout = plan.timeout
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [python, str(script), str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env=environment,
            )  # fmt: skip

    def ask(self, command: str | None) -> dict[str, Any]:
        """Send a command (None: none, wait for the process to be ready) and return its answer.

        Returns:
            The answer; with `failed` or `missing` where there is none.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            if command is not None:
                self.process.stdin.write(f"{command}\n".encode())
                self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], self.timeout)[0]:
                self.close(kill=True)
                return {"failed": f"took longer than {self.timeout:.0f} s"}
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        tail = self.log.read_text("utf-8", "replace").strip().splitlines()[-1:]
        return {"failed": f"exit code {self.process.wait()}: {' '.join(tail)[:200]}"}

    def close(self, *, kill: bool = False) -> None:
        """End the process and close its pipes; asked twice it does nothing more."""
        if kill:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def exported(plan: Plan, backend: str, folder: Path) -> str:
    """Folder with the model's graph for `backend` (`onnx`, `openvino`), exported once; "" where that is not possible."""
    python = plan.pythons.get(backend)
    if python is None:
        return ""
    if not folder.exists():
        worker = Worker(f"export {backend}", python, plan, export=backend, out=str(folder))
        answer = worker.ask(None)
        worker.close()
        if "exported" not in answer:
            print(f"  no {backend} graph: {answer}", file=sys.stderr)
            return ""
    return str(folder)


def compare(
    plan: Plan, names: list[str], graphs: dict[str, str], *, reference: str = REFERENCE, at_once: bool = True
) -> list[Row]:
    """Run contenders in alternation.

    Args:
        plan: What is run.
        names: Keys of `CONTENDERS`.
        graphs: `onnx`, `openvino` -> folder of the exported graph, "" where there is none.
        reference: The contender whose vectors the cosines are to; it should be among them.
        at_once: False loads, runs and ends one contender after the other, for models of which memory holds only one; the
            rounds then do not alternate.

    Returns:
        One row for each name, in order.
    """
    (plan.work / "texts.json").write_text(json.dumps(plan.texts))
    rows = [Row(name) for name in names]
    groups = [rows] if at_once else [[row] for row in rows]
    vectors: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
    for group in groups:
        workers = {row.contender: worker for row in group if (worker := _start(plan, row, graphs)) is not None}
        try:
            run_rounds(plan, group, workers)
            for name, worker in workers.items():
                if worker.process.poll() is None and "saved" in worker.ask("vectors"):
                    vectors[name] = np.load(worker.vectors, allow_pickle=False)
        finally:
            for worker in workers.values():
                worker.close()
    _cosines(rows, vectors, reference)
    return rows


def _start(plan: Plan, row: Row, graphs: dict[str, str]) -> Worker | None:
    kind = CONTENDERS[row.contender][0]
    python = plan.pythons.get(kind)
    if python is None:
        row.problem = f"not installed: give --st-{kind}-python"
        return None
    graph = graphs.get("openvino" if "openvino" in row.contender else "onnx", "")
    worker = Worker(row.contender, python, plan, setup=asdict(plan.setup) | {"graph": graph})
    answer = worker.ask(None)
    if failed(row, answer):
        worker.close()
        return None
    row.load_s, row.dtype, row.note = answer["load_s"], answer["dtype"], answer["note"]
    row.versions = answer["versions"]
    first = worker.ask("run")  # every shape once: what a library prepares is not timed below
    if failed(row, first):
        worker.close()
        return None
    row.first_s = first["seconds"]
    print(f"  {row.contender}: loaded in {row.load_s:.1f} s, first pass {row.first_s:.1f} s", file=sys.stderr)
    return worker


def run_rounds(plan: Plan, rows: list[Row], workers: dict[str, Worker]) -> None:
    """Fill the rows: each worker runs once a round, in a turning order."""
    for number in range(plan.rounds + plan.extra):
        turn = number % max(len(rows), 1)
        for row in rows[turn:] + rows[:turn]:
            if row.problem or (number >= plan.rounds and len(row.quiet) >= plan.rounds):
                continue
            wait_quiet(plan.wait, share=QUIET)
            _timed(row, workers[row.contender])


def _timed(row: Row, worker: Worker) -> None:
    busy, start = busy_seconds(), time.perf_counter()
    answer = worker.ask("run")
    if failed(row, answer):
        return
    available = (time.perf_counter() - start) * (os.cpu_count() or 1)
    row.seconds.append(answer["seconds"])
    row.cpu_s.append(answer["cpu_s"])
    row.others.append(max(0.0, (busy_seconds() - busy - answer["cpu_s"]) / available))
    row.peak_mb = answer["peak_mb"]
    row.gpu_peak_mb = answer.get("gpu_peak_mb", 0.0)


def failed(row: Row, answer: dict[str, Any]) -> bool:
    """Whether the answer is a failure; the row then says why."""
    if "missing" in answer:
        row.problem = f"not installed: {answer['missing']}"
    elif "failed" in answer:
        row.problem = f"failed: {answer['failed']}"
    return bool(row.problem)


def _cosines(rows: list[Row], vectors: dict[str, np.ndarray[Any, np.dtype[np.float32]]], reference: str) -> None:
    if reference not in vectors:
        return
    truth = vectors[reference].astype(np.float64)
    for row in rows:
        if row.contender not in vectors or vectors[row.contender].shape != truth.shape:
            continue
        mine = vectors[row.contender].astype(np.float64)
        cosines = (mine * truth).sum(1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(truth, axis=1)
        row.cosine_min, row.cosine_mean = float(cosines.min()), float(cosines.mean())
        unit = mine / np.linalg.norm(mine, axis=1, keepdims=True)
        n = len(unit)
        row.between_texts = float((np.square(unit.sum(0)).sum() - n) / max(n * (n - 1), 1))
