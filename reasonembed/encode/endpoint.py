"""Vectors from an OpenAI-compatible embeddings server (vLLM, SGLang, Ollama, llama.cpp, TEI, hosted)."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reasonembed.errors import MissingExtraError, ModelError


class Endpoint:
    """An embeddings server; texts are sent as they stand, it adds what it adds.

    Args:
        url: Base URL such as `http://localhost:8000/v1`.
        model: Name to send; None takes the first the server lists.
        timeout: Seconds for one request.

    Raises:
        MissingExtraError: The `openai` client is not installed.
        ModelError: The server does not answer or lists no model.
    """

    def __init__(self, url: str, *, model: str | None = None, timeout: float = 60.0) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingExtraError("openai", "synth", "talking to an embeddings server") from error
        self.url = url
        self._client = openai.OpenAI(
            base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"), timeout=timeout, max_retries=2
        )
        self.model = model or self._first_model()

    def _first_model(self) -> str:
        import openai

        try:
            names = [item.id for item in self._client.models.list().data]
        except openai.OpenAIError as error:
            raise ModelError(
                f"{self.url}: the server does not list its models: {error}. Fix: check the URL (it ends in /v1), or name the model"
            ) from error
        if not names:
            raise ModelError(f"{self.url}: the server lists no model. Fix: name one")
        return str(names[0])

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of texts as the server gives them, (n, dim) float32, not normalised here.

        Raises:
            ModelError: The server refuses, or answers with another number of vectors or with widths that differ.
        """
        import openai

        try:
            answer = self._client.embeddings.create(model=self.model, input=list(texts))
        except openai.OpenAIError as error:
            raise ModelError(f"{self.url}: no vectors from model {self.model!r}: {error}") from error
        rows = [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]
        if len(rows) != len(texts) or len({len(row) for row in rows}) != 1:
            raise ModelError(
                f"{self.url}: {len(rows)} vectors of widths {sorted({len(row) for row in rows})} for {len(texts)} texts"
            )
        return np.array(rows, dtype=np.float32)
