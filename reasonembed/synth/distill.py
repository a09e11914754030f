"""A teacher's judgements as chat data for fine-tuning a cheaper judge (ReMixer's annotator distillation, paper.md 1.5).

Gets annotations, those of a query side by side, and the texts; gives rows `{"messages": [user, assistant], "query", "document",
"score"}`: the prompt that the student will get, and the teacher's reasoning that ends with the score. Training itself is not here.

What the paper does is known in part: about 60,000 pairs, teacher Qwen3-235B-A22B (second hand). Its sampling, filter and training
settings are not found [NF]; the sampling here is that of the same group's Retro* (second hand too): `QUERIES`, one positive and one
negative each, and of several samples the one nearest the mean.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from reasonembed.dataset.label import NEGATIVE, POSITIVE
from reasonembed.errors import DataError
from reasonembed.io.manifest import fingerprint
from reasonembed.llm.types import Message
from reasonembed.protocols import Relevance
from reasonembed.synth.judgement import AnnotateSettings, judgement_request
from reasonembed.types import Annotation, Document

QUERIES = 500
"""Queries of a dataset (Retro*: 500 a dataset, 12 datasets, 12,000 pairs; paper.md 1.5, second hand)."""


def distillation_rows(
    annotations: Iterable[Annotation],
    *,
    query_text: Callable[[str], str],
    document: Callable[[str], Document],
    settings: AnnotateSettings,
    relevance: Relevance,
    queries: int | None = QUERIES,
    seed: int = 42,
    counts: Counter[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Choose pairs and write them as chats.

    Args:
        annotations: The teacher's; those without reasoning teach nothing and are left out. The reasoning of an annotation is
            already that of the sample nearest the mean.
        query_text: Id of a query -> its text.
        document: Id of a document -> the document.
        settings: How the teacher judged; the student gets the pointwise prompt of the same length with tags (the brief one
            where the teacher judged groups).
        relevance: What makes a document relevant.
        queries: How many are drawn, evenly, of those that have a positive and a negative; None takes all.
        seed: Of the drawing.
        counts: Gets added: `queries_with_both` (a positive and a negative), `queries_without_both`, `pairs_without_reasoning`.

    Yields:
        Two rows a query, in the order of the annotations: the positive, then the negative.

    Raises:
        DataError: The teacher was asked for scores alone, or `queries` is below 1.
    """
    if settings.reasoning == "score":
        raise DataError("the judgements hold no reasoning: reasoning is 'score'", fix="annotate with brief or full")
    if queries is not None and queries < 1:
        raise DataError(f"queries is {queries}", fix="at least 1, or none for all")
    counts = Counter() if counts is None else counts
    student = _student(settings)
    drawn = _drawn(annotations, queries, seed, counts)
    for one in itertools.chain.from_iterable(drawn):
        request = judgement_request(
            query_text(one.query), [document(one.document)], settings=student, relevance=relevance
        )
        score = _written_score(one)
        reply = Message("assistant", f"{one.reason}\n<score>{score}</score>")
        yield {
            "messages": [asdict(message) for message in (*request.messages, reply)],
            "query": one.query,
            "document": one.document,
            "score": score,
        }


def _student(settings: AnnotateSettings) -> AnnotateSettings:
    """What the student is asked."""
    reasoning = settings.reasoning if settings.mode == "pointwise" else "brief"
    return replace(settings, mode="pointwise", reasoning=reasoning, output="tags", samples=1, logprobs=False)


def _drawn(
    annotations: Iterable[Annotation], queries: int | None, seed: int, counts: Counter[str]
) -> list[tuple[Annotation, Annotation]]:
    """A positive and a negative of each query drawn; holds these pairs alone. Which are drawn does not depend on the order."""
    both = _with_both(annotations, seed, counts)
    if queries is None:
        return list(both)
    numbered = ((fingerprint([str(seed), pair[0].query]), place, pair) for place, pair in enumerate(both))
    return [pair for _, _, pair in sorted(heapq.nsmallest(queries, numbered), key=lambda item: item[1])]


def _with_both(
    annotations: Iterable[Annotation], seed: int, counts: Counter[str]
) -> Iterator[tuple[Annotation, Annotation]]:
    for query, block in itertools.groupby(annotations, key=lambda one: one.query):
        judged = list(block)
        told = [one for one in judged if one.reason.strip()]
        counts["pairs_without_reasoning"] += len(judged) - len(told)
        positives = [one for one in told if one.score >= POSITIVE]
        negatives = [one for one in told if one.score <= NEGATIVE]
        if not (positives and negatives):
            counts["queries_without_both"] += 1
            continue
        counts["queries_with_both"] += 1
        draw = random.Random(f"{seed} {query}")
        yield draw.choice(positives), draw.choice(negatives)


def _written_score(one: Annotation) -> int:
    """The score of the sample whose reasoning is kept, as a whole number of the scale."""
    return math.floor(min(one.samples, key=lambda score: abs(score - one.score)) + 0.5)
