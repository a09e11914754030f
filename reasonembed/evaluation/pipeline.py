"""A pipeline as a retriever: the same object that `search` runs, scored on a task.

Excluded documents are left out by every view before its cut, the dense view takes the protocol's instruction and lengths, its
vectors come from the cache; the score file carries the whole pipeline, tokens, seconds a query, cost and failures.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reasonembed.errors import DataError
from reasonembed.evaluation.plan import Plan, Wanted, make_plan, task_key
from reasonembed.evaluation.retrievers import DenseRetriever, Retrieved, exclusions, expanded_by, expanded_texts, run_of
from reasonembed.search.bm25 import BM25Searcher
from reasonembed.search.outcome import Corpus, Questions, Spent, total_spent
from reasonembed.types import RetrievalTask

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from reasonembed.search.expansion import Question
    from reasonembed.search.pipeline import Pipeline
    from reasonembed.search.pipeline_config import DenseConfig
    from reasonembed.search.views import DenseView, View

    Vectors = npt.NDArray[np.float32]


class PipelineRetriever:
    """A pipeline over a task's documents.

    Args:
        pipeline: Stays the caller's to close.
        dense: For its dense views; None where it has none.
        questions: Questions that documents answer, by which every view is expanded (`search.expansion`); those of `dense`
            where none are given.

    Raises:
        DataError: The pipeline has a dense view and there is no embedder for it.
    """

    def __init__(
        self, pipeline: Pipeline, dense: DenseRetriever | None = None, *, questions: Sequence[Question] = ()
    ) -> None:  # fmt: skip
        self.pipeline = pipeline
        self.dense = dense if needs_embedder(pipeline) else None
        if self.dense is None and needs_embedder(pipeline):
            raise DataError(f"pipeline {pipeline.name} has a dense view", fix="give it a DenseRetriever")
        self.questions = questions or (() if self.dense is None else self.dense.questions)
        self._task: str | None = None

    def plan(self, task: RetrievalTask, wanted: Wanted) -> Plan:
        """See `make_plan`; the depth is that of the final list."""
        self._task = task_key(task)
        return make_plan(task, None if self.dense is None else self.dense.embedder, wanted)

    def describe(self) -> dict[str, Any]:
        """The embedder's description with the pipeline's, the prompts being those of the task that was planned last."""
        if self.dense is None:
            base: dict[str, Any] = {"revision": None, "engine": "bm25s", "dtype": "float32"}
            name = self.pipeline.name
        else:
            base = self.dense.describe()
            name = f"{self.pipeline.name}, {base['model']}"
        words = {
            view.variant: BM25Searcher(view.variant).describe()
            for view in self.pipeline.config.views.values() if view.kind == "bm25"
        }  # fmt: skip
        return {
            **base, "retriever": "pipeline", "model": name, "embedder": base.get("model"), "bm25": words,
            "pipeline": self.pipeline.describe(self._task), **expanded_by(self.questions),
        }  # fmt: skip

    def retrieve(self, task: RetrievalTask, plan: Plan, *, progress: bool = False) -> Retrieved:
        """Take the task's queries through the pipeline.

        Args:
            task: The task.
            plan: Instruction, lengths and depth.
            progress: Show progress bars.

        Raises:
            DataError: An empty query, rewrites from a file that lack a query, or an expansion by what is scored or by no
                document of this task.
            LlmError: A language model cannot be reached.
        """
        views = _Views(self, task, plan, progress)
        by_id = {document.id: document for document in task.documents}
        questions = Questions(
            [query.text for query in task.queries],
            [query.id for query in task.queries],
            exclusions(task),
            task_key(task),
        )
        started = time.perf_counter()
        hits, spent = [], dict[str, Spent]()
        for outcome in self.pipeline.run(
            Corpus(views.opened, by_id.__getitem__), questions, k=plan.depth, progress=progress
        ):
            hits += outcome.hits
            spent = total_spent((spent, outcome.spent))
        seconds = time.perf_counter() - started
        return Retrieved(run_of(self.pipeline.name, task, hits), {**views.facts, **_account(spent, seconds, len(hits))})


def needs_embedder(pipeline: Pipeline) -> bool:
    """Whether a pipeline has a dense view."""
    return any(view.kind == "dense" for view in pipeline.config.views.values())


class _Views:
    """The views of a task's documents, and what embedding took.

    Attributes:
        opened: By the names of the pipeline.
        facts: `documents` and `queries`, as other retrievers give them; queries are counted as often as a view is asked.
    """

    def __init__(self, retriever: PipelineRetriever, task: RetrievalTask, plan: Plan, progress: bool) -> None:
        self._dense, self._plan = retriever.dense, plan
        self.facts: dict[str, Any] = {
            "documents": {"texts": len(task.documents), "cut": 0},
            "queries": {"texts": 0, "cut": 0, "encoded": 0, "seconds": 0.0},
        }
        self.opened: dict[str, View] = {}
        ids, texts = [document.id for document in task.documents], [document.content for document in task.documents]
        questions, vectors = retriever.questions, None
        for name, view in retriever.pipeline.config.views.items():
            if view.kind == "bm25":
                words = BM25Searcher(view.variant)
                expanded, expansion_facts = expanded_texts(task, questions)
                words.add(ids, expanded)
                self.facts = {**expansion_facts, **self.facts}
                self.opened[name] = words
                continue
            if vectors is None:
                vectors, self.facts["documents"] = self._encoder().encode(
                    texts, "document", None, plan.document_max_length, progress
                )
                vectors, expansion_facts = self._encoder().expand(vectors, questions, task, plan, progress)
                self.facts |= expansion_facts
            self.opened[name] = self._dense_view(view, ids, vectors)

    def _encoder(self) -> DenseRetriever:
        assert self._dense is not None
        return self._dense

    def _dense_view(self, view: DenseConfig, ids: Sequence[str], vectors: Vectors) -> DenseView:
        from reasonembed.search.exact import ExactSearcher
        from reasonembed.search.views import DenseView

        instruction = self._plan.instruction if view.instruction is None else view.instruction

        def encode(queries: Sequence[str]) -> Vectors:
            found, facts = self._encoder().encode(
                list(queries), "query", instruction, self._plan.query_max_length, progress=False
            )
            counts = self.facts["queries"]
            for key in counts:
                counts[key] = round(counts[key] + facts[key], 3)
            return found

        searcher = ExactSearcher()
        searcher.add(ids, vectors)
        return DenseView(encode, searcher)


def _account(spent: dict[str, Spent], seconds: float, n_queries: int) -> dict[str, Any]:
    """What the stages took: each, and together."""
    together = sum(spent.values(), Spent()).counts
    return {
        "stages": {name: stage.as_dict() for name, stage in spent.items()},
        "search_seconds": round(seconds, 3),
        "seconds_per_query": round(seconds / n_queries, 4) if n_queries else None,
        "llm": dict(together),
    }
