"""What a reranker takes and gives, and the one rule by which its scores become an order.

Every reranker judges the first documents of each query. Those with a score are ordered by it, equal ones as the first stage had
them. One without a score (the model failed, or its answer held no number) keeps the place it had in the first stage, and the
scored ones fill the other places. Documents beyond the budget follow below, in their old order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from reasonembed.errors import DataError
from reasonembed.types import Document, Hit

STEP = 1e-6
"""Least distance of neighbouring hits, relative to the largest score: ties stay apart where float32 is all that is kept."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One document that was judged.

    Attributes:
        id: Of the document.
        score: Mean of the samples, on the reranker's scale; None if there is none.
        samples: Scores of the single samples, in their order; those that could not be read are missing.
        reason: What the model wrote of the document, from its first readable sample; may be empty.
        first_stage_rank: Its rank before, from 1.
    """

    id: str
    score: float | None
    samples: tuple[float, ...]
    reason: str
    first_stage_rank: int


@dataclass(frozen=True, slots=True)
class Reranking:
    """The new order of one query's documents.

    Attributes:
        hits: All candidates, best first, with strictly falling scores. The score is that of the judgement, less a millionth of the
            largest where it would tie with the one above; one without a score is that much below the one above it.
        judged: The documents within the budget, in the order of `hits`.
        unparsed: Answers (or pairs) that gave no score or order: failed, cut before the end, or without a number.
        repaired: Orders with missing, doubled or unknown numbers (listwise only).
        cut: Judged documents that were longer than the limit and were shown cut.
    """

    hits: tuple[Hit, ...]
    judged: tuple[Judged, ...]
    unparsed: int
    repaired: int = 0
    cut: int = 0


class Reranker(Protocol):
    """Orders the documents that a search found anew."""

    def rerank(
        self, queries: Sequence[str], candidates: Sequence[Sequence[Document]], *, progress: bool = False
    ) -> list[Reranking]:
        """Rerank.

        Args:
            queries: The questions.
            candidates: For each, the documents found, best first, each once.
            progress: Show a bar.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Everything that decides the result."""
        ...


def order(scores: Sequence[float | None]) -> list[int]:
    """The new order of documents that stand in their old one.

    Args:
        scores: Of each; None keeps its place.

    Returns:
        For each place, which document stands there.

    >>> order([20, None, 90, 90])
    [2, 1, 3, 0]
    """
    scored = [(-score, place) for place, score in enumerate(scores) if score is not None]
    best = iter(sorted(scored))
    return [place if score is None else next(best)[1] for place, score in enumerate(scores)]


def falling(scores: Sequence[float | None]) -> list[float]:
    """Strictly falling scores for documents that stand in their new order; see `Reranking.hits`.

    >>> falling([90, 90, None, 20])
    [90, 89.99991, 89.99982, 20]
    """
    known = [score for score in scores if score is not None]
    step = STEP * (max(map(abs, known), default=0.0) or 1.0)
    wanted, limit, result = (known or [0.0])[0], math.inf, []
    for score in scores:
        wanted = wanted if score is None else score
        limit = min(wanted, limit - step)
        result.append(limit)
    return result


def reranking(
    candidates: Sequence[Document], judged: Sequence[Judged], *, unparsed: int, repaired: int = 0, cut: int = 0
) -> Reranking:
    """Put one query's judgements in order.

    Args:
        candidates: All documents found, best first.
        judged: Judgements of the first of them, in the same order.
        unparsed: See `Reranking`.
        repaired: See `Reranking`.
        cut: See `Reranking`.
    """
    ordered = tuple(judged[place] for place in order([one.score for one in judged]))
    below = candidates[len(judged) :]
    ids = [one.id for one in ordered] + [document.id for document in below]
    scores = falling([*(one.score for one in ordered), *(None for _ in below)])
    hits = tuple(Hit(key, score) for key, score in zip(ids, scores, strict=True))
    return Reranking(hits, ordered, unparsed, repaired, cut)


def check_candidates(queries: Sequence[str], candidates: Sequence[Sequence[Document]]) -> None:
    """Refuse candidates that do not stand beside the queries.

    Raises:
        DataError: Not one list of documents a query, or a document occurs twice in a list.
    """
    if isinstance(queries, str) or len(queries) != len(candidates):
        raise DataError(
            f"{len(candidates)} lists of documents for {1 if isinstance(queries, str) else len(queries)} queries",
            fix="pass a list of queries and, for each, the list of its documents",
        )
    for query, documents in zip(queries, candidates, strict=True):
        if len({document.id for document in documents}) != len(documents):
            raise DataError(
                f"a document occurs twice among those of query {query[:60]!r}", fix="merge the lists of hits first"
            )
