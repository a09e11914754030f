"""What a run will take, from a small sample that is really run: requests, tokens, hours, money, samples, each with its spread.

The sample goes through the same stages in the same run directory. A smaller draw is a part of a larger one (`synth.sources`), so
every answer of the sample is one that the whole run would ask for, and it stays in the cache. The sample is then cut into quarters,
answered from the cache, whose differences give the spread.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isclose, sqrt
from pathlib import Path
from statistics import stdev
from typing import TYPE_CHECKING, Any

from reasonembed.errors import DataError
from reasonembed.evaluation.report import Table
from reasonembed.io.manifest import read_json, write_json
from reasonembed.llm.client import Llm
from reasonembed.pages.page import duration
from reasonembed.synth.config import SynthConfig
from reasonembed.synth.folder import MANIFEST, STAGES, Run, StageReport
from reasonembed.synth.run import synthesize

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

FILE = "estimate.json"
"""What was measured, beside the run, so that an estimate is not measured again from the cache, whose rate is no rate."""
PARTS = 4
T = 2.353
"""Student's t, 3 degrees of freedom, 95%: half the width of a 90% interval in standard errors, from 4 parts."""
Z = 1.645
"""The same of the normal distribution."""
UNSEEN = 3.0
"""What is not seen in n tries is, at 95%, rarer than 3 / n ("rule of three", -ln 0.05 = 3.0): of the others, factor - 1 times n, 3 times
factor - 1 may be asked again or be lost where nothing was in the sample."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A number that is not known exactly.

    Attributes:
        mean: The estimate.
        spread: Half the width of its 90% interval, from the sampling alone.
    """

    mean: float
    spread: float

    def __str__(self) -> str:
        digits = 0 if self.mean >= 100 else 1 if self.mean >= 10 else 2
        return f"{self.mean:,.{digits}f} ± {self.spread:,.{digits}f}"


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What a stage of the whole run will take.

    Attributes:
        stage: Its name; `in all` for their sum.
        written: Records; in all, samples.
        requests: To the language model; records of the sample included.
        prompt_tokens: Read.
        completion_tokens: Generated.
        hours: At the rate of the sample; None where the sample was answered from the cache.
        cost: At the configured price; None without one.
    """

    stage: str
    written: Amount
    requests: Amount
    prompt_tokens: Amount
    completion_tokens: Amount
    hours: Amount | None
    cost: Amount | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a whole run will take.

    Attributes:
        sample: Sources of the sample.
        sources: Of the whole run.
        stages: One a stage that does something; those that ask nothing have the hours of the sample.
        total: Their sum.
    """

    sample: int
    sources: int
    stages: tuple[StageEstimate, ...]
    total: StageEstimate

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def table(self) -> Table:
        """A row a stage, and their sum."""
        head = ("stage", "records", "requests", "tokens read", "tokens generated", "time", "cost")
        rows = [
            (
                row.stage,
                *map(_shown, (row.written, row.requests, row.prompt_tokens, row.completion_tokens)),
                "-" if row.hours is None else _time(row.hours),
                _shown(row.cost),
            )
            for row in (*self.stages, self.total)
        ]
        notes = (
            f"for {self.sources:,} sources, from {self.sample:,} that were really run; ± is half of a 90% interval",
            "time: at the rate of the sample, which keeps a server less busy than the whole run; stages without requests as measured",
            "the answers of the sample are in the cache of the run",
        )
        return Table("", head, tuple(rows), notes)


def _shown(amount: Amount | None) -> str:
    return "-" if amount is None or not amount.mean else str(amount)


def _time(hours: Amount) -> str:
    spread = f" ± {duration(hours.spread * 3600)}" if hours.spread else ""
    return duration(hours.mean * 3600) + spread


