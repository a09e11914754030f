"""A language model from where it is: the URL of a server, or a local file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reasonembed.errors import DataError
from reasonembed.llm.cache import default_cache
from reasonembed.llm.client import TIMEOUT, Llm
from reasonembed.llm.totals import Price
from reasonembed.llm.types import Backend

_URLS = ("http://", "https://")
LOCAL_TIMEOUT = 6 * 3600.0
"""Seconds for an answer of a model in this process, which cannot be lost on the way: 32 requests share what
the cores generate, and an answer may have thousands of tokens."""


def open_llm(
    place: str | Path,
    *,
    model: str | None = None,
    api_key: str | None = None,
    cache: Path | str | Literal[True] | None = True,
    concurrency: int | None = None,
    price: Price | None = None,
) -> Llm:
    """Open a language model.

    Args:
        place: URL of an OpenAI-compatible server (`http://localhost:8000/v1`), or a `.gguf` file, or a folder with an
            OpenVINO model, both run in this process.
        model: Name that a server knows it by; None takes the only one it has.
        api_key: Of a server; None takes `$OPENAI_API_KEY`.
        cache: SQLite file of answers; True is `llm.sqlite` in `$REASONEMBED_CACHE` or `~/.cache/reasonembed`; None
            keeps none.
        concurrency: Requests under way at once; None is 32.
        price: Gives `totals.cost`.

    Raises:
        DataError: Neither a URL nor a model file or folder.
        MissingExtraError: The client or the engine is not installed.
        LlmError: The server cannot be asked for its model.
        ModelError: The local model cannot be opened.
    """
    backend = _backend(str(place), model, api_key)
    where = default_cache() if cache is True else cache
    limit = TIMEOUT if str(place).startswith(_URLS) else LOCAL_TIMEOUT
    return Llm(backend, cache=where, concurrency=concurrency, price=price, timeout=limit)


def _backend(place: str, model: str | None, api_key: str | None) -> Backend:
    if place.startswith(_URLS):
        from reasonembed.llm.server import ServerBackend

        return ServerBackend(place, model=model, api_key=api_key)
    if not Path(place).exists():
        raise DataError(
            f"{place!r} is neither a URL nor a file", fix="http://HOST/v1, a .gguf file, or an OpenVINO folder"
        )
    if model is not None or api_key is not None:
        raise DataError("a local model takes no model name and no API key", fix="leave them out")
    from reasonembed.llm.local import LocalBackend

    return LocalBackend(place)
