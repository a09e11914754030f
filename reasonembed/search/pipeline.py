"""A retrieval pipeline: rewrite the queries, ask every view, fuse, rerank, fuse again; with an account of every hit.

Gets questions and a corpus (an index, or anything with views), gives ranked hits, what each stage made of them and what it
cost. The stages are small parts of their own (`rewrite`, `views`, `fusion`, `rerank`); here they only follow one another.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonembed.errors import DataError
from reasonembed.io.manifest import fingerprint
from reasonembed.search.fusion import fuse, summed
from reasonembed.search.outcome import Answered, Corpus, Lists, Outcome, Questions, Spent, explained, total_spent
from reasonembed.search.pipeline_config import HYBRID, FusionConfig, PipelineConfig, load_config
from reasonembed.search.ranking import check_exclude, check_k
from reasonembed.search.stages import Stages
from reasonembed.types import Document, Hit

if TYPE_CHECKING:
    from types import TracebackType

    from reasonembed.llm.client import Llm
    from reasonembed.search.index import Index
    from reasonembed.search.rerank.judged import Reranking
    from reasonembed.search.views import View

BLOCK = 256
"""Queries that go through all stages together, and texts (queries or rewrites) that a view is asked at a time: bounds memory.
At depth 2,000 the lists of a block take some 80 MB each."""


class Pipeline:
    """A pipeline with its stages; they open when they are needed. Close it, or use it as a context manager.

    Args:
        config: What it is made of.
        name: What it is called in score files.
        llm: For the stages that name no language model: a place for `open_llm`, or an open `Llm` (which stays open).

    Example:
        >>> pipeline = Pipeline.from_yaml("hybrid")
        >>> list(pipeline.config.views)
        ['dense', 'bm25']
        >>> from reasonembed.search.index import open_index
        >>> index = open_index("index/")  # doctest: +SKIP
        >>> [answered] = pipeline.search(index, ["Why can this code correct two errors?"])  # doctest: +SKIP
        >>> answered.hits[0].document.title, answered.hits[0].places["bm25"].rank  # doctest: +SKIP
    """

    def __init__(self, config: PipelineConfig, *, name: str = "pipeline", llm: Llm | str | None = None) -> None:
        self.config = config
        self.name = name
        self._stages = Stages(config, llm)

    @classmethod
    def from_yaml(cls, source: Path | str, *, llm: Llm | str | None = None) -> Pipeline:
        """Open a YAML file, or a pipeline that ships by its name; see `load_config` and `Pipeline`.

        Raises:
            DataError: No such pipeline, or a wrong value in it.
        """
        name, config = load_config(source)
        return cls(config, name=name, llm=llm)

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the language models that the pipeline opened."""
        self._stages.close()

    def describe(self, task: str | None = None) -> dict[str, Any]:
        """All that decides the result beside the data and the embedder; goes into score files.

        Args:
            task: `benchmark/name`, which decides the prompts.
        """
        rewrite, described = self.config.rewrite, {}
        if rewrite is not None and rewrite.file is not None:
            described["rewrites_file"] = {"path": str(rewrite.file), "digest": _digest(self._stages.written)}
        elif rewrite is not None:
            described["rewriter"] = dict(self._stages.rewriter(task).describe())
        rerankers = {name: dict(self._stages.reranker(name, task).describe()) for name in self.config.rerank}
        return {
            "name": self.name,
            "config": self.config.model_dump(mode="json", exclude_none=True),
            **described,
            **({"rerankers": rerankers} if rerankers else {}),
        }

    def search(
        self, index: Index, queries: Sequence[str] | str, *, k: int | None = None, instruction: str | None = None,
        exclude: Sequence[Collection[str]] | None = None, progress: bool = False,
    ) -> list[Answered]:  # fmt: skip
        """Ask an index.

        Args:
            index: An open index.
            queries: One question or many.
            k: Hits a question; None takes the pipeline's.
            instruction: Of the dense views that name none; None takes the model's own.
            exclude: Ids that must not be found, one collection a question.
            progress: Show progress bars.

        Returns:
            One answer a question.

        Raises:
            DataError: An empty question, k below 1, or a wrong setting of a stage.
            LlmError: A language model cannot be reached.
        """
        texts = [queries] if isinstance(queries, str) else list(queries)
        corpus = open_corpus(index, self.config, instruction=instruction, progress=progress)
        outcomes = list(self.run(corpus, Questions(texts, exclude=exclude), k=k or self.config.k, progress=progress))
        spent = total_spent(outcome.spent for outcome in outcomes)
        rows = [(outcome, row) for outcome in outcomes for row in range(len(outcome.hits))]
        return [
            Answered(
                text, explained(outcome, row, corpus.document), outcome.asked[row] if self.config.rewrite else (), spent
            )
            for text, (outcome, row) in zip(texts, rows, strict=True)
        ]

    def run(self, corpus: Corpus, questions: Questions, *, k: int, progress: bool = False) -> Iterator[Outcome]:
        """Take questions through all stages, block by block.

        Args:
            corpus: What is searched.
            questions: What is asked.
            k: Hits a question.
            progress: Show progress bars.

        Yields:
            The outcomes of the questions in their order, at most `BLOCK` at a time.

        Raises:
            DataError: An empty question, k below 1, or a wrong setting of a stage.
        """
        check_k(k)
        check_exclude(questions.exclude, len(questions.texts))
        for number, text in enumerate(questions.texts):
            if not text.strip():
                raise DataError(f"question {number} is empty", fix="ask something")
        for start in range(0, len(questions.texts), BLOCK):
            yield self._block(corpus, questions.part(start, start + BLOCK), k, progress)

    def _block(self, corpus: Corpus, questions: Questions, k: int, progress: bool) -> Outcome:
        config, spent, lists = self.config, dict[str, Spent](), dict[str, Lists]()
        asked = self._rewritten(questions, spent, progress)
        for name, view in config.views.items():
            texts = asked if view.rewrites else [(text,) for text in questions.texts]
            with _timed(spent, name):
                lists[name] = _ask(corpus.views[name], texts, view.depth, questions.exclude)
        if config.fusion is not None:
            with _timed(spent, HYBRID):
                room = sum(view.depth for view in config.views.values())
                lists[HYBRID] = _fused({name: lists[name] for name in config.views}, config.fusion, room)
        rerankings = {
            name: self._reranked(name, questions, lists, corpus.document, spent, progress) for name in config.rerank
        }
        return Outcome(self._final(lists, k), lists, rerankings, asked, spent)

    def _rewritten(self, questions: Questions, spent: dict[str, Spent], progress: bool) -> list[tuple[str, ...]]:
        """What the views are asked for each question."""
        rewrite = self.config.rewrite
        if rewrite is None:
            return [(text,) for text in questions.texts]
        if rewrite.file is not None:
            return self._stages.rewrites_of(questions.ids)
        rewriter = self._stages.rewriter(questions.task)
        with _timed(spent, "rewrite", self._stages.llm(rewrite.llm)) as counts:
            rewritings = rewriter.rewrite(questions.texts, progress=progress)
            counts["failed_rewrites"] = sum(rewriting.failed for rewriting in rewritings)
        return [rewriting.texts for rewriting in rewritings]

    def _reranked(
        self, name: str, questions: Questions, lists: dict[str, Lists], document: Callable[[str], Document],
        spent: dict[str, Spent], progress: bool,
    ) -> list[Reranking]:  # fmt: skip
        """Judge the first documents of a list, and put the list that comes of it beside the others."""
        stage = self.config.rerank[name]
        reranker = self._stages.reranker(name, questions.task)
        source = lists[stage.of or self.config.first]
        with _timed(spent, name, self._stages.llm_of(name)) as counts:
            candidates = [[document(hit.id) for hit in hits[: stage.depth]] for hits in source]
            rerankings = reranker.rerank(questions.texts, candidates, progress=progress)
            for count in ("unparsed", "repaired", "cut"):
                counts[count] = sum(getattr(reranking, count) for reranking in rerankings)
        lists[name] = [list(reranking.hits) for reranking in rerankings]
        return rerankings

    def _final(self, lists: Mapping[str, Lists], k: int) -> Lists:
        """The lists of the answer."""
        config = self.config
        if config.final is not None:
            return _fused({name: lists[name] for name in config.finals}, config.final, k)
        if not config.rerank:
            return [hits[:k] for hits in lists[config.first]]
        ((name, stage),) = config.rerank.items()
        source = lists[stage.of or config.first]
        return [with_rest(reranked, hits)[:k] for reranked, hits in zip(lists[name], source, strict=True)]


