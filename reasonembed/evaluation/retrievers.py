"""A task in, a run out: the dense retriever (embedder and exact search) and BM25, behind one small interface.

Documents are searched with the excluded ones taken out before the cut at the plan's depth.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from reasonembed.errors import DataError
from reasonembed.evaluation.plan import Plan, Wanted, make_plan
from reasonembed.types import Hit, RetrievalTask, Run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from reasonembed.encode.embedder import Embedder
    from reasonembed.search.expansion import Question

    Vectors = npt.NDArray[np.float32]

Kind = Literal["query", "document"]


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a retriever gives.

    Attributes:
        run: Hits of every query of the task.
        facts: What was measured on the way: seconds, texts per second, texts cut; goes into the score file.
    """

    run: Run
    facts: dict[str, Any]


class Retriever(Protocol):
    """Something that can be evaluated."""

    def plan(self, task: RetrievalTask, wanted: Wanted) -> Plan:
        """What it will do for a task."""
        ...

    def describe(self) -> dict[str, Any]:
        """What it is: model, revision, engine, dtype, ...; two of the same description give the same run."""
        ...

    def retrieve(self, task: RetrievalTask, plan: Plan, *, progress: bool = False) -> Retrieved:
        """Search the task's documents for the task's queries."""
        ...


class DenseRetriever:
    """An embedder with exact search.

    Args:
        embedder: The model.
        cache: Keep vectors by content, so that a second run embeds nothing.
        cache_dir: Where; None is `encode.cache.default_cache_dir()`.
        questions: Questions that documents answer, by which these are expanded (`search.expansion`). Keep those apart that
            are scored: equal ones are refused, since they would find themselves.
    """

    def __init__(
        self, embedder: Embedder, *, cache: bool = True, cache_dir: Path | str | None = None, questions: Sequence[Question] = (),
    ) -> None:  # fmt: skip
        self.embedder = embedder
        self.cache = cache
        self.cache_dir = cache_dir
        self.questions = questions

    def plan(self, task: RetrievalTask, wanted: Wanted) -> Plan:
        """See `make_plan`."""
        return make_plan(task, self.embedder, wanted)

    def describe(self) -> dict[str, Any]:
        """The embedder's own description, with the fingerprint of its weights, and that of the questions of an expansion."""
        fingerprint = self.embedder.fingerprint
        description = {**self.embedder.describe(), "fingerprint": fingerprint, **expanded_by(self.questions)}
        return {"retriever": "dense, exact search", **description}

    def retrieve(self, task: RetrievalTask, plan: Plan, *, progress: bool = False) -> Retrieved:
        """Embed documents and queries, then search.

        Args:
            task: The task.
            plan: Instruction, lengths and depth.
            progress: Show progress bars.

        Raises:
            ModelError: A length beyond what the model takes.
            DataError: No question of the expansion is of a document of this task, or one is a query of it.
        """
        from reasonembed.search.exact import ExactSearcher

        documents, document_facts = self.encode(
            [document.content for document in task.documents],
            "document", None, plan.document_max_length, progress,
        )  # fmt: skip
        documents, expansion_facts = self.expand(documents, self.questions, task, plan, progress)
        queries, query_facts = self.encode(
            [query.text for query in task.queries], "query", plan.instruction, plan.query_max_length, progress
        )
        started = time.perf_counter()
        searcher = ExactSearcher()
        searcher.add([document.id for document in task.documents], documents)
        hits = searcher.search(queries, plan.depth, exclude=exclusions(task))
        facts = {
            "documents": document_facts,
            "queries": query_facts,
            "search_seconds": round(time.perf_counter() - started, 3),
            **expansion_facts,
        }
        return Retrieved(run_of(self.embedder.name, task, hits), facts)

    def expand(
        self, documents: Vectors, questions: Sequence[Question], task: RetrievalTask, plan: Plan, progress: bool
    ) -> tuple[Vectors, dict[str, Any]]:
        """The vectors of a task's documents after an expansion, and how many questions of how many documents there were.

        Raises:
            DataError: No question is of a document of this task, or one is a query of it.
        """
        if not questions:
            return documents, {}
        from reasonembed.search.expansion import expanded, match_questions

        _refuse_own(task, questions)
        matched = match_questions(questions, [document.id for document in task.documents])
        texts = [question.text for question in matched.questions]
        vectors, facts = self.encode(texts, "query", plan.instruction, plan.query_max_length, progress)
        facts |= {"documents": len(set(matched.owners.tolist())), "unknown": matched.unknown}
        return expanded(documents, vectors, matched.owners), {"expansion": facts}

    def encode(
        self, texts: list[str], kind: Kind, instruction: str | None, max_length: int | None, progress: bool
    ) -> tuple[Vectors, dict[str, Any]]:
        """Embed texts through the cache.

        Args:
            texts: Queries or documents.
            kind: Which of the two.
            instruction: Of queries.
            max_length: Limit in tokens; None takes the embedder's own.
            progress: Show a progress bar.

        Returns:
            Vectors (n_texts, dim) float32, and how many texts there were, how many were cut, how many seconds it took.
        """
        from reasonembed.encode.cache import cached_encode

        counting = _Counting(self.embedder)
        cut = self.embedder.n_truncated
        started = time.perf_counter()
        if self.cache:
            vectors = cached_encode(
                counting,  # type: ignore[arg-type]
                texts, kind=kind, instruction=instruction, cache_dir=self.cache_dir,
                progress=progress, max_length=max_length,
            )  # fmt: skip
        elif kind == "query":
            vectors = counting.encode_queries(texts, instruction=instruction, max_length=max_length, progress=progress)
        else:
            vectors = counting.encode_corpus(texts, max_length=max_length, progress=progress)
        seconds = time.perf_counter() - started
        facts = {
            "texts": len(texts),
            "cut": self.embedder.n_truncated - cut,
            "encoded": counting.texts,
            "seconds": round(seconds, 3),
            "texts_per_second": round(counting.texts / seconds, 1) if counting.texts else None,
        }
        return vectors, facts


