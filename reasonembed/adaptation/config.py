"""What an adaptation is asked for, and the synthesis and the training that follow from it: shipped recipes with other values.

What does not stand here is decided on the way (how many sources, how many steps) and kept in the manifest of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reasonembed.io.config import checked, read_yaml
from reasonembed.synth.config import DEFAULT_MODEL, SYNTH_RECIPES, SynthConfig, parse_synth_config
from reasonembed.training.config import TrainConfig, load_train_config

SYNTH_RECIPE, TRAIN_RECIPE = "small", "cpu-small"
DATASET = "synth"
"""Name of the synthesised samples, and of their file."""
LEAST_REQUESTS = 300
"""Fewest requests of a budget: the sample from which the rate is measured takes about half of them."""

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class AdaptConfig(BaseModel):
    """An adaptation.

    Attributes:
        llm: Language model that writes and judges: URL, .gguf file or OpenVINO folder; None works on `pairs` alone.
        model: Directory or hub name of torch weights to start from; `default` is the model that ships, unpacked to float32.
        kind: What questions are written: `post`, `coding`, `math`, `exam`, or a sentence; None takes the recipe's.
        pairs: Questions of one's own with their documents, or a log of clicks: CSV or JSON lines (`adaptation.pairs`).
        labels: What is relevant to a written question: `source`, the passage it was written from, with hard negatives of BM25 and the
            starting model; or `judged`, candidates that the language model judges, which takes ten times the requests and pays only
            with one that judges well (docs/experiments.md).
        budget_requests: Requests to the language model that may be spent.
        hours: Time that all may take.
        seed: Of all that is drawn.
        test_queries: Questions that the gain is measured on, fewer where there are not as many.
        dev_queries: Questions by which the best checkpoint is chosen.
        synth: Key -> value in place of the recipe's (`recipes/synth/small.yaml`); a dot leads into a section.
        train: The same of `recipes/train/cpu-small.yaml`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    llm: Text | None = None
    model: Text = DEFAULT_MODEL
    kind: Text | None = None
    pairs: Path | None = None
    labels: Literal["source", "judged"] = "source"
    budget_requests: Annotated[int, Field(ge=LEAST_REQUESTS)] | None = None
    hours: Positive | None = None
    seed: int = 42
    test_queries: Count = 200
    dev_queries: Count = 100
    synth: Mapping[str, Any] = {}
    train: Mapping[str, Any] = {}

    @model_validator(mode="after")
    def _one_budget(self) -> AdaptConfig:
        if self.budget_requests is not None and self.hours is not None:
            raise ValueError("either `budget_requests` or `hours`")
        if self.labels == "source" and self.synth.get("reasoning.enabled"):
            raise ValueError("analyses are written of judged samples: `labels: judged` for `synth.reasoning.enabled`")
        return self


DEFAULTS = AdaptConfig()
"""Without a language model and without pairs, so something has to be named."""


def parse_adapt_config(value: Any) -> AdaptConfig:
    """Check an adaptation given as plain values.

    Raises:
        DataError: The first value that is wrong.
    """
    return checked(AdaptConfig, value, path=None, docs="docs/adapt.md", first_key="llm")


def synthesis(config: AdaptConfig, corpus: Path, *, miner: str) -> SynthConfig:
    """The synthesis of an adaptation; the number of its sources is the recipe's.

    Args:
        config: The adaptation.
        corpus: Documents, absolute.
        miner: Embedding model that finds candidates beside BM25: the one that is tuned, so that negatives are hard for it.

    Raises:
        DataError: A value of `config.synth` or `config.kind` is wrong.
    """
    values = read_yaml(SYNTH_RECIPES / f"{SYNTH_RECIPE}.yaml")
    values |= {"name": DATASET, "corpus": [str(corpus)], "seed": config.seed}
    values["llm"] = None if config.llm is None else {"place": config.llm}
    values["mine"] = {**values["mine"], "miners": [{"model": miner}, {"bm25": "lucene"}]}
    if config.kind is not None:
        values["kind"] = config.kind
    for key, value in config.synth.items():
        _put(values, key, value)
    return parse_synth_config(values)


def with_sources(config: SynthConfig, n: int | None, *, times: int = 1) -> SynthConfig:
    """The synthesis with another number of sources, None takes all, and `times` as many questions of each."""
    told = {"n": n, "per_document": times * config.sources.per_document}
    return config.model_copy(update={"sources": config.sources.model_copy(update=told)})


def training(config: AdaptConfig, data: Path, changes: Mapping[str, Any]) -> TrainConfig:
    """The training of an adaptation.

    Args:
        config: The adaptation; its `train` goes before all else.
        data: Training samples, a file or a folder.
        changes: Key -> value in place of the recipe's.

    Raises:
        DataError: A value is wrong.
    """
    own = {"name": "adapt", "model": config.model, "data": str(data), "seed": config.seed}
    return load_train_config(TRAIN_RECIPE, changes={**own, **changes, **config.train})


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a value at a dotted key."""
    *sections, last = key.split(".")
    for name in sections:
        if not isinstance(values.get(name), dict):
            values[name] = {}
        values = values[name]
    values[last] = value
