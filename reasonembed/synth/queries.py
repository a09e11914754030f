"""Queries written from documents under drawn conditions, cleaned and checked; and the analysis of a query is `synth.reasoning`.

A query must lead to its document by reasoning and not by words: so the length and the level of education are drawn (paper.md 1.2),
the prompt asks for other words than the document's, and what copies or points to it is refused and asked for again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reasonembed.llm.client import Llm
from reasonembed.llm.prompts import load_prompt, render
from reasonembed.llm.types import Answer, Request, Sampling, user
from reasonembed.synth.asking import Lost, ask_each, last_words
from reasonembed.synth.checks import HARD_LIMIT, Rules, clean, problem
from reasonembed.synth.config import QueriesConfig
from reasonembed.synth.tasks import PROMPTS, Writing
from reasonembed.types import Document, SynthQuery

FRAME = "prompts/queries/frame.txt"
"""The rules stand before the document, where the paper has them behind it (paper.md 1.2): all prompts of a run begin with them, and a
local model reads that once (`llm.prefixes`)."""


@dataclass(frozen=True, slots=True)
class Order:
    """A query that is to be written.

    Attributes:
        id: It will have.
        source: Document it is written from.
        length: Least and most words.
        level: Education level.
        repeat: How many earlier queries of this document have the same conditions, so the same prompt.
    """

    id: str
    source: Document
    length: tuple[int, int]
    level: str
    repeat: int = 0


def orders(sources: Iterable[Document], config: QueriesConfig, *, per_document: int, seed: int) -> Iterator[Order]:
    """Draw the conditions of every query: from the seed and the query's id alone, whatever else is written.

    Args:
        sources: Documents.
        config: Its weights count.
        per_document: Queries a document; their ids are `DOCUMENT#q1`, `#q2`, ...
        seed: Of the drawing.
    """
    bands = [(band.least, HARD_LIMIT if band.most is None else band.most) for band in config.lengths]
    for source in sources:
        before: Counter[tuple[tuple[int, int], str]] = Counter()
        for number in range(1, per_document + 1):
            identifier = f"{source.id}#q{number}"
            drawn = random.Random(f"{seed} conditions {identifier}")
            (length,) = drawn.choices(bands, [band.weight for band in config.lengths])
            (level,) = drawn.choices(list(config.levels), list(config.levels.values()))
            yield Order(identifier, source, length, level, before[length, level])
            before[length, level] += 1


def written(
    llm: Llm,
    wanted: Iterable[Order],
    config: QueriesConfig,
    writing: Writing,
    *,
    total: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[Order, SynthQuery | Lost]]:
    """Have queries written.

    Args:
        llm: What writes.
        wanted: See `orders`.
        config: Sampling, attempts and rules.
        writing: What is to be written.
        total: Number of orders.
        progress: Show a bar.

    Yields:
        (order, query or the reason of its last attempt), in order.

    Raises:
        LlmError: The model cannot be reached.
    """
    frame = load_prompt(PROMPTS, FRAME)
    rules = Rules(config.tolerance, config.longest_copy, config.overlap)

    def request(order: Order, attempt: int) -> Request:
        return query_request(frame, order, config, writing, attempt)

    def read(order: Order, answer: Answer) -> SynthQuery | Lost:
        return read_query(order, answer, rules)

    yield from ask_each(
        llm,
        wanted,
        request=request,
        read=read,
        attempts=config.attempts,
        label="queries",
        total=total,
        progress=progress,
    )


def query_request(frame: str, order: Order, config: QueriesConfig, writing: Writing, attempt: int) -> Request:
    """What is asked for a query; a number of the sample that no other attempt at the same prompt has."""
    text = render(
        frame,
        sentence=writing.sentence,
        content=order.source.content,
        noun=writing.relevance.query_type,
        length=_length(order.length),
        level=order.level,
    )
    return user(
        text,
        sampling=Sampling(config.temperature, config.top_p, max_tokens=config.max_tokens),
        sample=order.repeat * config.attempts + attempt,
    )


def read_query(order: Order, answer: Answer, rules: Rules) -> SynthQuery | Lost:
    """The query in an answer, or why it may not stay."""
    if answer.finish_reason == "length":
        return Lost("cut at max_tokens", last_words(answer))
    text = clean(answer.text)
    reason = problem(text, order.source.content, order.length, rules, title=order.source.title)
    if reason is not None:
        return Lost(reason, last_words(answer))
    return SynthQuery(order.id, text, order.source.id, order.length, order.level)


def _length(band: tuple[int, int]) -> str:
    least, most = band
    if most >= HARD_LIMIT:
        return f"at least {least} words"
    return f"{least} to {most} words" if least > 0 else f"fewer than {most + 1} words"
