"""All that decides what a stage writes, as plain values: a stage whose values are those it was made with is not made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reasonembed.encode.embedder import Embedder
from reasonembed.io.manifest import fingerprint
from reasonembed.llm.client import Llm
from reasonembed.llm.prompts import load_prompt
from reasonembed.search.pipeline_config import LlmConfig
from reasonembed.synth.config import SynthConfig
from reasonembed.synth.folder import FOLLOWS, Run
from reasonembed.synth.judgement import prompts_fingerprint
from reasonembed.synth.queries import FRAME
from reasonembed.synth.reasoning import ANALYSIS
from reasonembed.synth.sources import DOMAIN_PROMPT, held_out_ids
from reasonembed.synth.tasks import PROMPTS, Writing, writing_for


def settings_of(run: Run, stage: str, *, llm: Llm | None = None, embedder: Embedder | None = None) -> dict[str, Any]:
    """The settings of a stage.

    Args:
        run: With the configuration that is wanted.
        stage: Of `folder.STAGES`.
        llm: The language model, if it is open; else the configuration says what it can.
        embedder: In place of the first embedding model of `mine.miners`.

    Returns:
        Name -> value; `corpus` and `inputs` are digests of content, None where there is none yet. `llm` is None where nobody
        has said which model it is.
    """
    config = run.config
    inputs = {name: run.output(name) for name in FOLLOWS[stage] if name != "reasoning" or config.reasoning.enabled}
    common = {"corpus": run.corpus_fingerprint(), "inputs": inputs, "seed": config.seed}
    own = getattr(config, stage).model_dump(mode="json", exclude={"per_document", "llm", "exclude_qrels"})
    return {**common, stage: own, **_further(config, stage, writing_of(config), llm, embedder)}


def writing_of(config: SynthConfig) -> Writing:
    """What is to be written."""
    return writing_for(config.task, config.kind)


def instruction_of(config: SynthConfig) -> str:
    """Instruction of the queries when they are embedded."""
    told = config.mine.instruction
    return writing_of(config).instruction if told is None else told


def llm_of(config: SynthConfig, stage: str) -> LlmConfig | None:
    """The language model that the configuration names for this stage alone."""
    own: LlmConfig | None = getattr(getattr(config, stage), "llm", None)
    return own


def _further(
    config: SynthConfig, stage: str, writing: Writing, llm: Llm | None, embedder: Embedder | None
) -> dict[str, Any]:
    if stage == "sources":
        held_out = fingerprint(sorted(held_out_ids(config.sources.exclude_qrels)))
        asks = _asks(config, stage, llm, DOMAIN_PROMPT) if config.sources.domain else {}
        return {**asks, "held_out": held_out}
    if stage == "queries":
        words = {"sentence": writing.sentence, "noun": writing.relevance.query_type}
        return {**_asks(config, stage, llm, FRAME), **words, "per_document": config.sources.per_document}
    if stage == "mine":
        told = None if embedder is None else embedder.fingerprint
        return {"instruction": instruction_of(config), "embedder": told}
    if stage == "annotate":
        prompts = prompts_fingerprint(config.annotate.settings(config.seed))
        return {**_asks(config, stage, llm), "prompts": prompts, "relevance": writing.relevance.words()}
    if stage == "reasoning":
        return {**_asks(config, stage, llm, ANALYSIS), "samples": config.samples.model_dump(mode="json")}
    return {"instruction": instruction_of(config)}


def _asks(config: SynthConfig, stage: str, llm: Llm | None, *prompts: str) -> dict[str, Any]:
    """Who is asked, and with what words."""
    words = [load_prompt(PROMPTS, prompt) for prompt in prompts]
    return {"llm": _name_of(config, stage, llm), **({"prompt": fingerprint(words)} if words else {})}


def _name_of(config: SynthConfig, stage: str, llm: Llm | None) -> str | None:
    """Name of the model; None for a server whose only model is meant."""
    own = llm_of(config, stage)
    if llm is not None and own is None:
        return str(llm.describe()["model"])
    told = own or config.llm
    if told is None or told.model is not None:
        return None if told is None else told.model
    local = told.place is not None and not told.place.startswith(("http://", "https://"))
    return Path(told.place).name if local and told.place else None
