"""What a synthesis is made of, as a small YAML file checked value by value; every constant of the paper is a default here.

One section a stage. A changed section invalidates its stage and those that follow (`synth.run`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reasonembed.dataset.label import NEGATIVE, POSITIVE, Limits
from reasonembed.io.config import RECIPES, checked, find_recipe, read_yaml
from reasonembed.search.pipeline_config import LlmConfig
from reasonembed.synth.judgement import AnnotateSettings
from reasonembed.synth.tasks import writing_for

SYNTH_RECIPES = RECIPES / "synth"
"""The syntheses that ship, opened by name."""
DEFAULT_MODEL = "default"
"""Name of the embedding model that ships, in `mine.miners`."""

_JUDGING = AnnotateSettings()
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Heat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LengthBand(_Part):
    """A length of queries that is asked for.

    Attributes:
        least: Words.
        most: Words; None is no limit.
        weight: How often, against the other bands.
    """

    least: Annotated[int, Field(ge=0)]
    most: Count | None
    weight: Weight

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        listed = isinstance(value, list | tuple) and len(value) == 3
        return dict(zip(("least", "most", "weight"), value, strict=True)) if listed else value

    @model_validator(mode="after")
    def _ordered(self) -> LengthBand:
        if self.most is not None and self.most < self.least:
            raise ValueError("least is above most")
        return self


PAPER_LENGTHS = (
    LengthBand(least=0, most=99, weight=1),
    LengthBand(least=100, most=200, weight=2),
    LengthBand(least=200, most=300, weight=3),
    LengthBand(least=300, most=400, weight=3),
    LengthBand(least=400, most=500, weight=2),
    LengthBand(least=500, most=None, weight=1),
)
"""Words of a query and their weights: paper.md 1.2."""
PAPER_LEVELS = {"high school": 1.0, "college": 2.0, "phd": 2.0}
"""Education levels and their weights: paper.md 1.2."""


class SourcesConfig(_Part):
    """Which documents queries are written from.

    Attributes:
        min_chars: Shortest, characters (paper.md 1.1).
        max_chars: Longest, characters (paper.md 1.1).
        n: How many are drawn; None takes all (paper.md 1.1: 10,000 a dataset).
        per_document: Queries asked for a document (paper.md 1.1: one).
        domain: Such as `Biology`: the language model is asked whether a document belongs to it, and only a yes is kept (paper.md 1.0).
            None keeps all.
        exclude_qrels: Test sets whose relevant and excluded documents are no sources (paper.md 1.1): folders in BEIR's or BRIGHT's
            layout, BEIR's or TREC's judgements, BRIGHT's examples.
    """

    min_chars: Count = 200
    max_chars: Count = 5000
    n: Count | None = 10_000
    per_document: Count = 1
    domain: Text | None = None
    exclude_qrels: tuple[Path, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> SourcesConfig:
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars {self.min_chars} is above max_chars {self.max_chars}")
        return self


class QueriesConfig(_Part):
    """How queries are written and checked.

    Attributes:
        lengths: Bands `[least, most, weight]` in words, `most: null` for no limit. A small model does not write 400 words well.
        levels: Education level -> weight.
        temperature: Of the sampling (paper.md 1.2).
        top_p: Of the sampling (paper.md 1.2).
        max_tokens: Longest answer (paper.md 1.2: 8192; ours holds about 1,500 words).
        attempts: How often a query is asked for until one passes the checks.
        tolerance: How far outside its band a query may be: 0.25 takes 75 to 250 words for 100 to 200.
        longest_copy: Most words in a row that a query may share with its source.
        overlap: Largest share of a query's runs of five words that its source has too.
    """

    lengths: Annotated[tuple[LengthBand, ...], Field(min_length=1)] = PAPER_LENGTHS
    levels: Annotated[dict[Text, Weight], Field(min_length=1)] = PAPER_LEVELS
    temperature: Heat = 1.0
    top_p: Share = 0.6
    max_tokens: Count = 2048
    attempts: Count = 3
    tolerance: Heat = 0.25
    longest_copy: Count = 12
    overlap: Annotated[float, Field(ge=0, le=1)] = 0.25

    @model_validator(mode="after")
    def _weighed(self) -> QueriesConfig:
        if not sum(band.weight for band in self.lengths) or not sum(self.levels.values()):
            raise ValueError("one weight of `lengths` and one of `levels` must be above 0")
        return self


class MinerConfig(_Part):
    """One way to find candidates: an embedding model, or words.

    Attributes:
        model: Directory or hub name of an embedding model; `default` is the one that ships.
        bm25: Variant of BM25, see `search.bm25`.
    """

    model: Text | None = None
    bm25: Literal["lucene", "bright"] | None = None

    @model_validator(mode="after")
    def _one(self) -> MinerConfig:
        if (self.model is None) == (self.bm25 is None):
            raise ValueError("a miner is either `model: ...` or `bm25: lucene`")
        return self


class MineConfig(_Part):
    """How candidates are found.

    Attributes:
        miners: One or more; the lists of several are united by reciprocal rank (`search.fusion`).
        top: Candidates a query, after the source and its like are left out (paper.md 1.3: 100).
        near_duplicates: Leave out documents whose runs of five words have this Jaccard similarity with the source, estimated by
            MinHash; None leaves out equal texts only, as in the paper.
        instruction: Of the queries; None takes that of the task.
    """

    miners: Annotated[tuple[MinerConfig, ...], Field(min_length=1)] = (MinerConfig(model=DEFAULT_MODEL),)
    top: Count = 100
    near_duplicates: Share | None = 0.9
    instruction: str | None = None


class AnnotateConfig(_Part):
    """Which pairs are judged, and how; the values from `mode` on are those of `synth.judgement.AnnotateSettings`.

    Attributes:
        top: The first candidates of a query that are judged; None judges all (paper.md 1.4).
        spread: How many of the others are judged too, drawn by seed.
        llm: Another language model; None takes the run's.
    """

    top: Count | None = None
    spread: Annotated[int, Field(ge=0)] = 0
    llm: LlmConfig | None = None
    mode: Literal["pointwise", "grouped"] = _JUDGING.mode
    reasoning: Literal["full", "brief", "score"] = _JUDGING.reasoning
    output: Literal["tags", "json"] = _JUDGING.output
    samples: Count = _JUDGING.samples
    logprobs: bool = _JUDGING.logprobs
    group: Count = _JUDGING.group
    temperature: Heat = _JUDGING.temperature
    top_p: Share = _JUDGING.top_p
    top_k: Count | None = _JUDGING.top_k
    max_tokens: Count | None = _JUDGING.max_tokens
    text_chars: Count = _JUDGING.text_chars

    def settings(self, seed: int) -> AnnotateSettings:
        """How pairs are judged."""
        return AnnotateSettings(seed=seed, **self.model_dump(exclude={"top", "spread", "llm"}))

    @model_validator(mode="after")
    def _fits(self) -> AnnotateConfig:
        if self.spread and self.top is None:
            raise ValueError("spread draws from the candidates below `top`, which is not set")
        self.settings(0)
        return self


class ReasoningConfig(_Part):
    """Whether queries get an analysis (`reasoning_query`, paper.md 1.7), and by whom.

    Attributes:
        enabled: Only queries that become a sample are asked for.
        llm: Another language model; None takes the run's.
        temperature: Of the sampling; ours, the paper's is not known.
        top_p: Of the sampling; ours.
        max_tokens: Longest analysis.
        attempts: How often one is asked for until it passes the checks.
    """

    enabled: bool = False
    llm: LlmConfig | None = None
    temperature: Heat = 0.7
    top_p: Share = 0.95
    max_tokens: Count = 2048
    attempts: Count = 2


class SamplesConfig(_Part):
    """How judged pairs become samples.

    Attributes:
        positive: Least score of a positive (paper.md 1.4).
        negative: Largest score of a hard negative (paper.md 1.4).
        margin: In place of both: least distance of a positive above, of a hard negative below the mean score of its query. For small
            judges, whose scores differ more from query to query than within a query.
        leaks: Test sets (BEIR or BRIGHT folders, JSON lines) whose queries must not be among the samples.
    """

    positive: Annotated[float, Field(ge=1, le=5)] = POSITIVE
    negative: Annotated[float, Field(ge=1, le=5)] = NEGATIVE
    margin: Annotated[float, Field(gt=0, le=2)] | None = None
    leaks: tuple[Path, ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> SamplesConfig:
        if self.negative >= self.positive:
            raise ValueError(f"negative {self.negative} must be below positive {self.positive}")
        if self.margin is not None and (self.positive, self.negative) != (POSITIVE, NEGATIVE):
            raise ValueError("either `margin` or `positive` and `negative`")
        return self

    def limits(self) -> Limits:
        """Which scores are positive and which negative."""
        return Limits(self.positive, self.negative, self.margin)


class SynthConfig(_Part):
    """A synthesis.

    Attributes:
        name: Of the dataset: names the file of samples.
        corpus: Files and folders of documents.
        task: `benchmark/name` such as `bright/biology`: decides what is asked for, what is relevant, and the instruction.
        kind: In place of a task: `post`, `coding`, `math`, `exam`, or a sentence of your own that says what is to be written.
        seed: Of all that is drawn.
        llm: The language model; None where it is given otherwise.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
    corpus: Annotated[tuple[Path, ...], Field(min_length=1)]
    task: str | None = None
    kind: Text | None = None
    seed: int = 42
    llm: LlmConfig | None = None
    sources: SourcesConfig = SourcesConfig()
    queries: QueriesConfig = QueriesConfig()
    mine: MineConfig = MineConfig()
    annotate: AnnotateConfig = AnnotateConfig()
    reasoning: ReasoningConfig = ReasoningConfig()
    samples: SamplesConfig = SamplesConfig()

    @model_validator(mode="before")
    @classmethod
    def _one_corpus(cls, value: Any) -> Any:
        single = isinstance(value, Mapping) and isinstance(value.get("corpus"), str | Path)
        return {**value, "corpus": [value["corpus"]]} if single else value

    @model_validator(mode="after")
    def _known(self) -> SynthConfig:
        if self.task is not None and self.kind is not None:
            raise ValueError("either `task` or `kind`")
        writing_for(self.task, self.kind)
        return self


