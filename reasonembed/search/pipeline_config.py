"""What a pipeline is made of, as a small YAML file checked value by value: views, fusion, rewrite, rerank, final fusion, k.

A stage makes a named list of hits: each view one of its own name, the fusion of the views `hybrid`, each reranker one of its own
name. `final` fuses any of them. A value that is left out takes the default of the stage itself, where its source stands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reasonembed.io.config import RECIPES, checked, find_recipe, read_yaml
from reasonembed.search.fusion import Method

HYBRID = "hybrid"
"""Name of the list that the fusion of the views makes."""
"""The pipelines that ship, opened by name."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=40)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Heat = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def given(self, *names: str) -> dict[str, Any]:
        """What the file says of these names, null included: arguments for the stage, whose own defaults hold for the rest."""
        return {name: getattr(self, name) for name in names if name in self.model_fields_set}


class PriceConfig(_Part):
    """Money for a million tokens.

    Attributes:
        prompt: Read.
        completion: Generated.
    """

    prompt: Weight
    completion: Weight


class LlmConfig(_Part):
    """Which language model a stage asks.

    Attributes:
        place: URL of an OpenAI-compatible server, a .gguf file or an OpenVINO folder; None is the pipeline's own `llm`.
        model: Name at the server; None is the only one it has.
        price: None counts no cost.
        concurrency: Requests at a time.
    """

    place: str | None = None
    model: str | None = None
    price: PriceConfig | None = None
    concurrency: Count | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"place": value} if isinstance(value, str) else value


class DenseConfig(_Part):
    """Cosines of vectors.

    Attributes:
        kind: `dense`.
        depth: Hits kept.
        instruction: Of the queries; None takes the protocol's or the model's own, "" is none.
        rewrites: Ask with the rewritten queries, where the pipeline rewrites.
    """

    kind: Literal["dense"]
    depth: Count = 1000
    instruction: str | None = None
    rewrites: bool = True


class Bm25Config(_Part):
    """Shared words.

    Attributes:
        kind: `bm25`.
        depth: Hits kept.
        variant: `lucene` or `bright`, which weighs the words of long queries; see `search.bm25`.
        rewrites: Ask with the rewritten queries, where the pipeline rewrites.
    """

    kind: Literal["bm25"]
    depth: Count = 1000
    variant: Literal["lucene", "bright"] = "lucene"
    rewrites: bool = True


class FusionConfig(_Part):
    """Lists made into one; see `search.fusion`.

    Attributes:
        method: `min-max` or `rrf`.
        weights: Name of a list -> weight; None weighs all views (or all rerankers, in `final`) alike.
    """

    method: Method = "min-max"
    weights: dict[Name, Weight] | None = None


class RewriteConfig(_Part):
    """Reason, then retrieve; see `search.rewrite.Rewriter` for the defaults. The scores of the rewrites are summed.

    Attributes:
        n: Rewrites a query.
        temperature: Of the sampling.
        top_p: Of the sampling.
        top_k: Of the sampling; null leaves it out, for servers that refuse it.
        repetition_penalty: Of the sampling; null leaves it out.
        max_tokens: Longest rewrite.
        keep_thinking: Whether the think block is part of the query.
        with_query: Put the query before each rewrite.
        task: `benchmark/name` whose prompt is used; None takes that of the evaluation, else the generic one.
        prompt: A text file instead.
        file: Rewrites made before, by query id, instead of a language model.
        llm: Which model; None takes the pipeline's.
    """

    n: Count | None = None
    temperature: Heat | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    max_tokens: Count | None = None
    keep_thinking: bool | None = None
    with_query: bool | None = None
    task: str | None = None
    prompt: Path | None = None
    file: Path | None = None
    llm: LlmConfig | None = None

    @model_validator(mode="after")
    def _one_source(self) -> RewriteConfig:
        if self.file is not None and self.model_fields_set - {"file"}:
            raise ValueError("a file of rewrites is already written: nothing else can be set beside it")
        return self


class _RerankConfig(_Part):
    """What all rerankers have.

    Attributes:
        of: Name of the list that is reranked: a view or `hybrid`; None takes `hybrid`, or the only view.
        depth: How many of its first documents; the others follow in their order.
    """

    of: Name | None = None
    depth: Count = 100


class RubricConfig(_RerankConfig):
    """Scores 0-100 by a language model; see `search.rerank.rubric` for the defaults.

    Attributes:
        kind: `rubric`.
        stages: (documents, samples) pairs, such as [[100, 1], [30, 16]].
        reasoning: How much the model may write.
        temperature: Of the sampling.
        top_p: Of the sampling.
        max_tokens: Longest answer.
        document_chars: Longer documents are shown cut.
        task: `benchmark/name` whose relevance definition is used; None takes that of the evaluation, else the generic one.
        llm: Which model; None takes the pipeline's.
    """

    kind: Literal["rubric"]
    stages: tuple[tuple[Count, Count], ...] | None = None
    reasoning: Literal["full", "brief", "score"] | None = None
    temperature: Heat | None = None
    top_p: Share | None = None
    max_tokens: Count | None = None
    document_chars: Count | None = None
    task: str | None = None
    llm: LlmConfig | None = None


class ListwiseConfig(_RerankConfig):
    """A language model orders windows of documents; see `search.rerank.listwise` for the defaults.

    Attributes:
        kind: `listwise`.
        window: Documents at a time.
        step: How far the window moves.
        temperature: Of the sampling.
        max_tokens: Longest answer.
        document_chars: Longer documents are shown cut.
        task: As for `rubric`.
        llm: Which model; None takes the pipeline's.
    """

    kind: Literal["listwise"]
    window: Count | None = None
    step: Count | None = None
    temperature: Heat | None = None
    max_tokens: Count | None = None
    document_chars: Count | None = None
    task: str | None = None
    llm: LlmConfig | None = None


