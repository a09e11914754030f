"""What is in a set of training samples: how many, how long, how many passages a query, which scores; and what looks wrong.

Gets samples one by one; memory is some 8 bytes a sample and field, and 70 bytes a different passage.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reasonembed.types import TrainingSample


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of whole numbers.

    Attributes:
        mean: Plain mean.
        least: Smallest value.
        median: Lower median.
        p95: The value that 95% do not exceed.
        most: Largest value.
    """

    mean: float
    least: int
    median: int
    p95: int
    most: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures of one dataset.

    Attributes:
        samples: Number of samples.
        with_reasoning: Samples with a `reasoning_query`.
        without_negatives: Samples with an empty `neg`.
        repeated_queries: Samples whose query an earlier one has.
        contradictions: Samples with a text that is both positive and negative.
        positives: Number of all positives.
        negatives: Number of all negatives.
        passages: Different texts among both.
        pos: Positives a sample.
        neg: Negatives a sample.
        query_words: Words a query, split at blanks.
        reasoning_words: Words a `reasoning_query`; None where there is none.
        passage_chars: Characters a passage, over all of them.
        scores: Score -> number of passages with it, rounded to the nearest whole number; empty without scores.
        prompts: Instruction -> samples with it.
        train_group_size: Value -> samples with it; `None` is not set.
        batch_size: Value -> samples with it.
    """

    samples: int
    with_reasoning: int
    without_negatives: int
    repeated_queries: int
    contradictions: int
    positives: int
    negatives: int
    passages: int
    pos: Spread | None
    neg: Spread | None
    query_words: Spread | None
    reasoning_words: Spread | None
    passage_chars: Spread | None
    scores: dict[int, int]
    prompts: dict[str, int]
    train_group_size: dict[str, int]
    batch_size: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def spread(values: Sequence[int]) -> Spread | None:
    """The distribution of values; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    last = len(ordered) - 1
    middle, high = ordered[last // 2], ordered[-(-19 * len(ordered) // 20) - 1]
    return Spread(sum(ordered) / len(ordered), ordered[0], middle, high, ordered[last])


def statistics(samples: Iterable[TrainingSample]) -> Statistics:
    """Count what is in samples."""
    counts: Counter[str] = Counter()
    lengths = {name: array("q") for name in ("pos", "neg", "query", "reasoning", "passage")}
    scores: Counter[int] = Counter()
    settings: dict[str, Counter[str]] = {"prompt": Counter(), "train_group_size": Counter(), "batch_size": Counter()}
    queries: set[bytes] = set()
    passages: set[bytes] = set()
    for sample in samples:
        counts["samples"] += 1
        counts["without_negatives"] += not sample.neg
        counts["contradictions"] += not set(sample.pos).isdisjoint(sample.neg)
        key = _digest(sample.query)
        counts["repeated_queries"] += key in queries
        queries.add(key)
        lengths["pos"].append(len(sample.pos))
        lengths["neg"].append(len(sample.neg))
        lengths["query"].append(len(sample.query.split()))
        if sample.reasoning_query is not None:
            lengths["reasoning"].append(len(sample.reasoning_query.split()))
        for text in (*sample.pos, *sample.neg):
            lengths["passage"].append(len(text))
            passages.add(_digest(text))
        scores.update(int(score + 0.5) for score in (*(sample.pos_scores or ()), *(sample.neg_scores or ())))
        for name, counter in settings.items():
            counter[str(getattr(sample, name))] += 1
    return Statistics(
        samples=counts["samples"],
        with_reasoning=len(lengths["reasoning"]),
        without_negatives=counts["without_negatives"],
        repeated_queries=counts["repeated_queries"],
        contradictions=counts["contradictions"],
        positives=sum(lengths["pos"]),
        negatives=sum(lengths["neg"]),
        passages=len(passages),
        pos=spread(lengths["pos"]),
        neg=spread(lengths["neg"]),
        query_words=spread(lengths["query"]),
        reasoning_words=spread(lengths["reasoning"]),
        passage_chars=spread(lengths["passage"]),
        scores=dict(sorted(scores.items())),
        prompts=dict(settings["prompt"]),
        train_group_size=dict(settings["train_group_size"]),
        batch_size=dict(settings["batch_size"]),
    )


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