def load_synth_config(source: Path | str) -> SynthConfig:
    """Read a synthesis.

    Args:
        source: A YAML file, or the name of one that ships, such as `small`. Files named in it are taken from its folder, those of one
            that ships from the current folder.

    Raises:
        DataError: No such file, or a value in it is wrong: file, key, value and what to do.
    """
    path = find_recipe(source, SYNTH_RECIPES, what="synthesis")
    folder = Path() if path.parent == SYNTH_RECIPES else path.parent
    return _placed(parse_synth_config(read_yaml(path), path=path), folder)


def parse_synth_config(value: Any, *, path: Path | None = None) -> SynthConfig:
    """Check a synthesis given as plain values.

    Args:
        value: A mapping, as YAML or JSON gives it.
        path: Where it came from, for messages.

    Raises:
        DataError: The first value that is wrong.
    """
    return checked(SynthConfig, value, path=path, docs="docs/synth.md", first_key="name")


def _placed(config: SynthConfig, folder: Path) -> SynthConfig:
    """Files of the config as paths from its folder."""

    def moved(paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(folder / path.expanduser() for path in paths)

    sources = config.sources.model_copy(update={"exclude_qrels": moved(config.sources.exclude_qrels)})
    samples = config.samples.model_copy(update={"leaks": moved(config.samples.leaks)})
    return config.model_copy(update={"corpus": moved(config.corpus), "sources": sources, "samples": samples})
