"""Shards encoded by several processes, one a device; what a dead process held is done again.

Gets devices and what `Embedder` takes; gives shards out one by one and hears of each when it is on disk. A worker
is a Python of its own that talks JSON lines over its standard input and output: nothing is shared, so nothing can
leak, and a worker whose input closes, for whatever reason, ends at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from reasonembed import errors
from reasonembed.encode.embedder import Embedder
from reasonembed.errors import ModelError, ReasonEmbedError
from reasonembed.io.shards import Marker, write_shard
from reasonembed.types import Document

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""Workers that end over one shard, or without one on one device, until the run is given up."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Which processes encode; hand it to `encode_files` in place of an `Embedder`.

    Attributes:
        devices: One process each, such as `("cuda:0", "cuda:1")`; a name may stand several times. Several on `cpu`
            share the cores.
        options: What `Embedder` takes, without `device`; `name_or_path` names the model.
    """

    devices: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.devices, str) or not self.devices:
            raise ModelError(f"devices are {self.devices!r}. Fix: a list of at least one, such as ['cuda:0', 'cuda:1']")


@dataclass(frozen=True, slots=True)
class Model:
    """What a manifest says of the model: see the attributes of `Embedder` and `Embedder.describe`."""

    fingerprint: str
    dim: int
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, embedder: Embedder) -> Model:
        """The model of an embedder; without the device, which changes nothing in the vectors."""
        fingerprint = embedder.fingerprint
        settings = {name: value for name, value in embedder.describe().items() if name != "device"}
        return cls(fingerprint, embedder.dim, settings)


@dataclass(frozen=True, slots=True)
class Work:
    """One shard to do."""

    number: int
    ids: list[str]
    texts: list[str]

    @classmethod
    def of(cls, number: int, documents: Sequence[Document]) -> Work:
        """The shard of these documents."""
        return cls(number, [document.id for document in documents], [document.content for document in documents])


def encode_shard(embedder: Embedder, out: Path, work: Work) -> Marker:
    """Encode one shard and write it.

    Raises:
        StorageError: A file could not be written whole.
    """
    before = embedder.n_truncated
    vectors = embedder.encode_corpus(work.texts)
    cut = embedder.n_truncated - before
    return write_shard(out, work.number, ids=work.ids, vectors=vectors, n_truncated=cut)


# --- the process that gives out the work ----------------------------------------------------------------------------


@contextlib.contextmanager
def crew(workers: Workers, out: Path) -> Iterator[Crew]:
    """Start the processes; when the block ends, however it does, all of them have ended.

    Args:
        workers: Devices and model.
        out: Folder of the shards.

    Raises:
        ModelError: The devices do not give the same vectors, or workers die over and over.
        ReasonEmbedError: What the workers raise.
    """
    started = Crew(workers, out)
    try:
        yield started
    finally:
        started.end()


