"""Ask a language model many things: bounded, retried, cached, counted, in order.

Gets requests from an iterable as it needs them and gives replies one by one. A backend makes one attempt; here are
the number under way at once, the attempts after a failure, the cache, and the counts. Memory depends on the window, not
on the number of requests.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError, LlmError
from reasonembed.llm.cache import AnswerCache, canonical, request_key
from reasonembed.llm.totals import Price, Totals
from reasonembed.llm.types import Answer, Backend, Failure, Reply, Request
from reasonembed.llm.worker import Flight, Run, Worker
from reasonembed.progress import progress_bar

CONCURRENCY = 32
"""Requests under way at once where nothing else is asked for."""
TIMEOUT = 600.0
"""Seconds for one attempt where nothing else is asked for."""
_BATCH = 64
_BATCH_S = 0.005
_WINDOW = 1024
_GRACE_S = 5.0


class Llm:
    """A language model that is asked and not managed; a context manager. May be used from several threads.

    Args:
        backend: A server or a local model (see `open_llm`).
        cache: SQLite file of answers; None keeps none.
        concurrency: Requests under way at once.
        retries: Attempts after the first, where another may help.
        timeout: Seconds for one attempt.
        price: Gives `totals.cost`.

    Raises:
        DataError: A number out of its range, or a cache file that is none.
        StorageError: The cache file cannot be opened.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        cache: Path | str | None = None,
        concurrency: int | None = None,
        retries: int = 6,
        timeout: float = TIMEOUT,
        price: Price | None = None,
    ) -> None:
        concurrency = CONCURRENCY if concurrency is None else concurrency
        if concurrency < 1 or retries < 0 or not timeout > 0:
            raise DataError(
                f"concurrency={concurrency}, retries={retries}, timeout={timeout}",
                fix="concurrency from 1, retries from 0, timeout above 0",
            )
        self._description = dict(backend.describe())
        self._described = canonical(self._description)
        self._cache = None if cache is None else AnswerCache(cache)
        self._worker = Worker(backend, self._cache, concurrency=concurrency, retries=retries, timeout=timeout)
        self._window = max(_WINDOW, 4 * concurrency)
        self._price = price

    def __enter__(self) -> Llm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let what is under way finish for a few seconds, keep it, and let go of threads, connections and files."""
        self._worker.close(_GRACE_S)
        if self._cache is not None:
            self._cache.close()

    def describe(self) -> dict[str, Any]:
        """What answers: model and kind; goes into score files, never holds an address or a key."""
        return dict(self._description)

    @property
    def totals(self) -> Totals:
        """What was asked and spent since this was made."""
        totals = self._worker.totals()
        if self._price is None:
            return totals
        spent = self._price.prompt * totals.prompt_tokens + self._price.completion * totals.completion_tokens
        return replace(totals, cost=spent / 1e6)

    def answer(self, request: Request) -> Answer:
        """Ask one thing.

        Raises:
            LlmError: There is no answer; the message says why.
        """
        reply = next(self.answers([request]))
        if reply.answer is None:
            failure = reply.failure or Failure("malformed", "no reply", 0)
            raise LlmError(f"no answer after {failure.attempts} attempts ({failure.kind}): {failure.detail}")
        return reply.answer

    def answers(
        self,
        requests: Iterable[Request],
        *,
        label: str = "requests",
        total: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> Iterator[Reply]:
        """Ask many things; requests are taken as there is room for them, in the calling thread.

        A Ctrl-C starts nothing new, lets what is under way finish for a few seconds, keeps it in the cache and goes on
        its way. Leaving the iterator early starts nothing new either.

        Args:
            requests: May be endless or far larger than memory.
            label: Of the progress bar.
            total: How many requests there are, for the time left.
            ordered: False gives replies as they come.
            progress: Show a progress bar.

        Yields:
            One reply a request, answer or failure.

        Raises:
            LlmError: The server is gone or refuses everything. What was answered before is in the cache.
            StorageError: An answer cannot be stored.
        """
        run = Run()
        feed = _Feed(iter(requests), self._window)
        waiting: dict[int, Reply] = {}
        following = 0  # index of the next reply where they are ordered
        with progress_bar(label, total, unit="requests", show=progress) as tick:
            try:
                while True:
                    if batch := feed.take():
                        self._submit(run, batch)
                    idle = following not in waiting if ordered else not waiting
                    self._collect(run, waiting, block=idle and not feed.ready and feed.pending > 0)
                    index = following if ordered else next(iter(waiting), following)
                    if index in waiting:
                        following += 1
                        feed.pending -= 1
                        tick(1)
                        yield waiting.pop(index)
                    elif feed.done and not feed.pending:
                        return
            except KeyboardInterrupt:
                run.closed = True
                self._worker.settle(_GRACE_S)
                raise
            finally:
                run.closed = True

    def _submit(self, run: Run, batch: list[tuple[int, Request]]) -> None:
        """Look requests up and send those that nobody has answered or is answering.

        A request is registered before it is looked up, and struck off after its answer is stored: so one that
        is answered in between is found either way.
        """
        flights = [Flight(request_key(self._described, request), request) for _, request in batch]
        first = self._worker.register(flights, [(run, index) for index, _ in batch])
        try:
            found = self._cache.get([flight.key for flight in first]) if self._cache and first else {}
        except BaseException as error:
            self._worker.fail(first, error)
            raise
        self._worker.deliver([(flight, found[flight.key]) for flight in first if flight.key in found], paid=False)
        self._worker.send([flight for flight in first if flight.key not in found])

    @staticmethod
    def _collect(run: Run, waiting: dict[int, Reply], *, block: bool) -> None:
        """Move finished replies into `waiting`; wait for one if told to."""
        with_wait = block
        while True:
            try:
                item = run.outbox.get(block=with_wait)
            except queue.Empty:
                return
            if isinstance(item, BaseException):
                raise item
            waiting[item.index] = item
            with_wait = False


@dataclass(slots=True)
class _Feed:
    """Requests in small batches, as long as there is room for replies; a slow source gives smaller ones."""

    source: Iterator[Request]
    room: int
    pending: int = 0
    taken: int = 0
    done: bool = False

    @property
    def ready(self) -> bool:
        return not self.done and self.pending + _BATCH <= self.room

    def take(self) -> list[tuple[int, Request]]:
        batch: list[tuple[int, Request]] = []
        if not self.ready:
            return batch
        end = time.monotonic() + _BATCH_S
        for request in itertools.islice(self.source, _BATCH):
            batch.append((self.taken + len(batch), request))
            if time.monotonic() > end:
                break
        else:
            self.done = len(batch) < _BATCH
        self.taken += len(batch)
        self.pending += len(batch)
        return batch
