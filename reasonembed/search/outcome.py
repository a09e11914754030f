"""The nouns of a pipeline: what is asked of which corpus, what every stage made of it and took, and the account of each hit.

They know no stage.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reasonembed.types import Document, Hit

if TYPE_CHECKING:
    from reasonembed.search.rerank.judged import Reranking
    from reasonembed.search.views import View

Lists = list[list[Hit]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is searched.

    Attributes:
        views: By the names of the pipeline.
        document: Id -> document, for the rerankers.
    """

    views: Mapping[str, View]
    document: Callable[[str], Document]


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked.

    Attributes:
        texts: The questions.
        ids: Theirs, for rewrites from a file.
        exclude: Ids that must not be found, one collection a question.
        task: `benchmark/name`, for the prompts.
    """

    texts: Sequence[str]
    ids: Sequence[str] | None = None
    exclude: Sequence[Collection[str]] | None = None
    task: str | None = None

    def part(self, start: int, end: int) -> Questions:
        """Some of them."""
        rows = slice(start, end)
        return Questions(self.texts[rows], self.ids and self.ids[rows], self.exclude and self.exclude[rows], self.task)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a stage took.

    Attributes:
        seconds: Wall time.
        counts: Requests, tokens, cost of its language model; rewrites and answers that failed.
    """

    seconds: float = 0.0
    counts: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: Spent) -> Spent:
        keys = dict.fromkeys((*self.counts, *other.counts))
        counts = {key: self.counts.get(key, 0) + other.counts.get(key, 0) for key in keys}
        return Spent(self.seconds + other.seconds, counts)

    def as_dict(self) -> dict[str, float]:
        """For score files and `--json`."""
        return {"seconds": round(self.seconds, 3), **self.counts}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a block of questions; every list has one entry a question.

    Attributes:
        hits: The answer, best first.
        lists: Name -> hits: of every view, of `hybrid`, of every reranker.
        rerankings: Name of a reranker -> what it judged.
        asked: The texts that the views were asked: the rewrites, or the question alone.
        spent: Name of a stage -> what it took.
    """

    hits: Lists
    lists: Mapping[str, Lists]
    rerankings: Mapping[str, list[Reranking]]
    asked: list[tuple[str, ...]]
    spent: Mapping[str, Spent]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a hit stands in a list: rank from 1, and the score that the list gives it."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reranker said of a hit.

    Attributes:
        before: Rank in the list that was reranked.
        after: Rank in the reranker's list.
        score: Mean of the samples; None if no answer could be read.
        samples: Single scores.
        reason: Why, in the model's words.
    """

    before: int
    after: int
    score: float | None
    samples: tuple[float, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class ExplainedHit:
    """A hit with its document and how it came to its rank.

    Attributes:
        rank: From 1.
        score: Of the last stage.
        document: With title and text.
        places: Name of a list -> where the hit stands in it; lists that do not hold it are missing.
        verdicts: Name of a reranker -> what it said; those that did not judge it are missing.
    """

    rank: int
    score: float
    document: Document
    places: Mapping[str, Place]
    verdicts: Mapping[str, Verdict]


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with its answer.

    Attributes:
        question: As it was asked.
        hits: Best first.
        rewrites: What the views were asked instead; empty without rewriting.
        spent: Name of a stage -> what it took for all questions asked together.
    """

    question: str
    hits: tuple[ExplainedHit, ...]
    rewrites: tuple[str, ...]
    spent: Mapping[str, Spent]


def total_spent(parts: Iterable[Mapping[str, Spent]]) -> dict[str, Spent]:
    """What each stage took in several blocks together, in the order of the stages."""
    total: dict[str, Spent] = {}
    for part in parts:
        for name, spent in part.items():
            total[name] = total.get(name, Spent()) + spent
    return total


def explained(outcome: Outcome, row: int, document: Callable[[str], Document]) -> tuple[ExplainedHit, ...]:
    """The hits of a question with their documents and how they came to their ranks.

    Args:
        outcome: Of the question's block.
        row: The question's place in it.
        document: Id -> document.
    """
    wanted = {hit.id for hit in outcome.hits[row]}
    places: dict[str, dict[str, Place]] = {identifier: {} for identifier in wanted}
    for name, lists in outcome.lists.items():
        for rank, hit in enumerate(lists[row], start=1):
            if hit.id in wanted:
                places[hit.id][name] = Place(rank, hit.score)
    verdicts: dict[str, dict[str, Verdict]] = {identifier: {} for identifier in wanted}
    for name, rerankings in outcome.rerankings.items():
        for judged in rerankings[row].judged:
            if judged.id in wanted:
                after = places[judged.id][name].rank
                verdicts[judged.id][name] = Verdict(
                    judged.first_stage_rank, after, judged.score, judged.samples, judged.reason
                )
    return tuple(
        ExplainedHit(rank, hit.score, document(hit.id), places[hit.id], verdicts[hit.id])
        for rank, hit in enumerate(outcome.hits[row], start=1)
    )