class Crew:
    """The running processes of `Workers`; use `crew`, which ends them."""

    def __init__(self, workers: Workers, out: Path) -> None:
        self._order = json.dumps({"out": str(out), "options": dict(workers.options)}, default=str)
        self._environment = _environment(workers.devices)
        self._said: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = queue.SimpleQueue()
        self._deaths: Counter[str] = Counter()
        self._workers: list[_Worker] = []
        self._waiting: deque[Work] = deque()
        self._known: Model | None = None
        try:
            for device in workers.devices:
                self._hire(device)
            self.model = self._first_model()
        except BaseException:
            self.end()
            raise

    def encode(self, shards: Iterator[Work]) -> Iterator[Marker]:
        """Yield the marker of each shard when it is written, in no order; one shard a worker and one more are held.

        Raises:
            ModelError: `ATTEMPTS` workers died over one shard.
            ReasonEmbedError: What the workers raise.
        """
        ahead: Work | None = None
        while True:
            ahead = ahead or self._next(shards)
            for worker in self._workers:
                if ahead is not None and worker.ready and worker.work is None:
                    worker.give(ahead)
                    ahead = self._next(shards)
            if ahead is None and not any(worker.work for worker in self._workers):
                return
            marker = self._hear()
            if marker is not None:
                yield marker

    def end(self) -> None:
        """Kill every process and wait until it is gone; a shard half written is no shard."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def _next(self, shards: Iterator[Work]) -> Work | None:
        return self._waiting.popleft() if self._waiting else next(shards, None)

    def _first_model(self) -> Model:
        while self._known is None:
            self._hear()
        return self._known

    def _hear(self) -> Marker | None:
        """Wait for one message of any worker and act on it."""
        worker, message = self._said.get()
        if message is None:
            self._bury(worker)
        elif "error" in message:
            raise _error(message["error"], message["text"])
        elif "model" in message:
            self._welcome(worker, Model(**message["model"]))
        else:
            worker.work = None
            return Marker(**message["marker"])
        return None

    def _welcome(self, worker: _Worker, model: Model) -> None:
        worker.ready = True
        if self._known is None:
            self._known = model
        else:
            _check_same(self._known, model, worker.device)

    def _bury(self, worker: _Worker) -> None:
        """Note a death, put its shard back, start another worker; give up after `ATTEMPTS`."""
        worker.close()
        self._workers.remove(worker)
        what = f"over shard {worker.work.number:05d}" if worker.work else "without a shard"
        end = f"on {worker.device} with {_exit(worker.process.returncode)}"
        cause = what if worker.work else worker.device
        self._deaths[cause] += 1
        if self._deaths[cause] >= ATTEMPTS:
            raise ModelError(
                f"{ATTEMPTS} workers ended {what}, the last {end}. Fix: see its messages above; if the system ran out of "
                "memory, fewer workers or a smaller --max-length. Finished shards stay: run again to go on"
            )
        logger.warning("a worker ended %s %s; another one goes on", end, what)
        if worker.work is not None:
            self._waiting.append(worker.work)
        self._hire(worker.device)

    def _hire(self, device: str) -> None:
        worker = _Worker(device, self._environment)
        self._workers.append(worker)
        worker.listen(self._said)
        worker.say(f"{json.dumps(device)}\n{self._order}\n")


class _Worker:
    """One process, its device, and the shard it has."""

    def __init__(self, device: str, environment: Mapping[str, str]) -> None:
        self.device = device
        self.ready = False
        self.work: Work | None = None
        # A process group of its own: Ctrl-C reaches this process alone, which then ends the workers.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from reasonembed.encode.workers import serve; serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8",
            process_group=0,
        )  # fmt: skip
        self._listener: threading.Thread | None = None

    def give(self, work: Work) -> None:
        self.work = work
        self.say(json.dumps(asdict(work)) + "\n")

    def say(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it is dead, and `listen` says so
            _stream(self.process.stdin).write(text)
            _stream(self.process.stdin).flush()

    def listen(self, said: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]]) -> None:
        """Put every message into a queue, and None when the process has ended."""

        def run() -> None:
            for line in _stream(self.process.stdout):
                with contextlib.suppress(json.JSONDecodeError):  # half a line of one that was killed
                    said.put((self, json.loads(line)))
            said.put((self, None))

        self._listener = threading.Thread(target=run, daemon=True)
        self._listener.start()

    def close(self) -> None:
        """Wait for the end of the process, close its pipes."""
        self.process.wait()
        if self._listener is not None:
            self._listener.join()
        with contextlib.suppress(BrokenPipeError):
            _stream(self.process.stdin).close()
        _stream(self.process.stdout).close()


def _stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # Popen was told to make it
    return pipe


def _environment(devices: Sequence[str]) -> dict[str, str]:
    """Of a worker: this process's import path, and a share of the cores where several run on the CPU."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
    on_cpu = sum(device.startswith("cpu") for device in devices)
    if on_cpu > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):  # torch and OpenVINOEngine; tokenizers
            environment.setdefault(name, str(max(1, cores // on_cpu)))
    return environment


def _error(name: str, text: str) -> ReasonEmbedError:
    """The error a worker raised, with the message it had there."""
    kind: type[ReasonEmbedError] = getattr(errors, name)
    error = kind.__new__(kind, text)
    error.args = (text,)
    return error


def _check_same(first: Model, other: Model, device: str) -> None:
    if first != other:
        both = [(name, value, other.settings.get(name)) for name, value in first.settings.items()]
        differ = ", ".join(f"{name} {a!r} and {b!r}" for name, a, b in both if a != b and name != "fingerprint")
        raise ModelError(
            f"the worker on {device} would give other vectors than the first: {differ or 'other weights'}. "
            "Fix: devices of one kind, or an --engine and --dtype that all of them have"
        )


def _exit(code: int) -> str:
    return f"exit code {code}" + (f" ({signal.Signals(-code).name})" if code < 0 else "")


# --- the process that works -----------------------------------------------------------------------------------------


def serve() -> None:
    """What a worker runs: device and order, then shards, come as lines on standard input; answers go to standard output.

    Whatever libraries print goes to standard error. An unforeseen error ends the process with its traceback.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in os.fdopen(os.dup(0), encoding="utf-8"):
            lines.put(line)
        os._exit(0)  # whoever gave the work is gone, or wants no more

    threading.Thread(target=listen, daemon=True).start()

    def answer(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        device, order = json.loads(lines.get()), json.loads(lines.get())
        embedder = Embedder(**order["options"], device=device)
        answer({"model": asdict(Model.of(embedder))})
        while True:
            marker = encode_shard(embedder, Path(order["out"]), Work(**json.loads(lines.get())))
            answer({"marker": asdict(marker)})
    except ReasonEmbedError as error:
        answer({"error": type(error).__name__, "text": str(error)})
