"""Several ranked lists of one query made into one: weighted min-max, reciprocal rank fusion, sum over several wordings.

Gets lists of hits, gives a list of hits; knows nothing of where they came from. A document that a list does not hold gets 0
from it, so documents that were excluded when the lists were made never come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from reasonembed.errors import DataError
from reasonembed.search.ranking import check_k, ranked
from reasonembed.types import Hit

Method = Literal["min-max", "rrf"]
RRF_CONSTANT = 60
"""Cormack, Clarke and Buettcher 2009, Reciprocal Rank Fusion, section 2: fixed there in a pilot study."""


def min_max(hits: Sequence[Hit]) -> dict[str, float]:
    """Scores of a list stretched to [0, 1]: `(s - least) / (greatest - least)`.

    The last hit of a list gets 0, as a document that was not found does. Where all scores are equal (a single hit, or a list
    that cannot tell its documents apart) every hit gets 1: it was found, and the others were not.

    Raises:
        DataError: A score is NaN or infinite.

    Example:
        >>> min_max([Hit("a", 3.0), Hit("b", 2.0), Hit("c", 1.0)])
        {'a': 1.0, 'b': 0.5, 'c': 0.0}
    """
    if not hits:
        return {}
    low, high = min(hit.score for hit in hits), max(hit.score for hit in hits)
    span = high - low
    if not 0 <= span < float("inf"):
        raise DataError(
            f"scores from {low} to {high} cannot be fused", fix="check the model or reranker that gave them"
        )
    return {hit.id: (hit.score - low) / span if span else 1.0 for hit in hits}


def reciprocal_ranks(hits: Sequence[Hit]) -> dict[str, float]:
    """`1 / (60 + rank)` of every hit, ranks from 1; only the order counts."""
    return {hit.id: 1 / (RRF_CONSTANT + rank) for rank, hit in enumerate(hits, start=1)}


_SCALES = {"min-max": min_max, "rrf": reciprocal_ranks}


def fuse(
    lists: Mapping[str, Sequence[Hit]], *, method: Method = "min-max", weights: Mapping[str, float] | None = None,
    k: int,
) -> list[Hit]:  # fmt: skip
    """Fuse the lists of one query: the score of a document is the weighted sum of its scaled scores.

    Args:
        lists: Name -> hits, best first, every id once a list.
        method: `min-max` scales scores, `rrf` ranks.
        weights: Name -> weight of every list, at least 0; None weighs all lists alike. They are divided by their sum,
            so that a min-max score stays in [0, 1].
        k: Hits kept.

    Returns:
        At most k hits, score descending, equal scores by id.

    Raises:
        DataError: An unknown method, k below 1, or weights that do not fit the lists.

    Example:
        >>> dense, words = [Hit("a", 0.9), Hit("b", 0.5)], [Hit("b", 12.0), Hit("c", 4.0)]
        >>> fuse({"dense": dense, "bm25": words}, weights={"dense": 0.75, "bm25": 0.25}, k=2)
        [Hit(id='a', score=0.75), Hit(id='b', score=0.25)]
    """
    check_k(k)
    if method not in _SCALES:
        raise DataError(f"fusion method {method!r} is unknown", fix=f"one of {', '.join(_SCALES)}")
    shares = _shares(lists, weights)
    totals: dict[str, float] = {}
    for name, hits in lists.items():
        for identifier, score in _SCALES[method](hits).items():
            totals[identifier] = totals.get(identifier, 0.0) + shares[name] * score
    return ranked(totals.items(), k)


def summed(lists: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    """The lists of several wordings of one query as one: the sum of a document's scores (BGE-Reasoner, paper.md 5.1).

    Args:
        lists: One list a wording, made by the same view, so that scores are of one kind.
        k: Hits kept.

    Returns:
        At most k hits, score descending, equal scores by id.

    Example:
        >>> summed([[Hit("a", 2.0), Hit("b", 1.5)], [Hit("b", 1.0)]], k=2)
        [Hit(id='b', score=2.5), Hit(id='a', score=2.0)]
    """
    check_k(k)
    totals: dict[str, float] = {}
    for hits in lists:
        for hit in hits:
            totals[hit.id] = totals.get(hit.id, 0.0) + hit.score
    return ranked(totals.items(), k)


def _shares(lists: Mapping[str, Sequence[Hit]], weights: Mapping[str, float] | None) -> dict[str, float]:
    given = dict.fromkeys(lists, 1.0) if weights is None else dict(weights)
    if given.keys() != lists.keys():
        raise DataError(
            f"weights are given for {', '.join(sorted(given)) or 'nothing'}, the lists are {', '.join(sorted(lists))}",
            fix="one weight a list",
        )
    total = sum(given.values())
    if not (all(weight >= 0 for weight in given.values()) and 0 < total < float("inf")):
        raise DataError(f"weights are {given}", fix="numbers of at least 0, one of them above 0")
    return {name: weight / total for name, weight in given.items()}
