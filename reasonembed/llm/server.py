"""One attempt at an OpenAI-compatible server (vLLM, SGLang, Ollama, llama.cpp, hosted): chat completions.

The answer is read from the raw JSON, for servers differ in where they put the reasoning, and a broken answer has to
be told from a broken connection. The API key is sent and kept nowhere else.
"""

from __future__ import annotations

import json
import os
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from reasonembed.errors import DataError, LlmError, MissingExtraError
from reasonembed.llm.answers import strip_thinking
from reasonembed.llm.failures import AttemptFailed, retry_after
from reasonembed.llm.types import Answer, Request, Sampling, TokenChoice

_CONNECT_S = 10.0
_LIST_S = 30.0
_RETRIED = (408, 409, 429)
_HOPELESS = (401, 404)
"""A wrong key; a wrong URL or model: no other request fares better."""


class ServerBackend:
    """A backend (see `types.Backend`) over the `openai` client, whose own retries are off.

    Args:
        url: Base URL such as `http://localhost:8000/v1`.
        model: Name to send; None takes the only one that the server lists.
        api_key: None takes `$OPENAI_API_KEY`; servers without keys get a placeholder.

    Raises:
        DataError: The URL is none.
        MissingExtraError: The `openai` client is not installed.
        LlmError: No model was named, and the server is not there or lists none or several.
    """

    def __init__(self, url: str, *, model: str | None = None, api_key: str | None = None) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingExtraError("openai", "synth", "talking to a model server") from error
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"{url!r} is no URL of a server", fix="such as http://localhost:8000/v1")
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._key = api_key or os.environ.get("OPENAI_API_KEY", "")
        options: dict[str, Any] = {"base_url": url, "api_key": self._key or "none", "max_retries": 0}
        if model is None:
            with openai.OpenAI(**options, timeout=_LIST_S) as client:
                model = self._only_model(client)
        self.model = model
        self._client = openai.AsyncOpenAI(**options, timeout=openai.Timeout(None, connect=_CONNECT_S))
        self._limit_name = "max_tokens"

    def _only_model(self, client: Any) -> str:
        import openai

        try:
            names = sorted(item.id for item in client.models.list().data or ())
        except (openai.OpenAIError, ValueError, AttributeError) as error:
            raise LlmError(
                f"{self._shown}: the server does not list its models: {self._scrubbed(str(error))}. "
                "Fix: check the URL (it often ends in /v1) and the API key, or name the model"
            ) from None
        if len(names) != 1:
            listed = ", ".join(names[:20]) or "none"
            raise LlmError(f"{self._shown}: one model was expected, the server lists {listed}. Fix: name one")
        return str(names[0])

    def describe(self) -> Mapping[str, Any]:
        """The model's name; where it runs does not change what it says."""
        return {"kind": "server", "model": self.model}

    async def answer(self, request: Request) -> Answer:
        """Ask once.

        Raises:
            AttemptFailed: With the kind of `types.Failure`.
        """
        import openai

        started = time.monotonic()
        try:
            raw = await self._client.chat.completions.with_raw_response.create(**self._fields(request))
            body = json.loads(raw.http_response.content)
        except openai.APIStatusError as error:
            if self._renamed_limit(error):
                return await self.answer(request)
            raise self._refused(error) from None
        except openai.APITimeoutError as error:
            raise AttemptFailed("timeout", "cannot connect in time", retry=True, hopeless=True) from error
        except openai.APIConnectionError as error:
            reason = self._scrubbed(f"{error} {error.__cause__ or ''}")
            raise AttemptFailed("connection", reason, retry=True, hopeless=True) from None
        except ValueError as error:
            raise AttemptFailed("malformed", f"the answer is no JSON: {error}", retry=True) from None
        return self._read(body, time.monotonic() - started)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _fields(self, request: Request) -> dict[str, Any]:
        """What is sent."""
        sampling = request.sampling
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            self._limit_name: sampling.max_tokens,
        }
        for name in ("temperature", "top_p", "seed"):
            if (value := getattr(sampling, name)) is not None:
                fields[name] = value
        if sampling.stop:
            fields["stop"] = list(sampling.stop)
        if sampling.top_logprobs:
            fields |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
        if sampling.schema is not None:
            schema = {"name": "answer", "schema": dict(sampling.schema), "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        if extra := _extra(sampling):
            fields["extra_body"] = extra
        return fields

    def _renamed_limit(self, error: Any) -> bool:
        """OpenAI's newer models call the limit otherwise; True, once, where this one does."""
        new = "max_completion_tokens"
        if error.status_code != 400 or self._limit_name == new or new not in str(error):
            return False
        self._limit_name = new
        return True

    def _refused(self, error: Any) -> AttemptFailed:
        status = error.status_code
        kind = (
            "overloaded" if status == 429 else "server" if status >= 500 else "timeout" if status == 408 else "refused"
        )
        return AttemptFailed(
            kind,
            self._scrubbed(f"HTTP {status}: {error.message}"),
            retry=status in _RETRIED or status >= 500,
            after=retry_after(error.response.headers),
            hopeless=status in _HOPELESS,
        )

    def _scrubbed(self, text: str) -> str:
        """Without the key, which some servers repeat."""
        return text.replace(self._key, "***") if self._key else text

    def _read(self, body: Any, seconds: float) -> Answer:
        """The answer in a response body."""
        try:
            choice, usage = body["choices"][0], body.get("usage") or {}
            message = choice["message"]
            written, apart = (
                message.get("content") or "",
                message.get("reasoning_content") or message.get("reasoning") or "",
            )
            text, thought = strip_thinking(written)
            answer = Answer(
                text=text,
                reasoning="\n".join(part for part in (str(apart).strip(), thought) if part),
                finish_reason=str(choice.get("finish_reason") or "stop"),
                prompt_tokens=int(usage.get("prompt_tokens") or 0),
                completion_tokens=int(usage.get("completion_tokens") or 0),
                seconds=seconds,
                tokens=_tokens(choice.get("logprobs")),
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            if isinstance(body, dict) and body.get("error"):
                raise AttemptFailed("server", self._scrubbed(str(body["error"])), retry=True) from None
            shown = self._scrubbed(json.dumps(body)[:200])
            raise AttemptFailed("malformed", f"no chat completion: {shown}", retry=True) from None
        if answer.text or answer.reasoning:
            return answer
        if answer.finish_reason == "content_filter":
            raise AttemptFailed("refused", "the server's content filter removed the answer")
        raise AttemptFailed("empty", f"an answer without text (finish reason {answer.finish_reason})", retry=True)


def _extra(sampling: Sampling) -> dict[str, Any]:
    """Settings that OpenAI does not have and many servers do."""
    names = ("top_k", "repetition_penalty")
    return {name: value for name in names if (value := getattr(sampling, name)) is not None}


def _tokens(logprobs: Any) -> tuple[TokenChoice, ...]:
    return tuple(
        TokenChoice(
            str(item["token"]),
            float(item["logprob"]),
            tuple((str(other["token"]), float(other["logprob"])) for other in item.get("top_logprobs") or ()),
        )
        for item in (logprobs or {}).get("content") or ()
    )
