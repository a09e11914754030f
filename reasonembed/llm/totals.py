"""What a language model was asked and what that cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Price:
    """Money for a million tokens, in any one currency.

    Attributes:
        prompt: For a million tokens read.
        completion: For a million tokens generated.
    """

    prompt: float
    completion: float


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts since an `Llm` was made; `later - earlier` is what lies between.

    Attributes:
        requests: Requests with a reply.
        cached: Of these, not paid for: from the cache, or the same request was under way.
        answered: Of these, generated now.
        failed: Of these, without an answer, by kind of failure.
        retried: Attempts beyond the first.
        prompt_tokens: Tokens read for `answered`.
        completion_tokens: Tokens generated for `answered`.
        seconds: Wall time with a request under way.
        cost: Of these tokens; None without a price.
    """

    requests: int = 0
    cached: int = 0
    answered: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    retried: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cost: float | None = None

    def __sub__(self, earlier: Totals) -> Totals:
        failed = {kind: count - earlier.failed.get(kind, 0) for kind, count in self.failed.items()}
        return Totals(
            requests=self.requests - earlier.requests,
            cached=self.cached - earlier.cached,
            answered=self.answered - earlier.answered,
            failed={kind: count for kind, count in failed.items() if count},
            retried=self.retried - earlier.retried,
            prompt_tokens=self.prompt_tokens - earlier.prompt_tokens,
            completion_tokens=self.completion_tokens - earlier.completion_tokens,
            seconds=self.seconds - earlier.seconds,
            cost=None if self.cost is None else self.cost - (earlier.cost or 0.0),
        )

    def as_dict(self) -> dict[str, Any]:
        """For score files and `--json`."""
        return asdict(self)
