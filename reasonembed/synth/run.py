"""ReMixer as one resumable run: sources, queries, candidates, judgements, analyses, samples; all stages, or some.

    run = synthesize(load_synth_config("remix.yaml"), "runs/remix")

A finished stage is not done again. `plan` says what is done, and what a changed configuration makes stale.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reasonembed.errors import DataError
from reasonembed.llm.client import Llm
from reasonembed.llm.open import open_llm
from reasonembed.llm.totals import Price
from reasonembed.search.pipeline_config import LlmConfig
from reasonembed.synth.config import SynthConfig
from reasonembed.synth.folder import FOLLOWS, STAGES, Run, StageReport, Step
from reasonembed.synth.settings import llm_of, settings_of
from reasonembed.synth.stages import annotate, mine, write_queries, write_reasonings, write_samples, write_sources

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

__all__ = [
    "STAGES", "Run", "StageReport", "Step", "annotate", "mine", "open_stage_llm", "plan", "synthesize", "write_queries",
    "write_reasonings", "write_samples", "write_sources",
]  # fmt: skip

logger = logging.getLogger(__name__)


def synthesize(
    config: SynthConfig,
    out: Path | str,
    *,
    llm: Llm | None = None,
    embedder: Embedder | None = None,
    stages: Sequence[str] | None = None,
    progress: bool = True,
) -> Run:
    """Make training samples, or bring a run to its end; finished stages are kept.

    Args:
        config: What is wanted. Where it differs from what the run was made with, the stages it concerns and those after them are
            made again; `plan` says which, and they are logged as warnings before anything is replaced.
        out: The run directory.
        llm: The language model of the stages that name none of their own; None opens `config.llm`, with the run's cache.
        embedder: In place of the first embedding model of `mine.miners`.
        stages: Only these, in the order of `STAGES`; None is all.
        progress: Show bars.

    Returns:
        The run; `run.report(stage)` says what became of each stage.

    Raises:
        DataError: An unknown stage, a stage whose input is missing, or a language model is needed and none is named.
        LlmError: The model cannot be reached; what it answered is kept, and the next run goes on there.
    """
    if unknown := set(stages or ()) - set(STAGES):
        raise DataError(f"unknown stages {', '.join(sorted(unknown))}", fix=f"of {', '.join(STAGES)}")
    run = Run(out, config)
    for step in plan(run, llm=llm, embedder=embedder):
        if step.state in ("changed", "follows", "incomplete") and (stages is None or step.stage in stages):
            logger.warning(
                "stage %s is made again (%s: %s); %d records", step.stage, step.state, step.why, step.records
            )
    with ExitStack() as stack:
        models = _Models(run, llm, stack)
        for stage in STAGES if stages is None else [stage for stage in STAGES if stage in stages]:
            if run.step(stage, settings_of(run, stage, llm=llm, embedder=embedder)).state not in ("done", "off"):
                _do(run, stage, models, embedder, progress)
    return run


def plan(run: Run, *, llm: Llm | None = None, embedder: Embedder | None = None) -> tuple[Step, ...]:
    """What `synthesize` would do with each stage; nothing is changed.

    Args:
        run: The run, with the configuration that is wanted.
        llm: As given to `synthesize`.
        embedder: As given to `synthesize`.
    """
    steps: dict[str, Step] = {}
    for stage in STAGES:
        step = run.step(stage, settings_of(run, stage, llm=llm, embedder=embedder))
        again = [name for name in FOLLOWS[stage] if steps[name].state not in ("done", "off")]
        if step.state == "done" and again:
            step = replace(step, state="follows", why=", ".join(again))
        steps[stage] = step
    return tuple(steps.values())


def open_stage_llm(run: Run, stage: str) -> Llm:
    """Open the language model that the configuration names for a stage, with the run's cache.

    Raises:
        DataError: It names none.
        LlmError: The server cannot be asked for its model.
    """
    told = llm_of(run.config, stage)
    named = told or run.config.llm or LlmConfig()
    place = named.place or (run.config.llm.place if run.config.llm is not None else None)
    if place is None:
        raise DataError(
            f"stage {stage!r} needs a language model", fix="set `llm: {place: URL or file}` in the configuration"
        )
    price = None if named.price is None else Price(named.price.prompt, named.price.completion)
    return open_llm(place, model=named.model, cache=run.cache, concurrency=named.concurrency, price=price)


class _Models:
    """The language models of a run, each opened when a stage first needs it."""

    def __init__(self, run: Run, llm: Llm | None, stack: ExitStack) -> None:
        self._run, self._llm, self._stack = run, llm, stack
        self._opened: dict[LlmConfig | None, Llm] = {}

    def of(self, stage: str) -> Llm:
        own = llm_of(self._run.config, stage)
        if own is None and self._llm is not None:
            return self._llm
        key = own or self._run.config.llm
        if key not in self._opened:
            self._opened[key] = self._stack.enter_context(open_stage_llm(self._run, stage))
        return self._opened[key]


def _do(run: Run, stage: str, models: _Models, embedder: Embedder | None, progress: bool) -> StageReport:
    if stage == "sources":
        return write_sources(run, models.of(stage) if run.config.sources.domain else None, progress=progress)
    if stage == "queries":
        return write_queries(run, models.of(stage), progress=progress)
    if stage == "mine":
        return mine(run, embedder=embedder, progress=progress)
    if stage == "annotate":
        return annotate(run, models.of(stage), progress=progress)
    if stage == "reasoning":
        return write_reasonings(run, models.of(stage), progress=progress)
    return write_samples(run, progress=progress)
