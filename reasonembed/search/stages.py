"""What a pipeline opens: language models, the rewriter, the rerankers; each when it is first needed, each once.

Gets the pipeline's configuration, gives the stages that it names; knows nothing of lists and hits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reasonembed.errors import DataError
from reasonembed.search.pipeline_config import CrossEncoderConfig, LlmConfig, PipelineConfig, RubricConfig

if TYPE_CHECKING:
    from reasonembed.llm.client import Llm
    from reasonembed.search.rerank.judged import Reranker
    from reasonembed.search.rewrite import Rewriter


class Stages:
    """The stages of one pipeline.

    Args:
        config: The pipeline.
        llm: For the stages that name no place: a place for `open_llm`, or an open `Llm`, which stays the caller's and
            is asked whatever model a stage names. None takes the place that the pipeline names.
    """

    def __init__(self, config: PipelineConfig, llm: Llm | str | None = None) -> None:
        self.config = config
        self._given = llm
        self._llms: dict[LlmConfig, Llm] = {}
        self._rewriters: dict[str | None, Rewriter] = {}
        self._rerankers: dict[tuple[str, str | None], Reranker] = {}
        self._written: Mapping[str, tuple[str, ...]] | None = None

    def llm(self, wanted: LlmConfig | None) -> Llm:
        """The language model that a stage asks.

        Raises:
            DataError: Neither the stage nor the pipeline names one.
            LlmError: It cannot be opened.
        """
        own, shared = wanted or LlmConfig(), self.config.llm or LlmConfig()
        if own.place is None and self._given is not None and not isinstance(self._given, str):
            return self._given
        merged = LlmConfig(
            place=own.place or self._given or shared.place,  # type: ignore[arg-type]
            model=own.model or shared.model,
            price=own.price or shared.price,
            concurrency=own.concurrency or shared.concurrency,
        )
        if merged.place is None:
            raise DataError("the pipeline asks a language model and names none", fix="add --llm URL_OR_FILE")
        if merged not in self._llms:
            self._llms[merged] = _open(merged, merged.place)
        return self._llms[merged]

    def rewriter(self, task: str | None) -> Rewriter:
        """What rewrites the queries of a task.

        Raises:
            DataError: A wrong setting, or no language model.
        """
        if task not in self._rewriters:
            from reasonembed.search.rewrite import Rewriter

            stage = self.config.rewrite
            assert stage is not None
            names = (
                "n",
                "temperature",
                "top_p",
                "top_k",
                "repetition_penalty",
                "max_tokens",
                "keep_thinking",
                "with_query",
                "prompt",
            )
            given = stage.given(*names)
            self._rewriters[task] = Rewriter(self.llm(stage.llm), task=stage.task or task, **given)
        return self._rewriters[task]

    @property
    def written(self) -> Mapping[str, tuple[str, ...]]:
        """Rewrites made before, by query id, from the pipeline's file.

        Raises:
            DataError: No such file, or a line of it is wrong.
        """
        if self._written is None:
            from reasonembed.io.rewrites import read_rewrites

            stage = self.config.rewrite
            assert stage is not None
            assert stage.file is not None
            self._written = read_rewrites(stage.file)
        return self._written

    def rewrites_of(self, ids: Sequence[str] | None) -> list[tuple[str, ...]]:
        """Rewrites made before, of the queries with these ids.

        Raises:
            DataError: The queries have no ids, or the file lacks one.
        """
        from reasonembed.io.rewrites import rewrites_for

        if ids is None:
            raise DataError("rewrites from a file go by query ids, a question has none", fix="rewrite with --llm")
        written, stage = self.written, self.config.rewrite
        assert stage is not None
        assert stage.file is not None
        return rewrites_for(ids, written, path=stage.file)

    def reranker(self, name: str, task: str | None) -> Reranker:
        """A reranker by its name in the pipeline, for queries of a task.

        Raises:
            DataError: A wrong setting, or no language model.
            MissingExtraError: A cross-encoder without Sentence Transformers.
        """
        if (name, task) not in self._rerankers:
            self._rerankers[name, task] = self._make_reranker(name, task)
        return self._rerankers[name, task]

    def _make_reranker(self, name: str, task: str | None) -> Reranker:
        stage = self.config.rerank[name]
        if isinstance(stage, CrossEncoderConfig):
            from reasonembed.search.rerank.cross_encoder import CrossEncoderReranker

            return CrossEncoderReranker(stage.model, depth=stage.depth, **stage.given("max_length"))
        llm, meant = self.llm(stage.llm), stage.task or task
        if isinstance(stage, RubricConfig):
            from reasonembed.search.rerank.rubric import RubricReranker

            given = stage.given("stages", "reasoning", "temperature", "top_p", "max_tokens", "document_chars")
            return RubricReranker(llm, task=meant, **given)
        from reasonembed.search.rerank.listwise import ListwiseReranker

        given = stage.given("depth", "window", "step", "temperature", "max_tokens", "document_chars")
        return ListwiseReranker(llm, task=meant, **given)

    def llm_of(self, name: str) -> Llm | None:
        """The language model of a reranker, to count what it spends; None for a cross-encoder."""
        stage = self.config.rerank[name]
        return None if isinstance(stage, CrossEncoderConfig) else self.llm(stage.llm)

    def close(self) -> None:
        """Close the language models that were opened here."""
        for llm in self._llms.values():
            llm.close()
        self._llms.clear()
        self._rewriters.clear()
        self._rerankers.clear()


def _open(config: LlmConfig, place: str) -> Llm:
    from reasonembed.llm.open import open_llm
    from reasonembed.llm.totals import Price

    price = None if config.price is None else Price(config.price.prompt, config.price.completion)
    return open_llm(place, model=config.model, concurrency=config.concurrency, price=price)
