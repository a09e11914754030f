"""Queries with their analysis (`reasoning_query`): what is essential, step by step to the answer (BRIGHT's way, paper.md 1.7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reasonembed.llm.client import Llm
from reasonembed.llm.prompts import load_prompt, render
from reasonembed.llm.types import Answer, Request, Sampling, user
from reasonembed.synth.asking import Lost, ask_each, last_words
from reasonembed.synth.checks import clean, same_script
from reasonembed.synth.config import ReasoningConfig
from reasonembed.synth.tasks import PROMPTS, Writing
from reasonembed.types import SynthQuery

ANALYSIS = "prompts/reasoning/analysis.txt"


def analysed(
    llm: Llm, queries: Iterable[SynthQuery], config: ReasoningConfig, writing: Writing, *, total: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[SynthQuery, str | Lost]]:  # fmt: skip
    """Have queries analysed.

    Args:
        llm: What thinks.
        queries: Without their analysis.
        config: Sampling and attempts.
        writing: What the queries are.
        total: Number of queries.
        progress: Show a bar.

    Yields:
        (query, the query with its analysis, or why there is none), in order.

    Raises:
        LlmError: The model cannot be reached.
    """
    prompt = load_prompt(PROMPTS, ANALYSIS)
    sampling = Sampling(config.temperature, config.top_p, max_tokens=config.max_tokens)
    words = {"noun": writing.relevance.query_type, "document_type": writing.relevance.document_type}

    def request(query: SynthQuery, attempt: int) -> Request:
        return user(render(prompt, query=query.text, **words), sampling=sampling, sample=attempt)

    yield from ask_each(
        llm, queries, request=request, read=read_analysis, attempts=config.attempts, label="analyses", total=total,
        progress=progress,
    )  # fmt: skip


def read_analysis(query: SynthQuery, answer: Answer) -> str | Lost:
    """The query, a blank line and the analysis; or why it may not stay."""
    text = clean(answer.text)
    if answer.finish_reason == "length":
        return Lost("cut at max_tokens", last_words(answer))
    if not text:
        return Lost("empty")
    if not same_script(text, query.text):
        return Lost("language", last_words(answer))
    return f"{query.text}\n\n{text}"