def open_corpus(
    index: Index, config: PipelineConfig, *, instruction: str | None = None, progress: bool = False
) -> Corpus:
    """The views of an index that a pipeline asks.

    Args:
        index: An open index.
        config: Which views.
        instruction: Of the dense views that name none.
        progress: Show a progress bar where BM25 reads the index for the first time.
    """
    from reasonembed.search.views import bm25_view, dense_view

    views: dict[str, View] = {}
    for name, view in config.views.items():
        if view.kind == "dense":
            own = view.instruction
            views[name] = dense_view(index, instruction=instruction if own is None else own)
        else:
            views[name] = bm25_view(index, view.variant, progress=progress)
    return Corpus(views, index.document)


def with_rest(reranked: Sequence[Hit], source: Sequence[Hit]) -> list[Hit]:
    """A reranked list, and below it what was not reranked in its order, each a point less than the one above.

    Args:
        reranked: The first documents of `source`, in a new order.
        source: The list that was reranked.
    """
    seen = {hit.id for hit in reranked}
    rest = (hit.id for hit in source if hit.id not in seen)
    low = reranked[-1].score if reranked else 0.0
    return [*reranked, *(Hit(identifier, low - place) for place, identifier in enumerate(rest, start=1))]


def _ask(view: View, texts: Sequence[tuple[str, ...]], depth: int, exclude: Sequence[Collection[str]] | None) -> Lists:
    """The list of each question: the scores of its texts summed, or the one text's own."""
    found: Lists = []
    start = 0
    while start < len(texts):
        end, flat = start, list[str]()
        while end < len(texts) and (end == start or len(flat) + len(texts[end]) <= BLOCK):
            flat += texts[end]
            end += 1
        banned = exclude and [exclude[row] for row in range(start, end) for _ in texts[row]]
        hits = iter(view.search(flat, depth, banned))
        for row in range(start, end):
            lists = [next(hits) for _ in texts[row]]
            found.append(lists[0] if len(lists) == 1 else summed(lists, depth))
        start = end
    return found


