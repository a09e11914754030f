"""Reason, then retrieve: a language model thinks about a query, and what it wrote is searched for in its place.

Gets queries, gives for each several texts; what to do with several (sum their scores) is the pipeline's matter. The prompts are
text files in `prompts/rewrite`, one a kind of task.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError
from reasonembed.io.manifest import fingerprint
from reasonembed.llm.answers import tagged
from reasonembed.llm.client import Llm
from reasonembed.llm.prompts import load_prompt, read_prompt, render
from reasonembed.llm.types import Answer, Request, Sampling, user
from reasonembed.protocols import relevance_for

_TAGS = re.compile(r"</?(?:think|response)>")


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What became of one query.

    Attributes:
        texts: Its rewrites, at least one: the query itself where all failed.
        failed: How many of the rewrites asked for are missing.
    """

    texts: tuple[str, ...]
    failed: int


class Rewriter:
    """Several rewrites a query. The defaults are those of BGE-Reasoner's rewriter (paper.md 5.1) as far as they are known.

    Args:
        llm: What writes.
        n: Rewrites a query.
        temperature: Of the sampling.
        top_p: Of the sampling.
        top_k: Of the sampling; None leaves it to the server (some refuse to hear of it).
        repetition_penalty: Of the sampling; None leaves it to the server.
        max_tokens: Longest rewrite, thinking included. BGE-Reasoner's is not published; ours holds about 1,500 words.
        keep_thinking: The whole generation is the text, as in BGE-Reasoner (without the tags themselves); False leaves out
            what the model thought.
        with_query: Put the query before each rewrite. BGE-Reasoner searches for the generation alone.
        task: `benchmark/name` chooses the prompt; None the generic one.
        prompt: A file of your own; `{query}` stands for the query, and `{query_type}`, `{document_type}`, `{definition}` for
            the words of the task (`protocols.Relevance`).

    Raises:
        DataError: n is below 1, the prompt lacks `{query}`, or has placeholders that nobody fills.
    """

    def __init__(
        self,
        llm: Llm,
        *,
        n: int = 5,
        temperature: float = 0.6,
        top_p: float = 0.9,
        top_k: int | None = 20,
        repetition_penalty: float | None = 1.05,
        max_tokens: int = 2048,
        keep_thinking: bool = True,
        with_query: bool = False,
        task: str | None = None,
        prompt: Path | None = None,
    ) -> None:
        if n < 1:
            raise DataError(f"n is {n}, at least 1 rewrite must be asked for", fix="such as n=5")
        self.n = n
        self.keep_thinking = keep_thinking
        self.with_query = with_query
        self.task = task
        self._llm = llm
        self._sampling = Sampling(temperature, top_p, top_k, repetition_penalty, max_tokens)
        relevance = relevance_for(task)
        self._prompt_name = f"rewrite/{relevance.kind}" if prompt is None else str(prompt)
        self._prompt = (
            load_prompt("reasonembed.search", f"prompts/{self._prompt_name}.txt")
            if prompt is None
            else read_prompt(prompt)
        )
        self._words = {name: word for name, word in relevance.words().items() if f"{{{name}}}" in self._prompt}
        self._request("", 0)  # an error in the prompt shows now

    def rewrite(self, queries: Sequence[str], *, progress: bool = False) -> list[Rewriting]:
        """Rewrite queries.

        Args:
            queries: The questions.
            progress: Show a bar.

        Raises:
            DataError: A bare string instead of a list.
            LlmError: The model cannot be reached at all.
        """
        if isinstance(queries, str):
            raise DataError(f"queries is the string {queries[:60]!r}", fix="pass a list of queries")
        requests = (self._request(query, sample) for query in queries for sample in range(self.n))
        written: list[dict[int, str]] = [{} for _ in queries]
        replies = self._llm.answers(
            requests, label="rewrites", total=len(queries) * self.n, ordered=False, progress=progress
        )
        for reply in replies:
            if reply.answer is not None and (text := self._text(reply.answer)):
                number, sample = divmod(reply.index, self.n)
                written[number][sample] = f"{queries[number]}\n{text}" if self.with_query else text
        return [
            Rewriting(tuple(texts[sample] for sample in sorted(texts)) or (query,), self.n - len(texts))
            for query, texts in zip(queries, written, strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """Everything that decides the rewrites."""
        return {
            "n": self.n,
            "sampling": dataclasses.asdict(self._sampling),
            "keep_thinking": self.keep_thinking,
            "with_query": self.with_query,
            "task": self.task,
            "prompt": self._prompt_name,
            "prompt_sha256": fingerprint([self._prompt]),
            "llm": self._llm.describe(),
        }

    def _request(self, query: str, sample: int) -> Request:
        return user(render(self._prompt, query=query, **self._words), sampling=self._sampling, sample=sample)

    def _text(self, answer: Answer) -> str:
        """What is searched for; empty where nothing was written."""
        said = _TAGS.sub("", answer.text).strip()
        if self.keep_thinking:
            return f"{answer.reasoning.strip()}\n{said}".strip()
        return (tagged(answer.text, "response") or said).strip()
