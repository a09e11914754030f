"""The order of hits and the checks that searchers share: score descending, then id ascending; cut at k."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from reasonembed.errors import DataError
from reasonembed.types import Hit


def ranked(scored: Iterable[tuple[str, float]], k: int) -> list[Hit]:
    """Order scored ids and cut.

    Args:
        scored: (id, score) of every candidate that may be among the best k, ties at the cut included.
        k: Number of hits kept.

    Returns:
        At most k hits, score descending, equal scores by id ascending.
    """
    best = sorted(((-score, identifier) for identifier, score in scored))[:k]
    return [Hit(identifier, -negative) for negative, identifier in best]


def check_k(k: int) -> None:
    """Refuse a number of hits below 1.

    Raises:
        DataError: k is no whole number or is below 1.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise DataError(f"k is {k!r}, at least 1 hit must be asked for", fix="pass a whole number such as k=10")


def check_exclude(exclude: Sequence[Collection[str]] | None, n_queries: int) -> None:
    """Refuse exclusions that do not stand one beside each query.

    Raises:
        DataError: There are more or fewer collections than queries, or one is a bare string.
    """
    if exclude is None:
        return
    if len(exclude) != n_queries:
        raise DataError(
            f"exclude has {len(exclude)} entries for {n_queries} queries",
            fix="one collection of ids a query, empty where none",
        )
    for ids in exclude:
        if isinstance(ids, str):
            raise DataError(f"exclude holds the string {ids!r}", fix="a collection of ids, such as [id]")


def check_new_ids(ids: Sequence[str], known: Collection[str], n_items: int) -> None:
    """Refuse ids that do not fit the items they name or that were added before.

    Args:
        ids: Ids of the items to be added.
        known: Ids already in the index; a set or dict.
        n_items: Number of vectors or texts to be added.

    Raises:
        DataError: Counts differ, or an id occurs twice.
    """
    if len(ids) != n_items:
        raise DataError(f"{len(ids)} ids for {n_items} documents", fix="one id a document")
    seen: set[str] = set()
    for identifier in ids:
        if identifier in known or identifier in seen:
            raise DataError(f"id {identifier!r} was added before", fix="ids must be unique within an index")
        seen.add(identifier)
