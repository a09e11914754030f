"""Reasoned relevance judgements of (query, document) pairs by a language model, from 1 to 5 (ReMixer, paper.md 1.4).

Gets a stream of pairs, those of a query side by side; gives one `Annotation` or `Unjudged` a pair, in the same order. Memory holds
the queries under way, whatever the number of pairs. Each request follows from the settings, the pair and the numbers of sample and
attempt alone, so a stage that is run again finds its answers in the cache.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TypeAlias

from reasonembed.llm.client import Llm
from reasonembed.llm.types import Answer, Request
from reasonembed.protocols import Relevance, relevance_for
from reasonembed.synth.asking import Lost, ask_each, last_words
from reasonembed.synth.judgement import (
    AnnotateSettings,
    Reading,
    judgement_request,
    read_judgement,
    read_judgements,
)
from reasonembed.types import Annotation, Document, SynthQuery

__all__ = ["ATTEMPTS", "UNREADABLE", "AnnotateSettings", "Pair", "Unjudged", "annotate_pairs"]

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a sample is asked for until its score can be read. The paper asks once and drops."""
UNREADABLE = "unreadable"
"""Why a pair is unjudged whose answers gave no score."""
Pair: TypeAlias = tuple[SynthQuery, Document, int]


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A pair without a judgement.

    Attributes:
        query: Id of the query.
        document: Id of the document.
        rank: Of the candidate.
        reason: `unreadable` (no sample gave a score), or the kind of failure (see `llm.types.Failure`).
        detail: The end of the last answer, or what the server said.
    """

    query: str
    document: str
    rank: int
    reason: str
    detail: str


def annotate_pairs(
    llm: Llm,
    pairs: Iterable[Pair],
    *,
    settings: AnnotateSettings | None = None,
    relevance: Relevance | None = None,
    counts: Counter[str] | None = None,
    progress: bool = False,
) -> Iterator[Annotation | Unjudged]:
    """Judge pairs.

    An answer without a readable score is asked for again under the next free sample number, up to `ATTEMPTS` times; samples
    that stay unreadable are left out of the mean. A pair of which a request failed is `Unjudged` even if others of its
    samples were answered: what it gets must not depend on a fault, and the cache asks only for the rest next time.

    Args:
        llm: What judges.
        pairs: (query, document, rank of the candidate); taken as there is room. A query's pairs stand side by side.
        settings: None is the paper's.
        relevance: What makes a document relevant; None is the generic meaning.
        counts: Gets added: `answers_unreadable` (each is asked for again), `samples_lost` (given up), `without_logprobs` (samples whose
            written score counts, for the model gave no log-probabilities at it), `queries_cut` and `documents_cut` (too long, shown cut).
        progress: Show a bar.

    Yields:
        One judgement a pair, in the order of the pairs.

    Raises:
        LlmError: The model cannot be reached at all; what was answered is in the cache.
    """
    settings, counts = settings or AnnotateSettings(), Counter() if counts is None else counts
    weighed = settings.logprobs
    settings, opened = _weighable(llm, settings)
    meaning = relevance or relevance_for(None)

    def request(ask: _Ask, attempt: int) -> Request:
        query, documents = ask.block.pairs[0][0].text, [ask.block.pairs[place][1] for place in ask.places]
        sample = ask.sample + attempt * settings.samples
        return judgement_request(query, documents, settings=settings, relevance=meaning, sample=sample, opened=opened)

    def read(ask: _Ask, answer: Answer) -> _Ask | Lost:
        ask.take(_readings(answer, len(ask.places), settings))
        if not ask.missing:
            return ask
        counts["answers_unreadable"] += 1
        return Lost(UNREADABLE, last_words(answer))

    asks = _asks(pairs, settings, counts)
    for ask, outcome in ask_each(
        llm, asks, request=request, read=read, attempts=ATTEMPTS, label="judgements", progress=progress
    ):
        if isinstance(outcome, Lost):
            for place in ask.missing:
                counts["samples_lost"] += 1
                if outcome.reason != UNREADABLE or place not in ask.block.lost:
                    ask.block.lost[place] = outcome
        counts["without_logprobs"] += weighed * sum(not reading.expected for reading in ask.found)
        ask.block.waiting -= 1
        if not ask.block.waiting:
            yield from (ask.block.outcome(place) for place in range(len(ask.block.pairs)))


def _weighable(llm: Llm, settings: AnnotateSettings) -> tuple[AnnotateSettings, bool]:
    """Settings that the model can follow, and whether its answers are begun, so that the score is their first token."""
    if not settings.logprobs or llm.describe().get("kind") != "local":
        return settings, False
    if (settings.reasoning, settings.output) == ("score", "tags"):
        return settings, True
    logger.warning(  # it would refuse every request
        "a model in this process gives log-probabilities with `reasoning: score` alone: the written scores count"
    )
    return replace(settings, logprobs=False), False


@dataclass(slots=True)
class _Block:
    """The pairs of one query.

    Attributes:
        pairs: As they came.
        readings: Of each pair: sample -> reading.
        lost: Pair -> why it lacks a sample; a failure weighs more than an unreadable answer.
        waiting: Requests that have no last word yet.
    """

    pairs: list[Pair]
    readings: list[dict[int, Reading]] = field(default_factory=list)
    lost: dict[int, Lost] = field(default_factory=dict)
    waiting: int = 0

    def outcome(self, place: int) -> Annotation | Unjudged:
        query, document, rank = self.pairs[place]
        readings = [self.readings[place][sample] for sample in sorted(self.readings[place])]
        lost = self.lost.get(place)
        if lost is not None and (lost.reason != UNREADABLE or not readings):
            return Unjudged(query.id, document.id, rank, lost.reason, lost.detail)
        scores = tuple(reading.score for reading in readings)
        mean = fmean(scores)
        shown = min(readings, key=lambda reading: abs(reading.score - mean))  # of equal ones the first
        return Annotation(query.id, document.id, mean, scores, shown.reason, rank)


@dataclass(frozen=True, slots=True)
class _Ask:
    """One sample of some pairs of a block, in the order in which they are shown."""

    block: _Block
    places: tuple[int, ...]
    sample: int

    def take(self, readings: Mapping[int, Reading]) -> None:
        """Keep what an answer says, by place shown; what an earlier one said stays."""
        for shown, reading in readings.items():
            self.block.readings[self.places[shown]].setdefault(self.sample, reading)

    @property
    def missing(self) -> list[int]:
        return [place for place in self.places if self.sample not in self.block.readings[place]]

    @property
    def found(self) -> list[Reading]:
        readings = (self.block.readings[place].get(self.sample) for place in self.places)
        return [reading for reading in readings if reading is not None]


def _asks(pairs: Iterable[Pair], settings: AnnotateSettings, counts: Counter[str]) -> Iterator[_Ask]:
    """What is to be asked, query by query."""
    for _, grouped in itertools.groupby(pairs, key=lambda pair: pair[0].id):
        block = _Block(list(grouped))
        asks = [
            _Ask(block, places, sample)
            for sample in range(settings.samples)
            for places in _groups(block.pairs, sample, settings)
        ]
        block.readings = [{} for _ in block.pairs]
        block.waiting = len(asks)
        limit = settings.text_chars // max(len(ask.places) for ask in asks)
        counts["queries_cut"] += len(block.pairs[0][0].text) > settings.text_chars
        counts["documents_cut"] += sum(len(document.content) > limit for _, document, _ in block.pairs)
        yield from asks


def _groups(pairs: Sequence[Pair], sample: int, settings: AnnotateSettings) -> list[tuple[int, ...]]:
    """Which pairs of a query are judged together, and in which order: drawn anew for each sample."""
    places = list(range(len(pairs)))
    if settings.mode == "pointwise":
        return [(place,) for place in places]
    random.Random(f"{settings.seed} {sample} {pairs[0][0].id}").shuffle(places)
    groups = math.ceil(len(places) / settings.group)
    return [tuple(places[first::groups]) for first in range(groups)]


def _readings(answer: Answer, count: int, settings: AnnotateSettings) -> dict[int, Reading]:
    """Place shown -> what the answer says of it."""
    if settings.mode == "grouped":
        return read_judgements(answer, count, settings)
    reading = read_judgement(answer, settings)
    return {} if reading is None else {0: reading}
