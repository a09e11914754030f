"""Judged candidates of a query to a training sample: which are positives, which are hard negatives, and is it a sample at all.

Gets a query, its annotations and the texts; gives a sample, or the reason why there is none. It knows no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from reasonembed.errors import DataError
from reasonembed.types import Annotation, SynthQuery, TrainingSample

POSITIVE = 3.0
"""Lowest score of a positive (paper.md 1.4: label >= 3)."""
NEGATIVE = 2.0
"""Highest score of a hard negative (paper.md 1.4: 1-2). Means of several samples may lie between: neither."""

NoSample = Literal["nothing judged", "no positive", "no negative", "no positive and no negative"]
"""Why a query gives no sample (paper.md 1.4: queries with no positive or no negative are dropped)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From which score on a candidate is a positive, and down to which a hard negative.

    Attributes:
        positive: Lowest score of a positive, in [1, 5].
        negative: Highest score of a negative, below `positive`.
        margin: In place of both: a positive lies at least so far above the mean of its query's scores, a negative so far below. Ours, for
            judges whose scores differ more from query to query than within a query. None as in the paper.

    Raises:
        DataError: `negative` is not below `positive`, or `margin` is not above 0.
    """

    positive: float = POSITIVE
    negative: float = NEGATIVE
    margin: float | None = None

    def __post_init__(self) -> None:
        if not self.negative < self.positive:
            raise DataError(
                f"negative={self.negative} is not below positive={self.positive}", fix=f"{NEGATIVE} and {POSITIVE}"
            )
        if self.margin is not None and self.margin <= 0:
            raise DataError(f"margin={self.margin} is not above 0", fix="such as 0.2")

    def of(self, scores: Sequence[float]) -> tuple[float, float]:
        """Lowest score of a positive and highest of a negative among the scores of one query.

        >>> Limits(margin=0.5).of([3, 4, 2])
        (3.5, 2.5)
        """
        if self.margin is None or not scores:
            return self.positive, self.negative
        mean = fmean(scores)
        return mean + self.margin, mean - self.margin


PAPER_LIMITS = Limits()


def sample_of(
    query: SynthQuery,
    judged: Iterable[Annotation],
    text_of: Callable[[str], str],
    *,
    limits: Limits = PAPER_LIMITS,
    prompt: str | None = None,
) -> TrainingSample | NoSample:
    """Label the candidates of one query.

    Passages stand in the order of the miner. A text that several documents have counts once, with its highest score.

    Args:
        query: With or without its reasoning.
        judged: Annotations of this query, in any order.
        text_of: Document id -> its text.
        limits: Which scores are positive and which negative.
        prompt: Instruction of the query.

    Returns:
        A sample with `pos_scores` and `neg_scores`, or the reason why there is none.
    """
    best: dict[str, Annotation] = {}
    for annotation in sorted(judged, key=lambda item: (-item.score, item.rank)):
        best.setdefault(text_of(annotation.document), annotation)
    ranked = sorted(best.items(), key=lambda item: item[1].rank)
    positive, negative = limits.of([item.score for _, item in ranked])
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