def _fused(lists: Mapping[str, Lists], fusion: FusionConfig, k: int) -> Lists:
    """The lists of each question made into one."""
    n_questions = len(next(iter(lists.values())))
    return [
        fuse({name: rows[row] for name, rows in lists.items()}, method=fusion.method, weights=fusion.weights, k=k)
        for row in range(n_questions)
    ]


@contextlib.contextmanager
def _timed(spent: dict[str, Spent], name: str, llm: Llm | None = None) -> Iterator[dict[str, float]]:
    """Note what a stage takes: seconds, what its language model spent, and the counts that the block adds."""
    counts: dict[str, float] = {}
    before = None if llm is None else llm.totals
    started = time.perf_counter()
    yield counts
    seconds = time.perf_counter() - started
    if llm is not None and before is not None:
        used = llm.totals - before
        for key in ("requests", "cached", "answered", "retried", "prompt_tokens", "completion_tokens"):
            counts[key] = getattr(used, key)
        counts["failed"] = sum(used.failed.values())
        if used.cost is not None:
            counts["cost"] = used.cost
    spent[name] = Spent(seconds, counts)


def _digest(rewrites: Mapping[str, tuple[str, ...]]) -> str:
    return fingerprint(text for key in sorted(rewrites) for text in (key, *rewrites[key]))
