"""Ask a language model one thing for each record until the answer is good, or often enough; outcomes in the order of the records.

Which request belongs to a record follows from the record and the number of the attempt alone, so that a stage that is run again
finds every answer in the cache. Memory holds what is under way, whatever the number of records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from reasonembed.llm.client import Llm
from reasonembed.llm.types import Answer, Reply, Request

T = TypeVar("T")
R = TypeVar("R")

PASSING = frozenset(("overloaded", "server", "timeout", "connection"))
"""Failures of a server that another run may not meet: a stage with such a loss is not finished."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A record without an outcome.

    Attributes:
        reason: Of the last attempt.
        detail: The end of the last answer, or what the server said.
    """

    reason: str
    detail: str = ""

    @property
    def passing(self) -> bool:
        """Whether the server, and not the record, is to blame."""
        return self.reason in PASSING


@dataclass(slots=True)
class _Slot(Generic[T, R]):
    record: T
    attempt: int = 0
    outcome: R | Lost | None = None


def ask_each(
    llm: Llm,
    records: Iterable[T],
    *,
    request: Callable[[T, int], Request],
    read: Callable[[T, Answer], R | Lost],
    attempts: int,
    label: str,
    total: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[T, R | Lost]]:
    """Ask for each record.

    Args:
        llm: What is asked.
        records: Taken as there is room.
        request: (record, attempt from 0) -> what is asked.
        read: (record, answer) -> outcome, or `Lost`, which asks again.
        attempts: How often a record is asked for.
        label: Of the progress bar.
        total: Number of records, for the time left.
        progress: Show a bar.

    Yields:
        (record, outcome or `Lost`), in the order of the records.

    Raises:
        LlmError: The model cannot be reached at all; what was answered is in the cache.
    """
    fresh = iter(records)
    again: deque[_Slot[T, R]] = deque()
    asked: deque[_Slot[T, R]] = deque()
    waiting: deque[_Slot[T, R]] = deque()

    def requests() -> Iterator[Request]:
        while True:
            if again:
                slot = again.popleft()
            else:
                try:
                    slot = _Slot(next(fresh))
                except StopIteration:
                    return
                waiting.append(slot)
            asked.append(slot)
            yield request(slot.record, slot.attempt)

    started = False
    while again or not started:  # the last records may be asked for again after all have been asked for once
        started = True
        for reply in llm.answers(requests(), label=label, total=total, progress=progress):
            slot = asked.popleft()
            slot.outcome = _outcome(slot.record, reply, read)
            slot.attempt += 1
            if isinstance(slot.outcome, Lost) and reply.answer is not None and slot.attempt < attempts:
                slot.outcome = None
                again.append(slot)
            while waiting and waiting[0].outcome is not None:
                done = waiting.popleft()
                assert done.outcome is not None
                yield done.record, done.outcome


def _outcome(record: T, reply: Reply, read: Callable[[T, Answer], R | Lost]) -> R | Lost:
    if reply.answer is None:
        failure = reply.failure
        return Lost(failure.kind, failure.detail) if failure else Lost("malformed")
    return read(record, reply.answer)


def last_words(answer: Answer) -> str:
    """The end of an answer on one line, for `Lost.detail`."""
    return " ".join(answer.text.split())[-200:]