class CrossEncoderConfig(_RerankConfig):
    """A Sentence Transformers cross-encoder.

    Attributes:
        kind: `cross-encoder`.
        model: Directory or hub name.
        max_length: Tokens of question and document together; null takes the model's own.
    """

    kind: Literal["cross-encoder"]
    model: str
    max_length: Count | None = None


ViewConfig = Annotated[DenseConfig | Bm25Config, Field(discriminator="kind")]
RerankConfig = Annotated[RubricConfig | ListwiseConfig | CrossEncoderConfig, Field(discriminator="kind")]


class PipelineConfig(_Part):
    """A pipeline.

    Attributes:
        description: For people.
        llm: The language model of the stages that name none.
        views: Name -> what retrieves; at least one.
        fusion: How several views become `hybrid`.
        rewrite: None asks with the questions as they are.
        rerank: Name -> reranker; none keeps the order of `hybrid` or the only view.
        final: How lists become the answer; needed with several rerankers.
        k: Hits of `search` (an evaluation takes the protocol's depth).
    """

    description: str = ""
    llm: LlmConfig | None = None
    views: dict[Name, ViewConfig] = Field(min_length=1)
    fusion: FusionConfig | None = None
    rewrite: RewriteConfig | None = None
    rerank: dict[Name, RerankConfig] = {}
    final: FusionConfig | None = None
    k: Count = 10

    @property
    def first(self) -> str:
        """Name of the list before any reranking."""
        return HYBRID if self.fusion is not None else next(iter(self.views))

    @property
    def finals(self) -> dict[str, float]:
        """The lists that `final` fuses, with their weights."""
        if self.final is None or self.final.weights is None:
            return dict.fromkeys(self.rerank or (self.first,), 1.0)
        return self.final.weights

    @model_validator(mode="after")
    def _fits(self) -> PipelineConfig:
        if (len(self.views) > 1) != (self.fusion is not None):
            raise ValueError("several views need a fusion, and a single view has none")
        if HYBRID in self.views or HYBRID in self.rerank or self.views.keys() & self.rerank.keys():
            raise ValueError(f"names of views and rerankers must differ, and none may be {HYBRID!r}")
        if self.fusion and self.fusion.weights is not None and self.fusion.weights.keys() != self.views.keys():
            raise ValueError(f"fusion.weights must name every view: {', '.join(self.views)}")
        first = {*self.views, self.first}
        for name, stage in self.rerank.items():
            if stage.of is not None and stage.of not in first:
                raise ValueError(f"rerank.{name}.of is {stage.of!r}, the lists are {', '.join(sorted(first))}")
        if self.final is None and len(self.rerank) > 1:
            raise ValueError("several rerankers need `final` to say how their lists become one")
        unknown = self.finals.keys() - first - self.rerank.keys()
        if unknown:
            raise ValueError(f"final.weights names {', '.join(sorted(unknown))}, which no stage makes")
        return self


def load_config(source: Path | str) -> tuple[str, PipelineConfig]:
    """Read a pipeline.

    Args:
        source: A YAML file, or the name of one that ships, such as `bge-reasoner`. Files named in it are taken from its folder.

    Returns:
        Its name (that of the file) and what it says.

    Raises:
        DataError: No such pipeline, or a value in it is wrong: file, key, value and what to do.
    """
    path = find_recipe(source, RECIPES, what="pipeline")
    return path.stem, _with_folder(parse_config(read_yaml(path), path=path), path.parent)


def chosen_stages(config: PipelineConfig, *, hybrid: bool, rewrite: bool, rerank: bool) -> PipelineConfig:
    """A pipeline with some of its stages only.

    Args:
        config: With several views, a rewrite stage and rerankers.
        hybrid: All views; else the first.
        rewrite: Keep the rewriting.
        rerank: Keep the rerankers.
    """
    views = config.views if hybrid else dict(list(config.views.items())[:1])
    final = config.final if rerank else None
    if final is not None and final.weights is not None and not hybrid:  # the one view takes the place of all
        weights = {next(iter(views)) if name == HYBRID else name: weight for name, weight in final.weights.items()}
        final = final.model_copy(update={"weights": weights})
    return PipelineConfig(
        llm=config.llm, views=views, fusion=config.fusion if hybrid else None, rewrite=config.rewrite if rewrite else None,
        rerank=config.rerank if rerank else {}, final=final, k=config.k,
    )  # fmt: skip


def parse_config(value: Any, *, path: Path | None = None) -> PipelineConfig:
    """Check a pipeline given as plain values.

    Args:
        value: A mapping, as YAML or JSON gives it.
        path: Where it came from, for messages.

    Raises:
        DataError: The first value that is wrong.
    """
    return checked(
        PipelineConfig, value, path=path, docs="docs/pipeline.md", first_key="views", tagged=("views", "rerank")
    )


def _with_folder(config: PipelineConfig, folder: Path) -> PipelineConfig:
    """Files of the rewrite stage as paths from the pipeline's folder."""
    if config.rewrite is None:
        return config
    moved = {name: folder / path for name, path in config.rewrite.given("prompt", "file").items()}
    return config.model_copy(update={"rewrite": config.rewrite.model_copy(update=moved)})