def estimate_run(
    config: SynthConfig,
    out: Path | str,
    *,
    sample: int = 20,
    llm: Llm | None = None,
    embedder: Embedder | None = None,
    stages: Sequence[str] = STAGES,
    progress: bool = True,
) -> Estimate:
    """Run a sample and multiply.

    Args:
        config: Of the whole run.
        out: The run directory; one that was begun in earnest is refused. It is left with the sample in it.
        sample: Sources that are really run, rounded down to a multiple of `PARTS`.
        llm: As for `synthesize`.
        embedder: As for `synthesize`.
        stages: Only these, the first ones.
        progress: Show bars.

    Raises:
        DataError: The sample is smaller than `PARTS`, or the directory holds a run of another size.
        LlmError: The model cannot be reached.
    """
    if sample < PARTS:
        raise DataError(f"sample={sample} has no spread", fix=f"at least {PARTS}")
    parts = [_drawn(config, sample // PARTS * part) for part in range(1, PARTS + 1)]
    out = Path(out)
    kept: dict[str, Any] = {"config": {}, "sample": 0, "parts": []}
    if (out / FILE).is_file():
        kept = read_json(out / FILE)
    samples = {n // PARTS * part for n in (sample, kept["sample"]) for part in range(1, PARTS + 1)}
    if (out / MANIFEST).is_file() and (there := Run(out).config.sources.n) not in samples:
        raise DataError(
            f"holds a run of {'all' if there is None else there} sources, which a sample of {sample} would replace",
            path=out, fix="estimate in another directory",
        )  # fmt: skip
    sampled = parts[-1].model_dump(mode="json")
    if kept["parts"] and kept["config"] == sampled and kept.get("stages", list(STAGES)) == list(stages):
        measured = [{stage: StageReport(**row) for stage, row in part.items()} for part in kept["parts"]]
        return estimate_from(config, measured)
    made = {"config": sampled, "sample": sample, "stages": list(stages)}
    measured = _measure(parts, out, made, llm=llm, embedder=embedder, progress=progress)
    rows = [{stage: asdict(report) for stage, report in reports.items()} for reports in measured]
    write_json(out / FILE, {**made, "parts": rows})
    return estimate_from(config, measured)


def estimate_from(config: SynthConfig, parts: Sequence[Mapping[str, StageReport]]) -> Estimate:
    """Multiply what was measured.

    The total of a number over all sources is N / n times that of the n sampled; its spread follows from the deviation s of the
    quarters, with the correction for a finite number of sources: T * N / n * sqrt(PARTS * (1 - n / N)) * s. Of equal quarters it is
    that of what was not seen (`UNSEEN`).

    Args:
        config: Of the whole run.
        parts: Reports by stage after each quarter of the sample, growing; the last is the whole sample, run first.
    """
    whole = parts[-1]
    drawn = whole["sources"].counts["written"]
    sources, domain = _domain(config, whole["sources"])
    stages = [domain]
    for stage in STAGES[1:]:
        if stage in whole:
            stages.append(_stage([part[stage] for part in parts], max(1.0, sources / drawn)))
    return Estimate(drawn, round(sources), tuple(stages), _in_all(stages))


def _measure(
    parts: Sequence[SynthConfig],
    out: Path,
    made: Mapping[str, Any],
    *,
    llm: Llm | None,
    embedder: Embedder | None,
    progress: bool,
) -> list[dict[str, StageReport]]:
    """The whole sample first, for its rate; then the quarters from the cache; and the sample again, to leave it there."""

    def reports(part: SynthConfig, show: bool) -> dict[str, StageReport]:
        run = synthesize(part, out, llm=llm, embedder=embedder, stages=made["stages"], progress=show)
        return {stage: report for stage in made["stages"] if (report := run.report(stage)) is not None}

    synthesize(parts[-1], out, llm=llm, embedder=embedder, stages=["sources"], progress=False)
    write_json(out / FILE, {**made, "parts": []})  # so that one that is stopped is known as an estimate
    whole = reports(parts[-1], progress)
    with quiet("reasonembed.synth.run"):  # that stages are made again is what is wanted here
        quarters = [reports(part, False) for part in parts[:-1]]
        reports(parts[-1], False)
    return [*quarters, whole]


def _drawn(config: SynthConfig, n: int) -> SynthConfig:
    return config.model_copy(update={"sources": config.sources.model_copy(update={"n": n})})


def _domain(config: SynthConfig, report: StageReport) -> tuple[float, StageEstimate]:
    """Sources of the whole run, and the questions about their domain that it takes to find them."""
    written, left, asked = report.counts["written"], report.losses.get("not drawn", 0), report.requests
    refused = sum(report.losses.get(reason, 0) for reason in ("not of the domain", "unreadable"))
    welcome = 1 - refused / asked if asked else 1.0  # share of the documents that may be sources
    spare = asked - refused - written if asked else 0  # welcome, but not needed for the sample
    eligible = written + spare + (left - spare) * welcome
    sources = eligible if config.sources.n is None else min(config.sources.n, eligible)
    questions = sources / welcome if asked else 0.0
    relative = Z * sqrt((1 - welcome) / (welcome * asked)) if asked else 0.0

    def amount(of_sample: float) -> Amount:
        return (
            Amount(of_sample * questions / asked, of_sample * questions / asked * relative) if asked else Amount(0, 0)
        )

    return sources, StageEstimate(
        "sources", Amount(sources, 0), amount(asked), amount(report.prompt_tokens), amount(report.completion_tokens),
        amount(_fresh_hours(report)) if asked > report.cached else None if asked else Amount(report.seconds / 3600, 0),
        None if report.cost is None else amount(report.cost),
    )  # fmt: skip


def _stage(grown: Sequence[StageReport], factor: float) -> StageEstimate:
    """One stage of the whole run, from its reports after each quarter."""
    whole = grown[-1]
    tries = whole.requests or whole.counts["written"]

    def amount(values: Sequence[float]) -> Amount:
        steps = [after - before for before, after in itertools.pairwise((0, *values))]
        spread = T * factor * sqrt(len(steps) * (1 - 1 / factor)) * stdev(steps)
        if tries and isclose(min(steps), max(steps)):
            spread = UNSEEN * (factor - 1) * values[-1] / tries
        return Amount(values[-1] * factor, spread)

    tokens = amount([report.completion_tokens for report in grown])
    hours: Amount | None = Amount(whole.seconds / 3600, 0)
    if whole.requests:
        relative = tokens.spread / tokens.mean if tokens.mean else 0.0
        mean = _fresh_hours(whole) * factor
        hours = Amount(mean, mean * relative) if whole.requests > whole.cached else None
    return StageEstimate(
        whole.stage,
        amount([report.counts["written"] for report in grown]),
        amount([report.requests for report in grown]),
        amount([report.prompt_tokens for report in grown]),
        tokens,
        hours,
        None if whole.cost is None else amount([report.cost or 0.0 for report in grown]),
    )


def _fresh_hours(report: StageReport) -> float:
    """Hours that the requests of a stage take where none is answered from the cache."""
    return report.seconds / 3600 * report.requests / max(1, report.requests - report.cached)


def _in_all(stages: Sequence[StageEstimate]) -> StageEstimate:
    """The sum; spreads are added, since a long sample is long in every stage."""

    def added(amounts: Sequence[Amount | None]) -> Amount:
        known = [amount for amount in amounts if amount is not None]
        return Amount(sum(amount.mean for amount in known), sum(amount.spread for amount in known))

    costs, hours = [row.cost for row in stages], [row.hours for row in stages]
    return StageEstimate(
        "in all",
        stages[-1].written,
        added([row.requests for row in stages]),
        added([row.prompt_tokens for row in stages]),
        added([row.completion_tokens for row in stages]),
        None if None in hours else added(hours),
        added(costs) if any(costs) else None,
    )


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """Warnings of a module are not logged."""
    module = logging.getLogger(name)
    before = module.level
    module.setLevel(logging.ERROR)
    try:
        yield
    finally:
        module.setLevel(before)
