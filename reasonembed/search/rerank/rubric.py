"""Pointwise reranking by a language model: each document gets a score from 0 to 100 on a rubric, several times, averaged.

After Retro* (paper.md 5.2): the relevance definition of the task, a scale in five bands, three steps of reasoning, and the mean of
K samples as the score. The documents that do well in a first, cheap stage are asked about again.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from reasonembed.errors import DataError
from reasonembed.io.manifest import fingerprint
from reasonembed.llm.answers import score_in
from reasonembed.llm.client import Llm
from reasonembed.llm.prompts import load_prompt, render
from reasonembed.llm.types import Request, Sampling, user
from reasonembed.protocols import relevance_for
from reasonembed.search.rerank.judged import Judged, Reranking, check_candidates, order, reranking
from reasonembed.types import Document

LOW, HIGH = 0, 100
"""The scale of Retro* (paper.md 5.2)."""

STAGES = ((100, 1), (30, 16))
"""(documents, samples each): 100 documents once, the best 30 until they have 16 samples (BGE-Reasoner, paper.md 5.1)."""

MAX_TOKENS = {"full": 4096, "brief": 192, "score": 32}
"""Longest answer by length of the reasoning. 4,096 is Retro*'s (paper.md 5.2); the others hold two sentences, and the score."""

Reasoning = Literal["full", "brief", "score"]


class RubricReranker:
    """Scores by rubric.

    A document's score is the mean of all its samples, whichever stage they come from, and the order at the end is by that mean over
    all documents judged. The samples of an earlier stage count: `(30, 16)` after `(100, 1)` asks 15 times more.

    Args:
        llm: What judges.
        stages: (documents, samples): how many of the best documents so far, and how many samples they have afterwards.
        task: `benchmark/name` chooses the relevance definition; None the generic one.
        reasoning: How much the model writes before the score: `full` (three steps), `brief` (one or two sentences), `score` (none).
        temperature: Of the sampling. This and top_p are the annotator's of ReMixer (paper.md 1.4); Retro*'s are not known.
        top_p: Of the sampling.
        max_tokens: Longest answer; None is `MAX_TOKENS`. A model that thinks before it answers needs more than the short ones.
        document_chars: A longer document is shown up to here, and counted.

    Raises:
        DataError: A number out of its range.
    """

    def __init__(
        self,
        llm: Llm,
        *,
        stages: Sequence[tuple[int, int]] = STAGES,
        task: str | None = None,
        reasoning: Reasoning = "full",
        temperature: float = 0.7,
        top_p: float = 0.95,
        max_tokens: int | None = None,
        document_chars: int = 8000,
    ) -> None:
        if reasoning not in MAX_TOKENS:
            raise DataError(f"reasoning is {reasoning!r}", fix=f"one of {', '.join(MAX_TOKENS)}")
        if document_chars < 1:
            raise DataError(f"document_chars is {document_chars}", fix="at least 1 character must be shown")
        self.stages = _checked(stages)
        self.task = task
        self.document_chars = document_chars
        self._llm = llm
        self._sampling = Sampling(temperature, top_p, max_tokens=max_tokens or MAX_TOKENS[reasoning])
        self._prompt_name = f"rerank/rubric-{reasoning}"
        self._prompt = load_prompt("reasonembed.search", f"prompts/{self._prompt_name}.txt")
        self._words = relevance_for(task).words()

    def rerank(
        self, queries: Sequence[str], candidates: Sequence[Sequence[Document]], *, progress: bool = False
    ) -> list[Reranking]:
        """Rerank; see `Reranker`. All queries go through a stage together.

        Raises:
            DataError: Not one list of documents a query, or a document occurs twice in a list.
            LlmError: The model cannot be reached at all.
        """
        check_candidates(queries, candidates)
        sheets = [[_Sheet(document) for document in documents[: self.stages[0][0]]] for documents in candidates]
        done = 0
        for number, (depth, samples) in enumerate(self.stages, start=1):
            plan = [
                (query, sheet, sample)
                for query, judged in zip(queries, sheets, strict=True)
                for place in order([sheet.score for sheet in judged])[:depth]
                for sheet, sample in ((judged[place], sample) for sample in range(done, samples))
            ]
            self._ask(plan, label=f"rubric {number} of {len(self.stages)}", progress=progress)
            done = samples
        return [self._reranking(documents, judged) for documents, judged in zip(candidates, sheets, strict=True)]

    def describe(self) -> dict[str, Any]:
        """Everything that decides the scores."""
        return {
            "kind": "rubric",
            "stages": [list(stage) for stage in self.stages],
            "task": self.task,
            "sampling": dataclasses.asdict(self._sampling),
            "document_chars": self.document_chars,
            "prompt": self._prompt_name,
            "prompt_sha256": fingerprint([self._prompt]),
            "llm": self._llm.describe(),
        }

    def _ask(self, plan: Sequence[tuple[str, _Sheet, int]], *, label: str, progress: bool) -> None:
        """Fill the sheets with samples."""
        requests = (self._request(query, sheet.document, sample) for query, sheet, sample in plan)
        replies = self._llm.answers(requests, label=label, total=len(plan), ordered=False, progress=progress)
        for reply in replies:
            _, sheet, sample = plan[reply.index]
            text = reply.answer.text if reply.answer is not None else ""
            sheet.put(sample, score_in(text, LOW, HIGH), text)

    def _request(self, query: str, document: Document, sample: int) -> Request:
        shown = document.content[: self.document_chars]
        text = render(self._prompt, query=query, document=shown, **self._words)
        return user(text, sampling=self._sampling, sample=sample)

    def _reranking(self, candidates: Sequence[Document], sheets: Sequence[_Sheet]) -> Reranking:
        return reranking(
            candidates,
            [sheet.judged(rank) for rank, sheet in enumerate(sheets, start=1)],
            unparsed=sum(sheet.asked - len(sheet.scores) for sheet in sheets),
            cut=sum(len(sheet.document.content) > self.document_chars for sheet in sheets),
        )


@dataclass(slots=True)
class _Sheet:
    """The samples of one document, by number; `reason` is the text of the first of them."""

    document: Document
    scores: dict[int, float] = field(default_factory=dict)
    reason: str = ""
    asked: int = 0

    def put(self, sample: int, score: float | None, text: str) -> None:
        self.asked += 1
        if score is None:
            return
        if sample < min(self.scores, default=sample + 1):
            self.reason = text
        self.scores[sample] = score

    @property
    def score(self) -> float | None:
        return fmean(self.scores.values()) if self.scores else None

    def judged(self, rank: int) -> Judged:
        samples = tuple(self.scores[sample] for sample in sorted(self.scores))
        return Judged(self.document.id, fmean(samples) if samples else None, samples, self.reason, rank)


def _checked(stages: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Stages in which documents do not grow in number and samples do.

    Raises:
        DataError: Otherwise.
    """
    found = tuple((int(documents), int(samples)) for documents, samples in stages)
    pairs = list(itertools.pairwise(found))
    if (
        not found
        or min(min(stage) for stage in found) < 1
        or any(later[0] > earlier[0] or later[1] <= earlier[1] for earlier, later in pairs)
    ):
        raise DataError(
            f"stages are {found}: each is (documents, samples), from 1, with no more documents and with more samples "
            "than the one before",
            fix=f"such as {STAGES}",
        )
    return found
