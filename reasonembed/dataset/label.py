"""Judged candidates of a query to a training sample: which are positives, which are hard negatives, and is it a sample at all.

Gets a query, its annotations and the texts; gives a sample, or the reason why there is none. It knows no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from reasonembed.errors import DataError
from reasonembed.types import Annotation, SynthQuery, TrainingSample

POSITIVE = 3.0
"""Lowest score of a positive (paper.md 1.4: label >= 3)."""
NEGATIVE = 2.0
"""Highest score of a hard negative (paper.md 1.4: 1-2). Means of several samples may lie between: neither."""

NoSample = Literal["nothing judged", "no positive", "no negative", "no positive and no negative"]
"""Why a query gives no sample (paper.md 1.4: queries with no positive or no negative are dropped)."""


def sample_of(
    query: SynthQuery,
    judged: Iterable[Annotation],
    text_of: Callable[[str], str],
    *,
    positive: float = POSITIVE,
    negative: float = NEGATIVE,
    prompt: str | None = None,
) -> TrainingSample | NoSample:
    """Label the candidates of one query.

    Passages stand in the order of the miner. A text that several documents have counts once, with its highest score.

    Args:
        query: With or without its reasoning.
        judged: Annotations of this query, in any order.
        text_of: Document id -> its text.
        positive: Lowest score of a positive, in [1, 5].
        negative: Highest score of a negative, below `positive`.
        prompt: Instruction of the query.

    Returns:
        A sample with `pos_scores` and `neg_scores`, or the reason why there is none.

    Raises:
        DataError: `negative` is not below `positive`.
    """
    if not negative < positive:
        raise DataError(f"negative={negative} is not below positive={positive}", fix=f"{NEGATIVE} and {POSITIVE}")
    best: dict[str, Annotation] = {}
    for annotation in sorted(judged, key=lambda item: (-item.score, item.rank)):
        best.setdefault(text_of(annotation.document), annotation)
    ranked = sorted(best.items(), key=lambda item: item[1].rank)
    pos = [(text, item.score) for text, item in ranked if item.score >= positive]
    neg = [(text, item.score) for text, item in ranked if item.score <= negative]
    if not ranked:
        return "nothing judged"
    if not (pos and neg):
        return "no negative" if pos else "no positive" if neg else "no positive and no negative"
    return TrainingSample(
        query.text,
        tuple(text for text, _ in pos),
        tuple(text for text, _ in neg),
        prompt=prompt,
        reasoning_query=query.reasoning or None,
        pos_scores=tuple(score for _, score in pos),
        neg_scores=tuple(score for _, score in neg),
    )
