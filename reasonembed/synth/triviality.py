"""How far words alone lead from a query to a document: shared words, and where BM25 ranks the document a query was written from.

A query that copies its source is found by its words and teaches nothing (paper.md 1.3: training on sources as positives takes
BRIGHT from 37.1 to 16.1); these figures make that visible.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from reasonembed.search.bm25 import BM25Searcher, tokenize
from reasonembed.types import Document

DEPTH = 100
"""Hits looked through for the source: as many as a query has candidates (paper.md 1.3)."""


def overlap(query: str, document: str) -> float | None:
    """Share of a query's different words that the document has too.

    Words are those of BM25 (`search.bm25`, variant `lucene`): lower case, stemmed, without stop words.

    Returns:
        In [0, 1]; None for a query without words.
    """
    asked, there = map(set, tokenize([query, document], "lucene"))
    return len(asked & there) / len(asked) if asked else None


def word_searcher(documents: Sequence[Document]) -> BM25Searcher:
    """BM25 over a corpus; memory about that of its words."""
    searcher = BM25Searcher("lucene")
    searcher.add([document.id for document in documents], [document.content for document in documents])
    return searcher


def source_ranks(searcher: BM25Searcher, queries: Sequence[str], sources: Sequence[str]) -> list[int | None]:
    """Where BM25 ranks the source of each query.

    Args:
        searcher: Over the corpus.
        queries: Texts.
        sources: Id of the source of each.

    Returns:
        Ranks from 1; None where the source is not among the first `DEPTH`.
    """
    ranks: list[int | None] = []
    for hits, source in zip(searcher.search(queries, DEPTH), sources, strict=True):
        ids = [hit.id for hit in hits]
        ranks.append(ids.index(source) + 1 if source in ids else None)
    return ranks


def mean_reciprocal(ranks: Sequence[int | None]) -> float:
    """Mean of 1 / rank, 0 for none; in [0, 1].

    Raises:
        ValueError: No ranks.
    """
    return fmean(1 / rank if rank else 0.0 for rank in ranks)
