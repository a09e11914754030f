"""The thread behind `Llm`: attempts under way at once, waits between them, answers stored before they are handed out.

A flight is one distinct request under way with everybody who waits for it. An event loop makes the attempts, a
second thread stores answers, many in one commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from reasonembed.errors import LlmError
from reasonembed.llm.cache import AnswerCache
from reasonembed.llm.failures import AttemptFailed, wait_before
from reasonembed.llm.totals import Totals
from reasonembed.llm.types import Answer, Backend, Failure, Reply, Request

logger = logging.getLogger(__name__)

HOPELESS = 3
"""Requests in a row that fail for a reason that concerns every request, and nothing else heard between, end a run."""
_COMMIT = 512


@dataclass(slots=True)
class Run:
    """One call of `answers`.

    Attributes:
        outbox: Its replies, or the error that ends it.
        closed: Nobody waits for it any more.
    """

    outbox: queue.SimpleQueue[Reply | BaseException] = field(default_factory=queue.SimpleQueue)
    closed: bool = False


@dataclass(slots=True, eq=False)
class Flight:
    """One distinct request with those who wait for it: (run, index in the run)."""

    key: bytes
    request: Request
    waiting: list[tuple[Run, int]] = field(default_factory=list)
    asking: bool = False


class Worker:
    """Event loop and writer in threads of their own, started by the first request."""

    def __init__(
        self, backend: Backend, cache: AnswerCache | None, *, concurrency: int, retries: int, timeout: float
    ) -> None:
        self._backend = backend
        self._cache = cache
        self._concurrency, self._retries, self._timeout = concurrency, retries, timeout
        self._lock = threading.Lock()
        self._flights: dict[bytes, Flight] = {}
        self._counts: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._busy_s, self._busy_since = 0.0, 0.0
        self._hopeless = 0
        self._stored: queue.SimpleQueue[tuple[Flight, Answer] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def register(self, flights: Sequence[Flight], waiting: Sequence[tuple[Run, int]]) -> list[Flight]:
        """Take flights on; gives those that were not under way already, the others only wait along.

        Raises:
            LlmError: This was closed.
        """
        first = []
        with self._lock:
            if self._closed:
                raise LlmError("this Llm is closed. Fix: open another, or ask inside its `with` block")
            if not self._flights:
                self._busy_since = time.monotonic()
            for flight, who in zip(flights, waiting, strict=True):
                known = self._flights.setdefault(flight.key, flight)
                known.waiting.append(who)
                if known is flight:
                    first.append(flight)
        return first

    def send(self, flights: Sequence[Flight]) -> None:
        """Have these attempted."""
        if not flights:
            return
        with self._lock:
            if self._loop is None:
                self._start()
            loop = self._loop
        assert loop is not None
        loop.call_soon_threadsafe(self._enqueue, flights)

    def _enqueue(self, flights: Iterable[Flight]) -> None:
        for flight in flights:
            self._queue.put_nowait(flight)

    def fail(self, flights: Iterable[Flight], error: BaseException) -> None:
        """Hand an error to all who wait for these."""
        for flight in flights:
            self._finish(flight, error=error)

    def deliver(self, answers: Iterable[tuple[Flight, Answer]], *, paid: bool) -> None:
        """Hand answers to all who wait for them; only the first to wait paid, if anybody did."""
        for flight, answer in answers:
            self._finish(flight, answer=answer, paid=paid)

    def totals(self) -> Totals:
        """The counts so far, without cost."""
        with self._lock:
            busy = self._busy_s + (time.monotonic() - self._busy_since if self._flights else 0.0)
            return Totals(failed=dict(self._failed), seconds=busy, **self._counts)

    def settle(self, seconds: float) -> None:
        """Wait until attempts under way have ended and are stored, for at most so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self._lock:
                if not any(flight.asking for flight in self._flights.values()):
                    return
            time.sleep(0.02)

    def close(self, seconds: float) -> None:
        """Settle, then end both threads; what is still under way is dropped."""
        with self._lock:
            already, self._closed = self._closed, True
        self._end_runs(LlmError("this Llm was closed with requests under way. Fix: close it after the last reply"))
        if already or self._loop is None:
            return
        try:
            self.settle(seconds)
        finally:
            self._loop.call_soon_threadsafe(self._end.set)
            for thread in self._threads:
                thread.join()

    def _start(self) -> None:
        ready = threading.Event()
        self._threads = [
            threading.Thread(target=lambda: asyncio.run(self._main(ready)), name="llm-loop", daemon=True),
            threading.Thread(target=self._write, name="llm-writer", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        ready.wait()

    async def _main(self, ready: threading.Event) -> None:
        self._queue: asyncio.Queue[Flight] = asyncio.Queue()
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ready.set()
        workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        try:
            await self._end.wait()
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            with contextlib.suppress(Exception):
                await self._backend.aclose()
            self._stored.put(None)

    async def _work(self) -> None:
        while True:
            flight = await self._queue.get()
            try:
                outcome = await self._attempts(flight)
            except Exception as error:  # a fault of the backend itself: the caller sees it
                self._finish(flight, error=error)
                continue
            if outcome is None:
                self._finish(flight)
            elif isinstance(outcome, Failure):
                self._finish(flight, failure=outcome)
            elif self._cache is None:
                self._finish(flight, answer=outcome, paid=True)
            else:
                self._stored.put((flight, outcome))

    async def _attempts(self, flight: Flight) -> Answer | Failure | None:
        """An answer, the last failure, or None where nobody waits any more."""
        for attempt in range(1, self._retries + 2):
            if self._abandoned(flight):
                return None
            flight.asking = True
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await self._backend.answer(flight.request)
                self._hopeless = 0
                return answer
            except TimeoutError:
                failed = AttemptFailed("timeout", f"no answer in {self._timeout:g} s", retry=True, hopeless=True)
            except AttemptFailed as error:
                failed = error
            flight.asking = False
            if not failed.hopeless:
                self._hopeless = 0
            if not failed.retry or attempt > self._retries:
                self._count_hopeless(failed, attempt)
                return Failure(failed.kind, failed.detail, attempt)
            wait = wait_before(attempt, failed.after)
            logger.info("attempt %d failed (%s); the next in %.1f s", attempt, failed, wait)
            with self._lock:
                self._counts["retried"] += 1
            await asyncio.sleep(wait)
        raise AssertionError("the loop returns")

    def _abandoned(self, flight: Flight) -> bool:
        with self._lock:
            gone = all(run.closed for run, _ in flight.waiting)
            if gone:  # struck off in the same breath, so that nobody can begin to wait for it now
                self._strike_off(flight)
        return gone

    def _strike_off(self, flight: Flight) -> None:
        """Under the lock: it is under way no more; the clock stops with the last."""
        flight.asking = False
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
            if not self._flights:
                self._busy_s += time.monotonic() - self._busy_since

    def _count_hopeless(self, failed: AttemptFailed, attempts: int) -> None:
        """Stop everything where it is clear that no request will be answered."""
        if not failed.hopeless:
            return
        self._hopeless += 1
        if self._hopeless < HOPELESS:
            return
        self._hopeless = 0
        error = LlmError(
            f"stopped: {HOPELESS} requests in a row failed after {attempts} attempts, the last with {failed}. Fix: check "
            "that the server runs, its URL, the model's name and the API key, then run again; answers so far are kept"
        )
        self._end_runs(error)

    def _end_runs(self, error: LlmError) -> None:
        """Let nobody wait any longer."""
        with self._lock:
            runs = {id(run): run for flight in self._flights.values() for run, _ in flight.waiting if not run.closed}
        for run in runs.values():
            run.closed = True
            run.outbox.put(error)

    def _write(self) -> None:
        """Store answers as they come, as many as there are in one commit, then hand them out."""
        ended = False
        while not ended:
            items = [self._stored.get()]
            with contextlib.suppress(queue.Empty):
                while len(items) < _COMMIT:
                    items.append(self._stored.get_nowait())
            ended = None in items
            answered = [item for item in items if item is not None]
            if not answered or self._cache is None:
                continue
            try:
                self._cache.put((flight.key, answer) for flight, answer in answered)
            except Exception as error:
                for flight, _ in answered:
                    self._finish(flight, error=error)
            else:
                self.deliver(answered, paid=True)

    def _finish(
        self,
        flight: Flight,
        *,
        answer: Answer | None = None,
        failure: Failure | None = None,
        error: BaseException | None = None,
        paid: bool = False,
    ) -> None:
        """Strike a flight off, count it, and give everybody who waits the outcome."""
        with self._lock:
            self._strike_off(flight)
            if answer is not None or failure is not None:
                self._count(len(flight.waiting), answer, failure, paid=paid)
        for number, (run, index) in enumerate(flight.waiting):
            if error is not None:
                run.outbox.put(error)
            elif answer is not None:
                given = answer if answer.cached or (paid and number == 0) else replace(answer, cached=True)
                run.outbox.put(Reply(index, flight.request, answer=given))
            elif failure is not None:
                run.outbox.put(Reply(index, flight.request, failure=failure))

    def _count(self, n: int, answer: Answer | None, failure: Failure | None, *, paid: bool) -> None:
        self._counts["requests"] += n
        if failure is not None:
            self._failed[failure.kind] += n
        elif answer is not None:
            self._counts["cached"] += n - paid
            self._counts["answered"] += paid
            self._counts["prompt_tokens"] += answer.prompt_tokens if paid else 0
            self._counts["completion_tokens"] += answer.completion_tokens if paid else 0
