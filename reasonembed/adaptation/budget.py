"""How much is asked and how long is trained: sources, held-out questions and steps out of a budget, and the forecast of it all.

Rates come from a sample that is really run (`synth.estimate`) and from the first steps of the training. Nothing is read or asked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from reasonembed.adaptation.config import AdaptConfig
from reasonembed.errors import DataError
from reasonembed.evaluation.report import Table
from reasonembed.pages.page import duration
from reasonembed.synth.estimate import Estimate, StageEstimate

LLM_SHARE, TRAINING_SHARE = 0.7, 0.2
"""Of the hours; the rest is for reading, embedding and scoring. Without a language model the training has both shares."""
HELD_OUT_SHARE = 0.25
"""Largest share of the language model's budget that goes to held-out questions."""
SAMPLE = {"source": 32, "judged": 8}
"""Sources of the sample, by what labels a question: with a judge on a laptop each takes minutes; where nothing is judged, as many as
a local model answers at once, or the rate would be that of a half-empty batch. Their answers are used again."""
LEAST_SAMPLES, MOST_QUERIES = 8, 64
"""Fewest and most queries of a global batch."""
LEAST_TEST = 6
"""Fewest test questions: with n of them the smallest two-sided p of a permutation test is 2 / 2^n, above 0.05 for n = 5."""
MOST_QUESTIONS = 8
"""Most questions of a training passage where the budget allows more than one of each; the conditions of a question, three lengths and
three levels, give nine different orders."""
EPOCHS = 10
"""Passes over the samples where the hours do not end it before; the best checkpoint by the dev questions is kept."""
EVALUATIONS = 8
"""Dev evaluations of a training between its start and its end, fewer where they would take more than a third of its time."""
DEV_PASSAGES = 2000
"""Most passages that dev questions are searched among, or every evaluation of a training would embed a large corpus anew: on two
AVX2 cores the 5,793 of two textbooks took four minutes each time. Test questions are searched among all."""
FORWARDS = 4
"""Forward passes that a cached training step takes: two, and the backward pass, which is about two more."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the language model takes for one source, on average.

    Attributes:
        requests: To it.
        prompt_tokens: Read.
        completion_tokens: Generated.
        hours: None where nothing was asked anew, so that the rate is not known.
    """

    requests: float
    prompt_tokens: float
    completion_tokens: float
    hours: float | None

    def of(self, unit: str) -> float:
        """Requests or hours.

        Raises:
            DataError: Hours, which are not known.
        """
        value: float | None = getattr(self, unit)
        if value is None:
            raise DataError(
                "the sample was answered from the cache, so hours are not known",
                fix="name a budget of requests, or begin in a new folder",
            )
        return max(value, 1e-9)


@dataclass(frozen=True, slots=True)
class Rates:
    """What a sample has shown.

    Attributes:
        question: To write a question from a source.
        sample: To make of a source all that a training sample takes.
        sources: Training passages that can be a source.
        written: Training samples a source.
        doubt: Half of the 90% interval of the requests of all, as a share of them.
    """

    question: Cost
    sample: Cost
    sources: int
    written: float
    doubt: float = 0.0


def rates_of(estimate: Estimate) -> Rates:
    """Per source, from the estimate of a run over all sources."""

    def each(row: StageEstimate) -> Cost:
        n = max(1, estimate.sources)
        hours = None if row.hours is None else row.hours.mean / n
        return Cost(row.requests.mean / n, row.prompt_tokens.mean / n, row.completion_tokens.mean / n, hours)

    questions = next(row for row in estimate.stages if row.stage == "queries")
    total = estimate.total
    written = total.written.mean / max(1, estimate.sources)
    doubt = total.requests.spread / max(1.0, total.requests.mean)
    return Rates(each(questions), each(total), estimate.sources, written, doubt)


@dataclass(frozen=True, slots=True)
class Sources:
    """How many passages the language model is asked about, by part; `train` None is all.

    Attributes:
        dev: For dev questions.
        test: For test questions.
        heldout_each: How many times the recipe's number of questions each of these is asked for.
        train: For training samples.
        why: In plain words.
        each: How many times the recipe's number of questions a training passage is asked for.
    """

    dev: int
    test: int
    train: int | None
    why: str
    each: int = 1
    heldout_each: int = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """Held-out questions of a part: how many, and of how many passages they can be."""

    questions: int
    passages: int


