"""Readers of difficult formats in processes of their own: a file that hangs, eats memory or crashes a parser costs itself only.

The parent sends a line of JSON a file and gets a line a section; a process is kept for the next file, and ends with its
parent. Callers in several threads have a process each.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from reasonembed.corpus.chunking import Paragraph, Section
from reasonembed.corpus.sources import Skipped

SECONDS, SECONDS_PER_MB, MOST_SECONDS = 30.0, 30.0, 600.0
"""Time a file may take: pypdf reads a megabyte of pages in 2 to 10 seconds, the rest is for slow machines."""

MEMORY = 4 << 30
"""Bytes of address space a process may have: a PDF takes some hundred megabytes, an HTML tree 8 times its file."""


def read_guarded(kind: str, path: Path, key: str, *, size: int) -> list[Section | Skipped]:
    """Read a file in another process, under limits of time and memory.

    Args:
        kind: A module of this package.
        path: The file.
        key: Of its source.
        size: Bytes; the time limit grows with them.

    Returns:
        What the reader yields; one `Skipped` alone where it failed, or was stopped.
    """
    seconds = min(SECONDS + SECONDS_PER_MB * size / 1e6, MOST_SECONDS)
    worker = _take()
    try:
        parts = worker.read({"kind": kind, "path": str(path), "key": key}, seconds)
    except BaseException:  # Ctrl-C
        worker.close()
        raise
    if parts is not None:
        _give_back(worker)
        return parts
    worker.close()
    if worker.timed_out:
        return [Skipped(key, f"stopped after {seconds:.0f} seconds, the limit for its size")]
    limit = f"more than {MEMORY >> 30} GB of memory, or a file that crashes its parser"
    return [Skipped(key, f"the process that read it died ({limit})")]


class _Worker:
    """One process that reads file after file."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reasonembed.corpus.readers.guarded"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        self.timed_out = False

    def read(self, request: dict[str, str], seconds: float) -> list[Section | Skipped] | None:
        """The parts of a file; None where the process ended before they were whole."""
        timer = threading.Timer(seconds, self._stop)
        timer.daemon = True
        timer.start()
        try:
            return self._exchange(request)
        except OSError:  # a closed pipe
            return None
        finally:
            timer.cancel()

    def _exchange(self, request: dict[str, str]) -> list[Section | Skipped] | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
        self._process.stdin.flush()
        parts: list[Section | Skipped] = []
        for line in self._process.stdout:
            if not line.endswith(b"\n"):
                break
            message = json.loads(line)
            if message is None:
                return None if self.timed_out else parts
            parts.append(_unpacked(message))
        return None

    def _stop(self) -> None:
        self.timed_out = True
        self._process.kill()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.kill()
        self._process.wait()


_idle: list[_Worker] = []
_lock = threading.Lock()


def _take() -> _Worker:
    with _lock:
        return _idle.pop() if _idle else _Worker()


def _give_back(worker: _Worker) -> None:
    with _lock:
        _idle.append(worker)


def close_all() -> None:
    """End the processes that wait for a file; the next file starts a new one."""
    with _lock:
        while _idle:
            _idle.pop().close()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):  # a forked process must not talk to its parent's readers
    os.register_at_fork(after_in_child=_idle.clear)


def _packed(part: Section | Skipped) -> dict[str, Any]:
    if isinstance(part, Skipped):
        return {"place": part.place, "reason": part.reason}
    return {
        "headings": part.headings,
        "paragraphs": [(paragraph.text, paragraph.place) for paragraph in part.paragraphs],
    }


def _unpacked(message: dict[str, Any]) -> Section | Skipped:
    if "reason" in message:
        return Skipped(message["place"], message["reason"])
    return Section(tuple(message["headings"]), tuple(Paragraph(*pair) for pair in message["paragraphs"]))


def parts_of(kind: str, path: Path, key: str) -> Iterator[Any]:
    """Read a file in this process; whatever its reader raises becomes a `Skipped` alone.

    Args:
        kind: A module of this package.
        path: The file.
        key: Of its source.
    """
    from reasonembed.errors import ReasonEmbedError

    try:
        yield from importlib.import_module(f"reasonembed.corpus.readers.{kind}").read(path, key)
    except (ReasonEmbedError, OSError) as error:
        yield Skipped(key, str(error).removeprefix(f"{path}: "))
    except Exception as error:  # parsers raise many kinds over a broken file
        yield Skipped(key, f"cannot be read: {type(error).__name__}: {error}")


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """The life of a process: read a file for each line, until there are no more."""
    for line in requests:
        request = json.loads(line)
        for part in parts_of(request["kind"], Path(request["path"]), request["key"]):
            answers.write(json.dumps(_packed(part)).encode("ascii") + b"\n")
        answers.write(b"null\n")
        answers.flush()


if __name__ == "__main__":
    _limit_memory()
    with os.fdopen(os.dup(1), "wb") as pipe:
        os.dup2(2, 1)  # what a parser prints is no answer
        _serve(sys.stdin.buffer, pipe)
