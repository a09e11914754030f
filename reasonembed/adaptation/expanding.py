"""Documents expanded by the questions of an adaptation (`search.expansion`): their scores on held-out questions, and for the index.

Training never sees a held-out document. An expansion is there for the very documents that are searched, so here a held-out question
is what must not be seen: held-out questions are halved, and each half is searched where the training questions and the other half
expand, but for those that nearly repeat a question of this half. A document whose only question is searched for has none then, as a
document that nobody has asked about yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonembed.adaptation.split import Part
from reasonembed.adaptation.steps import PARTS, Job, pairs_of
from reasonembed.evaluation.retrievers import DenseRetriever, Retrieved, run_of
from reasonembed.io.beir import read_beir
from reasonembed.search.expansion import Question, Vectors, expanded, identity, match_questions
from reasonembed.synth.folder import Run

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder
    from reasonembed.evaluation.plan import Plan, Wanted
    from reasonembed.evaluation.runner import Result
    from reasonembed.types import Hit, RetrievalTask

SUFFIX = "-expanded"
"""Of a system whose documents are expanded."""


def training_questions(run: Path) -> list[Question]:
    """The user's and the written training questions of a run directory with their documents."""
    made = [Question(source, query) for query, documents in pairs_of(run, "train") for source in documents]
    if (run / "synth/manifest.json").is_file():
        made += [Question(query.source, query.text) for query in Run(run / "synth").queries()]
    return list(dict.fromkeys(made))


def held_out_questions(run: Path, part: Part) -> dict[str, list[Question]]:
    """Query id -> the question with each of its documents; empty where the part has no questions."""
    if not (run / part).is_dir():
        return {}
    task = read_beir(run / part, split=part)
    texts = {query.id: query.text for query in task.queries}
    return {
        key: [Question(source, texts[key]) for source, grade in grades.items() if grade]
        for key, grades in task.qrels.relevance.items()
    }


def all_questions(run: Path) -> list[Question]:
    """All there are, for the index that is searched in the end."""
    held = [one for part in PARTS[1:] for questions in held_out_questions(run, part).values() for one in questions]
    return [*training_questions(run), *held]


def score_dev(job: Job, embedder: Embedder, *, expand: bool) -> float | None:
    """nDCG@10 of the dev questions among all passages; None where there are none."""
    run = job.folder.path
    held = held_out_questions(run, "dev")
    if not held:
        return None
    task = replace(read_beir(run / "dev", split="dev"), documents=read_beir(run / "test").documents)
    retriever = CrossFitted(embedder, training_questions(run), held) if expand else DenseRetriever(embedder)
    return _evaluate(job, task, retriever, embedder, None).headline


def score_test(job: Job, embedder: Embedder, name: str) -> float:
    """nDCG@10 of the test questions with expanded documents: `scores/NAME`."""
    run = job.folder.path
    dev = [one for questions in held_out_questions(run, "dev").values() for one in questions]
    retriever = CrossFitted(embedder, [*training_questions(run), *dev], held_out_questions(run, "test"))
    return _evaluate(job, read_beir(run / "test"), retriever, embedder, name).headline


def _evaluate(
    job: Job, task: RetrievalTask, retriever: DenseRetriever | CrossFitted, embedder: Embedder, name: str | None
) -> Result:
    from reasonembed.evaluation.runner import evaluate

    return evaluate(
        task, retriever, instruction=embedder.checkpoint.instruction, metric="ndcg@10",
        out=None if name is None else job.folder / f"scores/{name}", progress=job.progress,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """Dense search where each half of the queries meets documents that are expanded by the other half.

    Attributes:
        embedder: The model; vectors come from its cache.
        known: Questions that expand for all queries.
        held: Query id -> the query with each of its documents.
    """

    embedder: Embedder
    known: Sequence[Question]
    held: Mapping[str, Sequence[Question]]

    def plan(self, task: RetrievalTask, wanted: Wanted) -> Plan:
        """As `DenseRetriever`."""
        return DenseRetriever(self.embedder).plan(task, wanted)

    def describe(self) -> dict[str, Any]:
        """As `DenseRetriever`, and by which questions."""
        made = [one for questions in self.held.values() for one in questions]
        return {
            **DenseRetriever(self.embedder).describe(),
            "expanded_by": f"cross-fitted {identity([*self.known, *made])}",
        }

    def retrieve(self, task: RetrievalTask, plan: Plan, *, progress: bool = False) -> Retrieved:
        """Embed documents and queries, then search each half."""
        from reasonembed.search.exact import ExactSearcher

        dense = DenseRetriever(self.embedder)
        contents = [document.content for document in task.documents]
        documents, document_facts = dense.encode(contents, "document", None, plan.document_max_length, progress)
        texts = [query.text for query in task.queries]
        queries, query_facts = dense.encode(texts, "query", plan.instruction, plan.query_max_length, progress)
        ids, half_of = [document.id for document in task.documents], halves(self.held)
        hits: list[list[Hit]] = [[] for _ in task.queries]
        for half in (0, 1):
            rows = [row for row, query in enumerate(task.queries) if half_of[query.id] == half]
            if rows:
                others = [one for key, questions in self.held.items() if half_of[key] != half for one in questions]
                kept = without_repeats([*self.known, *others], [texts[row] for row in rows])
                searcher = ExactSearcher()
                searcher.add(ids, self._expanded(dense, documents, ids, plan, kept))
                for row, found in zip(rows, searcher.search(queries[rows], plan.depth), strict=True):
                    hits[row] = found
        facts = {"documents": document_facts, "queries": query_facts, "expansion": {"known": len(self.known)}}
        return Retrieved(run_of(self.embedder.name, task, hits), facts)

    def _expanded(
        self, dense: DenseRetriever, documents: Vectors, ids: Sequence[str], plan: Plan, questions: Sequence[Question]
    ) -> Vectors:
        """Vectors of the documents (n, dim), expanded; the plain ones where there is nothing to expand by."""
        matched = match_questions(questions, ids)
        if not matched.questions:
            return documents
        texts = [question.text for question in matched.questions]
        vectors, _ = dense.encode(texts, "query", plan.instruction, plan.query_max_length, False)
        return expanded(documents, vectors, matched.owners)


def without_repeats(questions: Sequence[Question], searched: Sequence[str]) -> list[Question]:
    """The questions that repeat none of those that are searched for, nor nearly (`dataset.leaks`)."""
    from reasonembed.dataset.leaks import HeldOut, HeldOutSet, LeakFinder

    leaks = LeakFinder([HeldOutSet(tuple(HeldOut(f"query {row}", text) for row, text in enumerate(searched)), ())])
    return [question for question in questions if leaks.query_leak(question.text) is None]


def halves(held: Mapping[str, Sequence[Question]]) -> dict[str, int]:
    """Query id -> 0 or 1, in turns among the queries of a document, so that both halves know something of it.

    >>> halves({key: [Question(source, "")] for key, source in (("1", "a"), ("2", "b"), ("3", "a"))})
    {'1': 0, '2': 0, '3': 1}
    """
    seen: Counter[str] = Counter()
    half_of = {}
    for key, questions in held.items():
        source = questions[0].source
        half_of[key] = seen[source] % 2
        seen[source] += 1
    return half_of
