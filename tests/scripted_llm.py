"""A language model that answers by a function of the request, behind the real `Llm`.

Unlike the scripted server (`llm_server.py`) it sees the number of the sample, so that every sample has its own answer whatever
the order of arrival.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reasonembed.llm.client import Llm
from reasonembed.llm.failures import AttemptFailed
from reasonembed.llm.types import Answer, Request


class ScriptedBackend:
    """Answers with a text, an `Answer`, or (None) refuses; earlier requests are answered later, to mix the order up."""

    def __init__(self, script: Callable[[Request], str | Answer | None]) -> None:
        self._script = script
        self.asked: list[Request] = []

    def describe(self):
        return {"model": "scripted"}

    async def answer(self, request: Request) -> Answer:
        self.asked.append(request)
        await asyncio.sleep(0.002 / len(self.asked))
        said = self._script(request)
        if said is None:
            raise AttemptFailed("refused", "scripted")
        return Answer(said) if isinstance(said, str) else said

    async def aclose(self) -> None:
        pass


def scripted(script: Callable[[Request], str | Answer | None]) -> tuple[Llm, list[Request]]:
    """The model, and the list that fills with what it is asked."""
    backend = ScriptedBackend(script)
    return Llm(backend, cache=None), backend.asked
