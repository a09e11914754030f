"""A scripted OpenAI-compatible server that speaks real HTTP: it answers, refuses, stalls and breaks as its script says.

    with LlmServer(script) as server:      # in a thread of this process
        open_llm(server.url, cache=None)   # then server.asked, server.paid
    with llm_server_process(latency=0.1) as url: ...   # in a process of its own, always answering

A script is a function of `Asked`, so that an answer is a pure function of the request and a fault a function of the
attempt. `paid` counts whole answers that left with status 200, as a bill would.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request as the server sees it.

    Attributes:
        prompt: Text of the last message.
        body: The whole JSON body.
        attempt: How often this body was asked, from 1.
        headers: Names in lower case.
    """

    prompt: str
    body: dict[str, Any]
    attempt: int
    headers: dict[str, str]


@dataclass(frozen=True)
class Act:
    """What the server does.

    Attributes:
        text: Content of the answer; empty is an answer without text.
        message: Further fields of the message, such as `reasoning_content`.
        choice: Further fields of the choice, such as `logprobs` or `finish_reason`.
        status: Other than 200 sends an error instead.
        error: Its message.
        headers: Further headers, such as `Retry-After`.
        seconds: Wait before anything is sent.
        raw: Sent as the body instead of JSON, whole and well announced.
        cut: Announce the whole body, send half of it, and hang up.
        drop: Hang up without a word.
    """

    text: str = ""
    message: dict[str, Any] = field(default_factory=dict)
    choice: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    error: str = "scripted"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    raw: bytes | None = None
    cut: bool = False
    drop: bool = False


Script = Callable[[Asked], Act]


def echo(asked: Asked) -> Act:
    """The answer of an undisturbed server."""
    return Act(text=f"answer to {asked.prompt}")


def faulty(*acts: Act, then: Script = echo) -> Script:
    """The first attempts of every request get these; the next is answered."""
    return lambda asked: acts[asked.attempt - 1] if asked.attempt <= len(acts) else then(asked)


CUT_JSON = Act(raw=b'{"id": "1", "object": "chat.completion", "choices": [{"message": {"content": "half an ans')


class LlmServer:
    """The server in a thread, a context manager.

    Attributes:
        asked: Prompt -> requests.
        paid: Prompt -> whole answers sent.
        bodies: Of all requests, in order of arrival, while `keep_bodies`.
        peak: Most requests at once.
    """

    def __init__(self, script: Script = echo, *, models: tuple[str, ...] = ("scripted",), keep_bodies: bool = True):
        self.script, self.models, self._keep = script, models, keep_bodies
        self.asked: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.peak = self._now = 0
        self._attempts: Counter[bytes] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> LlmServer:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(ready)), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _main(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its response; False ends the connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        if head[0].startswith("GET"):
            listed = [{"id": name, "object": "model"} for name in self.models]
            await self._send(writer, Act(), json.dumps({"object": "list", "data": listed}).encode())
            return True
        body = json.loads(raw)
        prompt = str(body["messages"][-1]["content"])
        self.asked[prompt] += 1
        self._attempts[raw] += 1
        if self._keep:
            self.bodies.append(body)
            self.headers.append(headers)
        act = self.script(Asked(prompt, body, self._attempts[raw], headers))
        self._now += 1
        self.peak = max(self.peak, self._now)
        try:
            await asyncio.sleep(act.seconds)
        finally:
            self._now -= 1
        if act.drop:
            return False
        await self._send(writer, act, _payload(act, body))
        self.paid[prompt] += act.status == 200 and act.raw is None and not act.cut and bool(act.text)
        return not act.cut

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, act: Act, payload: bytes) -> None:
        headers = {"Content-Type": "application/json", "Content-Length": str(len(payload)), **act.headers}
        lines = [f"HTTP/1.1 {act.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
        shown = payload[: len(payload) // 2] if act.cut else payload
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + shown)
        await writer.drain()


def _payload(act: Act, body: dict[str, Any]) -> bytes:
    if act.raw is not None:
        return act.raw
    if act.status != 200:
        return json.dumps({"error": {"message": act.error, "type": "scripted"}}).encode()
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": act.text, **act.message}}
    words = sum(len(message["content"].split()) for message in body["messages"])
    usage = {"prompt_tokens": words, "completion_tokens": len(act.text.split())}
    usage["total_tokens"] = sum(usage.values())
    whole = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "usage": usage}
    return json.dumps({**whole, "choices": [{**choice, **act.choice}]}).encode()


@contextlib.contextmanager
def llm_server_process(latency: float = 0.0) -> Iterator[str]:
    """The server in a process of its own, answering everything after `latency` seconds; yields its URL."""
    command = [sys.executable, str(Path(__file__).resolve()), str(latency)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    wait = float(sys.argv[1])
    slow = LlmServer(lambda asked: Act(text=f"answer to {asked.prompt}", seconds=wait), keep_bodies=False)
    with slow:
        sys.stdout.write(f"{slow.url}\n")
        sys.stdout.flush()
        sys.stdin.read()  # until the parent closes it
