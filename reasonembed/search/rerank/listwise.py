"""Listwise reranking by a language model: it orders a window of documents, and the window slides from the end to the front.

As RankGPT and ReasonRank do it: windows of 20, moved by 10, so that a good document at the end is carried to the front. The
windows of one query follow each other; those of different queries run together.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reasonembed.errors import DataError
from reasonembed.io.manifest import fingerprint
from reasonembed.llm.answers import tagged
from reasonembed.llm.client import Llm
from reasonembed.llm.prompts import load_prompt, render
from reasonembed.llm.types import Request, Sampling, user
from reasonembed.protocols import relevance_for
from reasonembed.search.rerank.judged import Judged, Reranking, check_candidates, reranking
from reasonembed.types import Document

_CHAIN = re.compile(r"\[\d+\](?:\s*[>,]\s*\[\d+\])+")
_NUMBER = re.compile(r"\[(\d{1,9})\]")
_BARE = re.compile(r"\d{1,9}")


class ListwiseReranker:
    """Order by comparison. Windows of 20 moved by 10, greedy, are RankGPT's (arXiv 2304.09542) and ReasonRank's.

    The model gives an order and no scores: the best of m documents gets 100, the last 100 / m, evenly spaced.

    Args:
        llm: What compares.
        depth: Documents of each query that take part.
        window: Documents shown at once.
        step: By how many places the window moves; at most `window`.
        task: `benchmark/name` chooses the relevance definition; None the generic one.
        temperature: Of the sampling; 0 is greedy.
        max_tokens: Longest answer, thinking included.
        document_chars: A longer document is shown up to here, and counted. 2,000 characters are about RankGPT's 300 words.

    Raises:
        DataError: A number out of its range.
    """

    def __init__(
        self,
        llm: Llm,
        *,
        depth: int = 100,
        window: int = 20,
        step: int = 10,
        task: str | None = None,
        temperature: float = 0.0,
        max_tokens: int = 2048,
        document_chars: int = 2000,
    ) -> None:
        if depth < 1 or window < 2 or not 1 <= step <= window or document_chars < 1:
            raise DataError(
                f"depth={depth}, window={window}, step={step}, document_chars={document_chars}",
                fix="depth and document_chars from 1, window from 2, step from 1 to window",
            )
        self.depth = depth
        self.window = window
        self.step = step
        self.task = task
        self.document_chars = document_chars
        self._llm = llm
        self._sampling = Sampling(temperature, max_tokens=max_tokens)
        self._prompt = load_prompt("reasonembed.search", "prompts/rerank/listwise.txt")
        self._words = relevance_for(task).words()

    def rerank(
        self, queries: Sequence[str], candidates: Sequence[Sequence[Document]], *, progress: bool = False
    ) -> list[Reranking]:
        """Rerank; see `Reranker`. A window whose answer holds no order keeps its order.

        Raises:
            DataError: Not one list of documents a query, or a document occurs twice in a list.
            LlmError: The model cannot be reached at all.
        """
        check_candidates(queries, candidates)
        passes = [
            _Pass(query, list(documents[: self.depth])) for query, documents in zip(queries, candidates, strict=True)
        ]
        starts = [window_starts(len(one.order), self.window, self.step) for one in passes]
        rounds = max(map(len, starts), default=0)
        for number in range(rounds):
            turns = [
                (one, slice(begins[number], begins[number] + self.window))
                for one, begins in zip(passes, starts, strict=True)
                if number < len(begins)
            ]
            self._ask(turns, label=f"windows {number + 1} of {rounds}", progress=progress)
        return [self._reranking(documents, one) for documents, one in zip(candidates, passes, strict=True)]

    def describe(self) -> dict[str, Any]:
        """Everything that decides the order."""
        return {
            "kind": "listwise",
            "depth": self.depth,
            "window": self.window,
            "step": self.step,
            "task": self.task,
            "sampling": dataclasses.asdict(self._sampling),
            "document_chars": self.document_chars,
            "prompt": "rerank/listwise",
            "prompt_sha256": fingerprint([self._prompt]),
            "llm": self._llm.describe(),
        }

    def _ask(self, turns: Sequence[tuple[_Pass, slice]], *, label: str, progress: bool) -> None:
        """Let the model order one window of each of these queries."""
        requests = (self._request(one.query, one.order[window]) for one, window in turns)
        replies = self._llm.answers(requests, label=label, total=len(turns), ordered=False, progress=progress)
        for reply in replies:
            one, window = turns[reply.index]
            shown = one.order[window]
            found = permutation(reply.answer.text if reply.answer is not None else "", len(shown))
            if found is None:
                one.unparsed += 1
                continue
            places, repaired = found
            one.order[window] = [shown[place] for place in places]
            one.repaired += repaired

    def _request(self, query: str, documents: Sequence[Document]) -> Request:
        shown = "\n\n".join(
            f"[{number}] {document.content[: self.document_chars]}"
            for number, document in enumerate(documents, start=1)
        )
        text = render(self._prompt, query=query, count=str(len(documents)), documents=shown, **self._words)
        return user(text, sampling=self._sampling)

    def _reranking(self, candidates: Sequence[Document], done: _Pass) -> Reranking:
        """The new order as evenly falling scores."""
        places = {document.id: place for place, document in enumerate(done.order)}
        judged = [
            Judged(document.id, 100 * (1 - places[document.id] / len(places)), (), "", rank)
            for rank, document in enumerate(candidates[: self.depth], start=1)
        ]
        cut = sum(len(document.content) > self.document_chars for document in done.order)
        return reranking(candidates, judged, unparsed=done.unparsed, repaired=done.repaired, cut=cut)


@dataclass(slots=True)
class _Pass:
    """One query on its way; `order` changes as windows are answered."""

    query: str
    order: list[Document]
    unparsed: int = 0
    repaired: int = 0


def window_starts(n: int, window: int, step: int) -> list[int]:
    """Where the windows over n documents begin, from the last to the first; the last of them begins at 0.

    >>> window_starts(45, 20, 10)
    [25, 15, 5, 0]
    """
    if n < 2:
        return []
    return [*range(n - window, 0, -step), 0] if n > window else [0]


def permutation(text: str, n: int) -> tuple[list[int], bool] | None:
    """The order that an answer gives.

    Where the answer says `[2] > [1]` in several places the last one counts; the part between <answer> tags goes before all else.

    Args:
        text: The answer; documents are numbered from 1 in square brackets.
        n: How many there are.

    Returns:
        The order (places from 0, each once) and whether it had to be repaired: doubles and unknown numbers dropped, missing ones
        appended in their old order. None where no document is named.

    >>> permutation("so <answer>[3] > [1] > [3]</answer>", 3)
    ([2, 0, 1], True)
    """
    part = tagged(text, "answer")
    chains = _CHAIN.findall(part or text)
    numbers = _NUMBER.findall(chains[-1] if chains else part or text) or _BARE.findall(part or "")
    named = [int(number) - 1 for number in numbers]
    known = list(dict.fromkeys(place for place in named if 0 <= place < n))
    if not known:
        return None
    missing = [place for place in range(n) if place not in known]
    return known + missing, len(named) != n or bool(missing)
