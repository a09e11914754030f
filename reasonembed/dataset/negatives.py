"""Hard negatives for queries whose positives are known: drawn by seed from the middle ranks of one or more views of the corpus.

Gets queries with the ids of their positives, the documents, and views over exactly these documents; gives training samples. It knows
no files and opens no models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np

from reasonembed.corpus.duplicates import THRESHOLD, WIDTH, signatures
from reasonembed.errors import DataError
from reasonembed.search.views import View
from reasonembed.types import Document, TrainingSample

NEGATIVES = 15
"""With one positive a group of 16 passages, the paper's (paper.md 1.6)."""
RANKS = (5, 60)
"""First and last rank that negatives are drawn from: the first are often relevant and not judged, the last are easy."""
QUERY_BLOCK = 1024
"""Queries searched at a time; their hits are held, at most `RANKS[1]` a query and view."""
NO_NEGATIVE = "no negative found"
"""What is counted where a query gives no sample."""


@dataclass(frozen=True, slots=True)
class KnownQuery:
    """A query whose positives are known.

    Attributes:
        query: Text.
        pos: Ids of the documents that are relevant, at least one.
        reasoning: The query with its analysis (`reasoning_query`); None where there is none.
        exclude: Ids of further documents that must not be negatives, such as the query's own; unknown ids are ignored.
        key: With the seed it decides which negatives are drawn; None takes the text. For queries with equal texts.
    """

    query: str
    pos: tuple[str, ...]
    reasoning: str | None = None
    exclude: tuple[str, ...] = ()
    key: str | None = None


def with_negatives(
    queries: Sequence[KnownQuery],
    documents: Sequence[Document],
    views: Sequence[View],
    *,
    n: int = NEGATIVES,
    ranks: tuple[int, int] = RANKS,
    seed: int,
    near: float | None = THRESHOLD,
    counts: Counter[str] | None = None,
) -> Iterator[TrainingSample]:
    """Training samples of queries, with negatives that the views find.

    The positives of a query, what it excludes, and what nearly repeats one of them are left out before the ranks are counted.
    Memory: `WIDTH` x 4 bytes a document where near-duplicates are looked for, and for each different positive a look at all of them
    (2 ms for 16,000).

    Args:
        queries: In the order of the samples.
        documents: Every document that may be a positive or a negative.
        views: Over exactly these documents.
        n: Negatives a query; fewer where the views find fewer.
        ranks: First and last rank, from 1, that they are drawn from, in every view.
        seed: The same seed, queries and views give the same samples; one query more or less moves no other's.
        near: Jaccard similarity (`corpus.duplicates`) from which a document repeats another; None goes by equal texts alone.
        counts: Gets `NO_NEGATIVE`, the number of queries for which no view finds a negative: they give no sample.

    Yields:
        A sample a query: texts are `Document.content`; positives and negatives are each different texts, and share none.

    Raises:
        DataError: No view, `n` below 1, ranks that are none, a query without a positive, or an id that is not among the documents.
        MissingExtraError: datasketch is not installed, and `near` is given.
    """
    first, last = ranks
    if not 1 <= first <= last:
        raise DataError(f"ranks={ranks} are none", fix=f"first and last, from 1, such as {RANKS}")
    if n < 1 or not views:
        raise DataError(f"n={n} negatives from {len(views)} views", fix="both at least 1")
    texts = {document.id: document.content for document in documents}
    _check(queries, texts)
    like = _alike(documents, near)
    for start in range(0, len(queries), QUERY_BLOCK):
        block = queries[start : start + QUERY_BLOCK]
        never = [like((*query.pos, *query.exclude)) for query in block]
        lists = [view.search([query.query for query in block], last, never) for view in views]
        for number, query in enumerate(block):
            ids = [hit.id for found in lists for hit in found[number][first - 1 :]]
            sample = _sample(query, texts, ids, n, seed)
            if sample is not None:
                yield sample
            elif counts is not None:
                counts[NO_NEGATIVE] += 1


def _check(queries: Sequence[KnownQuery], texts: dict[str, str]) -> None:
    for query in queries:
        if not query.pos:
            raise DataError(f"the query {query.query[:60]!r} has no positive", fix="leave it out")
        for key in query.pos:
            if key not in texts:
                raise DataError(
                    f"{key!r}, positive of {query.query[:60]!r}, is not among the documents", fix="leave it out"
                )


def _sample(query: KnownQuery, texts: dict[str, str], found: Iterable[str], n: int, seed: int) -> TrainingSample | None:
    """The sample of a query from the documents that were found; None where none can be a negative."""
    positives = tuple(dict.fromkeys(texts[key] for key in query.pos))
    try:
        pool = dict.fromkeys(texts[key] for key in found)
    except KeyError as error:
        raise DataError(
            f"a view found {error}, which is not among the documents", fix="make the views of these documents"
        ) from error
    candidates = [text for text in pool if text not in positives]
    if not candidates:
        return None
    key = query.query if query.key is None else query.key
    negatives = Random(f"{seed} {key}").sample(candidates, min(n, len(candidates)))
    return TrainingSample(query.query, positives, tuple(negatives), reasoning_query=query.reasoning)


def _alike(documents: Sequence[Document], near: float | None) -> Callable[[Iterable[str]], set[str]]:
    """A function: ids -> these, and the ids of all documents that repeat one of them."""
    places = {document.id: place for place, document in enumerate(documents)}
    contents = (document.content for document in documents)
    signed = np.array([[hash(text)] for text in contents]) if near is None else signatures(contents)  # (n, 1 or WIDTH)
    least = 1 if near is None else near * WIDTH

    @cache
    def like(place: int) -> tuple[str, ...]:
        same = np.count_nonzero(signed == signed[place], axis=1) >= least  # (n,)
        return tuple(documents[other].id for other in np.flatnonzero(same).tolist())

    def find(wanted: Iterable[str]) -> set[str]:
        found = set(wanted)
        return found.union(*(like(places[key]) for key in found if key in places))

    return find
