"""The nouns of talking to a language model: a request, its answer or its failure, and what was spent.

They know no server and no file. A request with equal content is the same request, whoever makes it and when: that is what
the cache goes by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn; None leaves a setting to the server.

    Attributes:
        temperature: At least 0; 0 is greedy.
        top_p: In (0, 1].
        top_k: Tokens considered; not every server knows it.
        repetition_penalty: 1.0 is none; not every server knows it.
        max_tokens: Longest answer, tokens.
        stop: Texts that end an answer.
        seed: For servers that can repeat an answer.
        top_logprobs: Alternatives wanted for each generated token with their log-probabilities; 0 is none. A local model gives
            them for answers of one token (`max_tokens=1`).
        schema: JSON schema of the answer (structured output), for servers that have it.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_logprobs: int = 0
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Attributes:
        messages: The chat, ending with the user's turn; a local model also goes on with an assistant's turn at the end.
        sampling: How the answer is drawn.
        sample: Number of this sample where the same question is asked several times; part of the cache key, so that
            K samples are K answers.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    sample: int = 0


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """A generated token with its alternatives.

    Attributes:
        token: Its text.
        logprob: Its natural log-probability.
        top: Alternatives at this place with theirs, the token itself often among them.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        text: The answer without its reasoning.
        reasoning: What the model thought before: a think block, or what the server gave apart; empty if nothing.
        finish_reason: `stop`, or `length` where the answer was cut at `max_tokens`.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens generated, reasoning included.
        seconds: From sending to the last token, of the attempt that succeeded.
        cached: It was not paid for this time.
        tokens: With log-probabilities, where they were asked for.
    """

    text: str
    reasoning: str = ""
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cached: bool = False
    tokens: tuple[TokenChoice, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer.

    Attributes:
        kind: `refused` (4xx), `overloaded` (429), `server` (5xx), `timeout`, `connection`, `malformed`, `empty`.
        detail: What the server said, cut to a line.
        attempts: How often it was tried.
    """

    kind: str
    detail: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A request with what became of it.

    Attributes:
        index: Place of the request in what was asked, from 0.
        request: What was asked.
        answer: None if it failed.
        failure: None if it was answered.
    """

    index: int
    request: Request
    answer: Answer | None = None
    failure: Failure | None = None


class Backend(Protocol):
    """What generates: a server, or a model in this process. One attempt, no retries, no cache."""

    def describe(self) -> Mapping[str, Any]:
        """What decides the answers beside the request (model, not the address); part of the cache key."""
        ...

    async def answer(self, request: Request) -> Answer:
        """Generate once.

        Raises:
            AttemptFailed: Of `llm.failures`; it says whether trying again may help, and when.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections and threads."""
        ...


def user(text: str, *, system: str | None = None, sampling: Sampling | None = None, sample: int = 0) -> Request:
    """The usual request: one question, perhaps a system message before it."""
    before: Sequence[Message] = (Message("system", system),) if system is not None else ()
    return Request((*before, Message("user", text)), sampling or Sampling(), sample)
