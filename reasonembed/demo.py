"""The demo: TheoremQA (which theorem solves this question?) with BM25, all-MiniLM-L6-v2 and an embedder, side by side.

Gets the data and the model that ship with the package, gives three questions with the theorem each system
ranks first, and every system's scores over the whole set. BM25 and the embedder search as it runs, with their speed;
all-MiniLM-L6-v2, which does not ship, is there by its recorded run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from reasonembed import data
from reasonembed.evaluation.metrics import score_run
from reasonembed.io.beir import read_beir
from reasonembed.io.trec import read_run
from reasonembed.search.bm25 import BM25Searcher
from reasonembed.search.exact import ExactSearcher
from reasonembed.types import Hit, Query, RetrievalTask, Run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from reasonembed.encode.embedder import Embedder

    Matrix = npt.NDArray[np.float32]

RULE = "the first questions of the set, each of another theorem, that one of them answers and another does not"
N_EXAMPLES = 3
DEPTH = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """The theorem a system ranks first; `theorem` is empty where it finds none."""

    system: str
    theorem: str
    right: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A question, the names of the theorems that solve it, and what each system ranks first."""

    id: str
    question: str
    solved_by: tuple[str, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """One line of the table.

    Attributes:
        system: Name of the system.
        ndcg_at_10: Mean over all questions, in [0, 1].
        recall_at_10: Mean over all questions, in [0, 1].
        seconds: Indexing all theorems and searching all questions, loading excluded; None of a recorded run.
        texts_per_second: Theorems and questions over `seconds`; None of a recorded run.
    """

    system: str
    ndcg_at_10: float
    recall_at_10: float
    seconds: float | None
    texts_per_second: float | None


class System(Protocol):
    """What the demo compares."""

    name: str

    def add(self, ids: Sequence[str], texts: Sequence[str], *, progress: bool) -> None:
        """Index the theorems."""
        ...

    def find(self, questions: Sequence[str], *, progress: bool) -> list[list[Hit]]:
        """The best `DEPTH` theorems of each question."""
        ...


class Words:
    """BM25, Lucene's variant."""

    name = "BM25"

    def __init__(self) -> None:
        self._searcher = BM25Searcher()

    def add(self, ids: Sequence[str], texts: Sequence[str], *, progress: bool) -> None:
        """See `System`; too quick for a bar."""
        self._searcher.add(ids, texts)

    def find(self, questions: Sequence[str], *, progress: bool) -> list[list[Hit]]:
        """See `System`."""
        return self._searcher.search(questions, DEPTH)


class Recorded:
    """A run that ships: what a system found that does not."""

    def __init__(self, run: Run, queries: Sequence[Query]) -> None:
        self.name = run.name
        self._found = {query.text: run.hits[query.id] for query in queries}

    def add(self, ids: Sequence[str], texts: Sequence[str], *, progress: bool) -> None:
        """See `System`; nothing is left to do."""

    def find(self, questions: Sequence[str], *, progress: bool) -> list[list[Hit]]:
        """See `System`."""
        return [list(self._found[question][:DEPTH]) for question in questions]


class Vectors:
    """An embedder and exact search."""

    def __init__(self, embedder: Embedder) -> None:
        self.name = embedder.name
        self._embedder = embedder
        self._searcher = ExactSearcher()

    def add(self, ids: Sequence[str], texts: Sequence[str], *, progress: bool) -> None:
        """See `System`."""
        self._searcher.add(ids, self._embedder.encode_corpus(texts, progress=progress))

    def find(self, questions: Sequence[str], *, progress: bool) -> list[list[Hit]]:
        """See `System`."""
        return self._searcher.search(self._embedder.encode_queries(questions, progress=progress), DEPTH)


class Demo:
    """The systems over TheoremQA; theorems are indexed when it is made.

    Args:
        embedder: The model; None is the one that ships.
        progress: Show progress bars.

    Raises:
        ModelError: The model cannot be opened.
    """

    def __init__(self, embedder: Embedder | None = None, *, progress: bool = False) -> None:
        from reasonembed.encode.embedder import Embedder

        self.task: RetrievalTask = read_beir(data.theoremqa())
        self.embedder = embedder or Embedder()
        self.systems: tuple[System, ...] = (
            Words(),
            Recorded(read_run(data.minilm_run()), self.task.queries),
            Vectors(self.embedder),
        )
        self._progress = progress
        self._titles = {document.id: document.title or document.text for document in self.task.documents}
        texts = [document.content for document in self.task.documents]
        self._index_seconds: list[float] = []
        for system in self.systems:
            started = time.perf_counter()
            system.add(list(self._titles), texts, progress=progress)
            self._index_seconds.append(time.perf_counter() - started)

    def examples(self) -> list[Example]:
        """The first `N_EXAMPLES` questions, in the order of the file, that fit `RULE`."""
        found: list[Example] = []
        for start in range(0, len(self.task.queries), 16):
            queries = self.task.queries[start : start + 16]
            hits = [system.find([query.text for query in queries], progress=False) for system in self.systems]
            for query, *ranked in zip(queries, *hits, strict=True):
                example = self._example(query, ranked)
                known = any(example.solved_by == earlier.solved_by for earlier in found)
                if len({answer.right for answer in example.answers}) == 2 and not known:
                    found.append(example)
            if len(found) >= N_EXAMPLES:
                break
        return found[:N_EXAMPLES]

    def _example(self, query: Query, ranked: Sequence[Sequence[Hit]]) -> Example:
        solved_by = self.task.qrels.relevance[query.id]
        firsts = [hits[0].id if hits else "" for hits in ranked]
        answers = tuple(
            Answer(system.name, self._titles.get(first, ""), solved_by.get(first, 0) > 0)
            for system, first in zip(self.systems, firsts, strict=True)
        )
        right = tuple(self._titles[theorem] for theorem, grade in solved_by.items() if grade > 0)
        return Example(query.id, query.text, right, answers)

    def scores(self) -> list[Score]:
        """Search all questions with every system and score the results."""
        questions = [query.text for query in self.task.queries]
        n_texts = len(questions) + len(self.task.documents)
        lines = []
        for system, index_seconds in zip(self.systems, self._index_seconds, strict=True):
            started = time.perf_counter()
            hits = system.find(questions, progress=self._progress)
            seconds = index_seconds + time.perf_counter() - started
            named = {query.id: tuple(found) for query, found in zip(self.task.queries, hits, strict=True)}
            means = score_run(Run(system.name, named), self.task.qrels).means
            speed = (None, None) if isinstance(system, Recorded) else (seconds, n_texts / seconds)
            lines.append(Score(system.name, means["ndcg@10"], means["recall@10"], *speed))
        return lines