class BM25Retriever:
    """BM25 over the documents' text; see `search.bm25` for the variants.

    Args:
        variant: `lucene` or `bright`.
        questions: As for `DenseRetriever`; their words are indexed behind those of the document that they are of.

    Raises:
        DataError: An unknown variant.
    """

    def __init__(self, variant: Literal["lucene", "bright"] = "lucene", *, questions: Sequence[Question] = ()) -> None:
        from reasonembed.search.bm25 import BM25Searcher

        self.variant: Literal["lucene", "bright"] = variant
        self.questions = questions
        self._description = BM25Searcher(variant).describe()

    def plan(self, task: RetrievalTask, wanted: Wanted) -> Plan:
        """See `make_plan`; BM25 has no instruction and no lengths."""
        return make_plan(task, None, wanted)

    def describe(self) -> dict[str, Any]:
        """Variant, constants, tokeniser."""
        return {
            "retriever": "bm25",
            "revision": None,
            "engine": "bm25s",
            "dtype": "float32",
            **self._description,
            **expanded_by(self.questions),
        }

    def retrieve(self, task: RetrievalTask, plan: Plan, *, progress: bool = False) -> Retrieved:
        """Index the documents, then search.

        Args:
            task: The task.
            plan: The depth.
            progress: Not used; BM25 is quick.

        Raises:
            DataError: No question of the expansion is of a document of this task, or one is a query of it.
        """
        from reasonembed.search.bm25 import BM25Searcher

        started = time.perf_counter()
        searcher = BM25Searcher(self.variant)
        texts, expansion_facts = expanded_texts(task, self.questions)
        searcher.add([document.id for document in task.documents], texts)
        indexed = time.perf_counter()
        hits = searcher.search([query.text for query in task.queries], plan.depth, exclude=exclusions(task))
        ended = time.perf_counter()
        facts = {
            "documents": {"texts": len(task.documents), "cut": 0, "seconds": round(indexed - started, 3)},
            "queries": {"texts": len(task.queries), "cut": 0},
            "search_seconds": round(ended - indexed, 3),
            **expansion_facts,
        }
        return Retrieved(run_of(f"bm25-{self.variant}", task, hits), facts)


class _Counting:
    """An embedder that counts the texts it really embeds (the others came from the cache)."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.texts = 0

    @property
    def n_truncated(self) -> int:
        return self._embedder.n_truncated

    @n_truncated.setter
    def n_truncated(self, value: int) -> None:
        self._embedder.n_truncated = value

    @property
    def fingerprint(self) -> str:
        return self._embedder.fingerprint

    @property
    def dim(self) -> int:
        return self._embedder.dim

    def encode_queries(
        self,
        queries: Sequence[str],
        *,
        instruction: str | None = None,
        max_length: int | None = None,
        progress: bool = False,
    ) -> Vectors:
        self.texts += len(queries)
        return self._embedder.encode_queries(queries, instruction=instruction, max_length=max_length, progress=progress)

    def encode_corpus(
        self, documents: Sequence[str], *, max_length: int | None = None, progress: bool = False
    ) -> Vectors:
        self.texts += len(documents)
        return self._embedder.encode_corpus(documents, max_length=max_length, progress=progress)


def expanded_by(questions: Sequence[Question]) -> dict[str, Any]:
    """What a description says of an expansion: the fingerprint of its questions; nothing where there are none."""
    from reasonembed.search.expansion import identity

    return {"expanded_by": identity(questions)} if questions else {}


def expanded_texts(task: RetrievalTask, questions: Sequence[Question]) -> tuple[list[str], dict[str, Any]]:
    """What BM25 indexes of a task's documents, and how many questions of how many documents there were.

    Raises:
        DataError: There are questions and none is of a document of this task, or one is a query of it.
    """
    from reasonembed.search.expansion import expanded_text, match_questions, texts_by_source

    if not questions:
        return [document.content for document in task.documents], {}
    _refuse_own(task, questions)
    matched = match_questions(questions, [document.id for document in task.documents])
    asked = texts_by_source(matched.questions)
    facts = {"texts": len(matched.questions), "documents": len(asked), "unknown": matched.unknown}
    return [expanded_text(document, asked) for document in task.documents], {"expansion": facts}


def _refuse_own(task: RetrievalTask, questions: Sequence[Question]) -> None:
    """Refuse an expansion by what is scored."""
    asked = {_plain(query.text) for query in task.queries}
    if own := [question.text for question in questions if _plain(question.text) in asked]:
        raise DataError(
            f"{len(own):,} of {len(questions):,} questions of the expansion are queries of {task.name}, the first: {own[0][:80]!r}",
            fix="leave out what is scored",
        )


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def exclusions(task: RetrievalTask) -> list[frozenset[str]] | None:
    """Excluded ids of each query, in the order of the queries; None where the task excludes nothing."""
    if not task.excluded:
        return None
    return [task.excluded.get(query.id, frozenset()) for query in task.queries]


def run_of(name: str, task: RetrievalTask, hits: list[list[Hit]]) -> Run:
    """The hits of a task's queries, in their order, as a run."""
    found = {query.id: tuple(ranked) for query, ranked in zip(task.queries, hits, strict=True)}
    return Run(name, found)
