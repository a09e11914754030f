"""A stage at work: what it counts, loses and spends; at its end its file, its losses and its report are written."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from reasonembed.errors import DataError
from reasonembed.io.jsonl import write_jsonl
from reasonembed.llm.client import Llm
from reasonembed.llm.types import Reply, Request
from reasonembed.synth.asking import Lost
from reasonembed.synth.folder import Failure, Run, StageReport
from reasonembed.synth.settings import llm_of


class Meter:
    """A language model that counts what its answers took, paid for now or by a run that was killed.

    Args:
        llm: What is asked.
    """

    def __init__(self, llm: Llm) -> None:
        self._llm = llm
        self.requests = self.cached = self.prompt_tokens = self.completion_tokens = 0

    def describe(self) -> Mapping[str, Any]:
        """See `Llm.describe`."""
        return self._llm.describe()

    def answers(self, requests: Iterable[Request], **options: Any) -> Iterator[Reply]:
        """See `Llm.answers`."""
        for reply in self._llm.answers(requests, **options):
            self.requests += 1
            if reply.answer is not None:
                self.cached += reply.answer.cached
                self.prompt_tokens += reply.answer.prompt_tokens
                self.completion_tokens += reply.answer.completion_tokens
            yield reply


class Work:
    """A stage at work.

    Args:
        run: The run.
        stage: Name of the stage.
        llm: What it asks, if it asks.

    Attributes:
        counts: Goes into the report.
        losses: Goes into the report: reason -> records.
        details: Goes into the report.
    """

    def __init__(self, run: Run, stage: str, llm: Llm | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self.details: dict[str, Any] = {}
        self._run, self._stage, self._llm = run, stage, llm
        self._meter = None if llm is None else Meter(llm)
        self._lost: list[Failure] = []
        self._unanswered = 0
        self._started = time.perf_counter()

    @property
    def llm(self) -> Llm:
        """The language model, counted.

        Raises:
            DataError: There is none.
        """
        if self._meter is None:
            raise DataError(f"stage {self._stage!r} needs a language model", fix="set `llm`, or give one")
        return cast("Llm", self._meter)  # it has `answers`, which is all that a stage uses

    def lose(self, identifier: str, lost: Lost) -> None:
        """Count a record that was lost, and keep its name and the reason."""
        self.losses[lost.reason] += 1
        self._unanswered += lost.passing
        self._lost.append(Failure(self._stage, identifier, lost.reason, lost.detail))

    def finish(self, rows: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]) -> StageReport:
        """Write the stage's file, whole or not at all, and note what was done.

        Args:
            rows: Taken one by one.
            settings: All that decides what the stage writes, see `synth.settings`.

        Raises:
            StorageError: The file could not be written; what was answered is in the cache.
        """
        path = self._run.path(self._stage)
        for left in path.parent.glob(f".{path.name}.*.tmp"):  # of a run that was killed
            left.unlink(missing_ok=True)
        self.counts["written"] = write_jsonl(path, rows)
        report = StageReport(
            self._stage, dict(self.counts), dict(sorted(self.losses.items())), self._unanswered,
            seconds=time.perf_counter() - self._started, details=self.details, **self._spent(),
        )  # fmt: skip
        self._run.record(report, settings, self._lost)
        return report

    def _spent(self) -> dict[str, Any]:
        if self._llm is None or self._meter is None or not self._meter.requests:
            return {}
        names = ("requests", "cached", "prompt_tokens", "completion_tokens")
        spent = {name: getattr(self._meter, name) for name in names}
        told = llm_of(self._run.config, self._stage) or self._run.config.llm
        cost = None
        if told is not None and told.price is not None:
            cost = (
                told.price.prompt * spent["prompt_tokens"] + told.price.completion * spent["completion_tokens"]
            ) / 1e6
        return {**spent, "cost": cost, "llm": self._llm.describe()}