def plan_sources(
    config: AdaptConfig, *, most: int | None, dev: Wanted, test: Wanted, rates: Rates | None = None
) -> Sources:
    """Divide the budget of the language model. Requests are a limit, so the upper end of their rate counts; of hours the mean.

    Args:
        config: Says the budget.
        most: Training sources where there is no budget; None is all.
        dev: Dev questions wanted. Where there are fewer passages than questions, each gets several.
        test: Test questions wanted.
        rates: Of a sample; needed where there is a budget.

    Raises:
        DataError: Hours are the budget, and the rate is not known.
    """
    unit = "hours" if config.hours is not None else "requests"
    allowed = LLM_SHARE * config.hours if config.hours is not None else config.budget_requests
    if allowed is None or rates is None:
        many = "all passages" if most is None else f"at most {most:,} passages"
        asked = _heldout(dev, test, 1.0)
        return Sources(*asked[:2], most, f"no budget was named: {many} are asked about", heldout_each=asked[2])
    each, whole = rates.question.of(unit), rates.sample.of(unit)
    if unit == "requests":
        whole *= 1 + rates.doubt
    share = min(1.0, HELD_OUT_SHARE * allowed / each / max(1, dev.questions + test.questions))
    of_dev, of_test, times = _heldout(dev, test, share)
    held = (of_dev + of_test) * times
    train = int((allowed - held * each) / whole)
    each_passage = max(1, min(MOST_QUESTIONS, train // max(1, rates.sources)))
    train = min(rates.sources, max(SAMPLE[config.labels], train))
    spent = f"{allowed:,.0f} requests" if unit == "requests" else f"{duration(allowed * 3600)} of the language model"
    took = f"up to {whole:.1f} requests" if unit == "requests" else duration(whole * 3600)
    return Sources(
        of_dev, of_test, train,
        f"{spent}: {of_dev + of_test:,} passages for held-out questions{_times(times)}, "
        f"{train:,} of {rates.sources:,} for training samples, {took} each{_times(each_passage)}",
        each_passage, times,
    )  # fmt: skip


def _heldout(dev: Wanted, test: Wanted, share: float) -> tuple[int, int, int]:
    """Passages for dev and for test questions, and questions of each, for a share of those that are wanted."""
    questions = [min(part.questions, max(LEAST_TEST, round(share * part.questions))) for part in (dev, test)]
    needed = [ceil(n / part.passages) for n, part in zip(questions, (dev, test), strict=True) if part.passages]
    times = min(MOST_QUESTIONS, max([1, *needed]))
    of_dev, of_test = (min(part.passages, ceil(n / times)) for n, part in zip(questions, (dev, test), strict=True))
    return of_dev, of_test, times


def _times(n: int) -> str:
    return f", {n} times" if n > 1 else ""


def batch_queries(samples: int) -> int:
    """Queries of a global batch: the largest power of two up to the number of samples and `MOST_QUERIES`.

    >>> [batch_queries(n) for n in (7, 8, 63, 64, 1000)]
    [0, 8, 32, 64, 64]
    """
    return 0 if samples < LEAST_SAMPLES else min(MOST_QUERIES, 1 << (samples.bit_length() - 1))


@dataclass(frozen=True, slots=True)
class Steps:
    """How long is trained.

    Attributes:
        steps: Of the optimiser.
        epochs: Passes over the data that they reach into.
        every: Steps between two evaluations.
        why: In plain words.
    """

    steps: int
    epochs: int
    every: int
    why: str


def training_seconds(hours: float | None, *, asks: bool) -> float | None:
    """Seconds of the budget that are for the training.

    Args:
        hours: For all; None is without limit.
        asks: Whether there is a language model, which takes its share.
    """
    return None if hours is None else (TRAINING_SHARE + (0 if asks else LLM_SHARE)) * hours * 3600


def plan_steps(batches: int, *, allowed: float | None, step_seconds: float = 0.0, dev_seconds: float = 0.0) -> Steps:
    """Steps of the training.

    Args:
        batches: In one pass over the samples.
        allowed: Seconds of the training; None is without limit.
        step_seconds: Of one step, measured.
        dev_seconds: Of one evaluation.
    """
    steps, evaluations, why = EPOCHS * batches, EVALUATIONS, f"{EPOCHS} passes over {batches:,} batches"
    if allowed is not None:
        evaluations = max(1, min(EVALUATIONS, int(allowed / 3 / dev_seconds) if dev_seconds else EVALUATIONS))
        fit = max(1, int((allowed - (evaluations + 1) * dev_seconds) / step_seconds))
        if fit < steps:
            steps = fit
            why = f"{duration(allowed)} for the training, {duration(step_seconds)} a step, {duration(dev_seconds)} an evaluation"
    return Steps(steps, ceil(steps / batches), ceil(steps / evaluations), f"{steps:,} steps: {why}")


@dataclass(frozen=True, slots=True)
class Row:
    """A step of a forecast; None is not known, 0 is nothing."""

    step: str
    requests: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    hours: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an adaptation will take.

    Attributes:
        passages: Of the corpus.
        parts: Part -> passages.
        pairs: Part -> the user's questions.
        sources: Part -> passages that the language model is asked about.
        samples: Training samples that are expected.
        rows: A step each, and their sum.
        why: How the sources were decided, in plain words; empty without a language model.
    """

    passages: int
    parts: Mapping[str, int]
    pairs: Mapping[str, int]
    sources: Mapping[str, int]
    samples: int
    rows: tuple[Row, ...]
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def table(self) -> Table:
        """A row a step, and their sum."""
        rows = tuple(
            (row.step, *map(_shown, (row.requests, row.prompt_tokens, row.completion_tokens)), _time(row.hours))
            for row in self.rows
        )
        parts = ", ".join(f"{part} {count:,}" for part, count in self.parts.items())
        notes = [f"{self.passages:,} passages: {parts}; about {self.samples:,} training samples"]
        notes += [f"questions of your pairs: {', '.join(f'{key} {n:,}' for key, n in self.pairs.items())}"] * bool(
            self.pairs
        )
        notes += [self.why] * bool(self.why)
        notes.append(
            "requests, tokens and their time from a sample that was really run; training and scoring from the reading's rate"
        )
        return Table("", ("step", "requests", "tokens read", "tokens generated", "time"), rows, tuple(notes))


def forecast_rows(
    sources: Mapping[str, int], rates: Rates | None, *, samples: int, group: int, passages: int, hours: float | None,
    passage_seconds: float,
) -> tuple[Row, ...]:  # fmt: skip
    """The steps still to do.

    Args:
        sources: By part.
        rates: Of a sample; None without a language model.
        samples: Training samples expected.
        group: Passages a query in training.
        passages: Of the corpus.
        hours: The budget, which bounds the training.
        passage_seconds: To embed one, as measured while the index was built; 0 where nothing was embedded.
    """
    rows = []
    if rates is not None:
        rows.append(_asked("held-out questions", rates.question, sources["dev"] + sources["test"]))
        rows.append(_asked("training data", rates.sample, sources["train"]))
    dev_seconds = min(passages, DEV_PASSAGES) * passage_seconds
    if queries := batch_queries(samples):
        batches = samples // queries
        step_seconds = max(1e-9, queries * (1 + group) * passage_seconds * FORWARDS)
        allowed = training_seconds(hours, asks=rates is not None)
        plan = plan_steps(batches, allowed=allowed, step_seconds=step_seconds, dev_seconds=dev_seconds)
        seconds = plan.steps * step_seconds + (ceil(plan.steps / plan.every) + 1) * dev_seconds
        rows.append(Row("training", hours=seconds / 3600 if passage_seconds else None))
    rows.append(Row("scores and index", hours=3 * passages * passage_seconds / 3600 if passage_seconds else None))
    known = [row.hours for row in rows]
    whole = None if None in known else sum(hour for hour in known if hour is not None)
    requests, read, generated = (
        sum(getattr(row, name) for row in rows) for name in ("requests", "prompt_tokens", "completion_tokens")
    )
    return (*rows, Row("in all", requests, read, generated, whole))


def _asked(step: str, cost: Cost, n: int) -> Row:
    hours = None if cost.hours is None else n * cost.hours
    return Row(step, n * cost.requests, n * cost.prompt_tokens, n * cost.completion_tokens, hours)


def _shown(number: float) -> str:
    return f"{number:,.0f}" if number else "-"


def _time(hours: float | None) -> str:
    return "not known" if hours is None else duration(hours * 3600)
