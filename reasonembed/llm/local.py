"""A local GGUF file or OpenVINO folder as a backend, in this process: openvino-genai with continuous batching.

Requests join the running batch as they come and leave it as they finish, in a thread of its own that loads the model at
the first request. The engine reports the log-probability of the chosen token only; the alternatives of an answer of one token
are found by drawing it many times, which costs nothing beside reading the prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import itertools
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasonembed.errors import MissingExtraError, ModelError
from reasonembed.llm.answers import strip_thinking
from reasonembed.llm.cache import canonical
from reasonembed.llm.failures import AttemptFailed
from reasonembed.llm.gguf import read_gguf_header
from reasonembed.llm.prefixes import Prefixes, blocks_of
from reasonembed.llm.types import Answer, Request, TokenChoice
from reasonembed.openvino_runtime import import_openvino

logger = logging.getLogger(__name__)

BATCHED_TOKENS = 1024
"""Tokens of one step, prompts and generation together: 54 generated tokens/s beside 165 read against 51 and 150 with 256
(Qwen2.5-1.5B, 32 prompts of 222 tokens, two cores without AMX)."""
DRAWS = 64
"""Draws of a one-token answer whose alternatives are wanted: a token of probability p is missed with (1 - p)**64, so one of 5% in
a run of 27. The log-probabilities themselves are exact."""
DRAWN_FROM = 50
"""Likeliest tokens that are drawn from, so that the draws are not spent on a long tail."""
_GRAPHS = ("openvino_model.xml", "openvino_tokenizer.xml", "openvino_detokenizer.xml")


@dataclass(eq=False, slots=True)
class _Job:
    """A request in the engine, its token ids (1, n), and where its outcome goes."""

    request: Request
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Answer]
    ids: Any = None
    blocks: tuple[int, ...] = ()
    handle: Any = None
    started: float = field(default_factory=time.monotonic)

    @property
    def prompt_tokens(self) -> int:
        return int(self.ids.shape[1])

    def resolve(self, outcome: Answer | Exception) -> None:
        """From the engine's thread: hand the outcome to the event loop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(self._set, outcome)

    def _set(self, outcome: Answer | Exception) -> None:
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class LocalBackend:
    """A backend (see `types.Backend`) in this process. It sees nothing but the file or folder: no network.

    The cache of attention states takes at most a quarter of the machine's memory, between 1 and 8 GB; prompts that begin
    alike share theirs, those that come together too (`llm.prefixes`).

    Args:
        path: A `.gguf` file, or a folder with an exported OpenVINO model and its tokenizer.

    Raises:
        MissingExtraError: openvino-genai is not installed.
        ModelError: The file or folder is no such model.
    """

    def __init__(self, path: Path | str) -> None:
        if importlib.util.find_spec("openvino_genai") is None:
            raise MissingExtraError("openvino_genai", "local-llm", "running a language model in this process")
        self.path = Path(path)
        self.context_length = _context_length(self.path)
        self.cache_gb = _cache_gb()
        self._description = {"kind": "local", "model": self.path.name, "fingerprint": _fingerprint(self.path)}
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def describe(self) -> Mapping[str, Any]:
        """The file's name and a fingerprint of its content."""
        return {**self._description, "engine": "openvino-genai"}

    async def answer(self, request: Request) -> Answer:
        """Generate once; several calls run as one batch.

        Raises:
            AttemptFailed: `refused` for a prompt that is too long, or for alternatives of an answer of several tokens.
            ModelError: The model cannot be loaded.
        """
        if request.sampling.top_logprobs and request.sampling.max_tokens > 1:
            raise AttemptFailed(
                "refused",
                f"a local model gives top_logprobs for one token, max_tokens is {request.sampling.max_tokens}. "
                "Fix: max_tokens=1, top_logprobs=0, or a server",
            )
        loop = asyncio.get_running_loop()
        job = _Job(request, loop, loop.create_future())
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="llm-local", daemon=True)
            self._thread.start()
        self._inbox.put(job)
        return await job.future

    async def aclose(self) -> None:
        """End the thread and let go of the model."""
        if self._thread is not None:
            self._inbox.put(None)
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        """The engine's thread."""
        engine: _Engine | None = None
        while True:
            arrived, closed = self._arrivals(block=engine is None or not engine.jobs())
            if closed:
                return
            try:
                engine = engine or _Engine(self.path, self.cache_gb, self.context_length)
            except Exception as error:
                for job in arrived:
                    job.resolve(ModelError(f"{self.path}: cannot be loaded: {error}. Fix: fetch or export it again"))
                continue
            for job in arrived:
                engine.add(job)
            try:
                engine.step()
            except Exception as error:  # it may be in any state: a new one for the next request
                for job in engine.jobs():
                    job.resolve(AttemptFailed("server", f"the engine failed: {error}", retry=True))
                engine = None

    def _arrivals(self, *, block: bool) -> tuple[list[_Job], bool]:
        """Jobs that have come, and whether the end has."""
        jobs: list[_Job] = []
        while True:
            try:
                job = self._inbox.get(block=block and not jobs)
            except queue.Empty:
                return jobs, False
            if job is None:
                return jobs, True
            jobs.append(job)


class _Engine:
    """The pipeline with the jobs that are in it; all calls from one thread."""

    def __init__(self, path: Path, cache_gb: int, context_length: int | None) -> None:
        import_openvino()
        import openvino_genai

        self._genai = openvino_genai
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching = True
        scheduler.cache_size = cache_gb
        scheduler.max_num_batched_tokens = BATCHED_TOKENS
        self._cache_gb, self._context_length = cache_gb, context_length
        started = time.monotonic()
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(str(path), scheduler, "CPU", {}, {})
        self._tokenizer = self._pipeline.get_tokenizer()
        logger.info("%s loaded in %.1f s, cache of %d GB", path, time.monotonic() - started, cache_gb)
        self._numbers = itertools.count()
        self._prefixes = Prefixes()
        self._waiting: list[_Job] = []
        self.running: dict[int, _Job] = {}

    def jobs(self) -> list[_Job]:
        """Those in the batch and those that wait to join it."""
        return [*self.running.values(), *self._waiting]

    def add(self, job: _Job) -> None:
        """Put a job into the batch, at once or when what it begins with has been read, or refuse it."""
        try:
            job.ids = self._prompt(job.request)
            room = None if self._context_length is None else self._context_length - job.request.sampling.max_tokens
            if room is not None and job.prompt_tokens > room:
                raise AttemptFailed(
                    "refused",
                    f"prompt of {job.prompt_tokens} tokens, the limit is {room}: the model's {self._context_length} less "
                    f"max_tokens={job.request.sampling.max_tokens}. Fix: a shorter prompt or answer",
                )
            job.blocks = blocks_of(job.ids.data[0].tolist())
        except AttemptFailed as error:
            job.resolve(error)
        except Exception as error:
            job.resolve(AttemptFailed("refused", f"the engine refuses the request: {error}"))
        else:
            self._waiting.append(job)

    def _admit(self) -> None:
        """Start those that wait, in their order, but for those that begin like a prompt that is being read."""
        waiting, self._waiting = self._waiting, []
        for job in waiting:
            if job.future.cancelled():
                continue
            if self._prefixes.must_wait(job.blocks):
                self._waiting.append(job)
                continue
            number = next(self._numbers)
            try:
                job.handle = self._pipeline.add_request(number, job.ids, self._config(job.request))
            except Exception as error:
                job.resolve(AttemptFailed("refused", f"the engine refuses the request: {error}"))
            else:
                self.running[number] = job
                self._prefixes.begin(number, job.blocks)

    def step(self) -> None:
        """One token for every job in the batch; those that are done leave it, and those that nobody waits for."""
        for number in [number for number, job in self.running.items() if job.future.cancelled()]:
            self.running.pop(number).handle.cancel()  # it must not be read any more
            self._prefixes.end(number, read=False)
        self._admit()
        if not self.running:
            return
        self._pipeline.step()
        status = self._genai.GenerationStatus
        for number, job in self.running.items():
            if job.handle.can_read():  # it has a first token: the prompt is read
                self._prefixes.end(number, read=True)
        done = {number: job for number, job in self.running.items() if job.handle.get_status() != status.RUNNING}
        for number, job in done.items():
            self._prefixes.end(number, read=False)
            if job.handle.get_status() == status.IGNORED:
                job.resolve(AttemptFailed("refused", f"the request does not fit the cache of {self._cache_gb} GB"))
            else:
                self._read(job)
        self.running = {number: job for number, job in self.running.items() if number not in done}
        if done:
            time.sleep(0.001)  # a step holds the interpreter: let the other threads send the next requests

    def _prompt(self, request: Request) -> Any:
        """Token ids (1, n) of the chat in the model's own template; an assistant's turn at the end begins the answer."""
        *chat, last = [{"role": message.role, "content": message.content} for message in request.messages]
        begun = last["content"] if last["role"] == "assistant" else None
        written = self._tokenizer.apply_chat_template([*chat, last] if begun is None else chat, True) + (begun or "")
        return self._tokenizer.encode([written], add_special_tokens=False).input_ids

    def _config(self, request: Request) -> Any:
        sampling = request.sampling
        config = self._pipeline.get_config()  # the model's own end tokens; its sampling is replaced
        config.max_new_tokens = sampling.max_tokens
        config.do_sample = sampling.temperature is None or sampling.temperature > 0
        if config.do_sample:
            config.temperature = 1.0 if sampling.temperature is None else sampling.temperature
            config.top_p = 1.0 if sampling.top_p is None else sampling.top_p
            if sampling.top_k is not None:
                config.top_k = sampling.top_k
            config.rng_seed = _seed(request)
        if sampling.top_logprobs:  # drawn as the model would: its log-probabilities are those after temperature
            config.do_sample, config.temperature, config.top_p, config.top_k = True, 1.0, 1.0, DRAWN_FROM
            config.num_return_sequences, config.logprobs, config.rng_seed = DRAWS, 1, _seed(request)
        config.repetition_penalty = 1.0 if sampling.repetition_penalty is None else sampling.repetition_penalty
        config.stop_strings = set(sampling.stop)
        if sampling.schema is not None:
            schema = json.dumps(dict(sampling.schema))
            config.structured_output_config = self._genai.StructuredOutputConfig(json_schema=schema)
        return config

    def _read(self, job: _Job) -> None:
        outputs = job.handle.read_all()
        ids = list(outputs[0].generated_ids) if outputs else []
        top: tuple[tuple[str, float], ...] = ()
        if job.request.sampling.top_logprobs:
            drawn = {tuple(output.generated_ids): float(output.generated_log_probs[0]) for output in outputs}
            ranked = sorted(drawn.items(), key=lambda item: (-item[1], item[0]))[: job.request.sampling.top_logprobs]
            ids = list(ranked[0][0])
            top = tuple((self._tokenizer.decode(list(token)), logprob) for token, logprob in ranked)
        text, thought = strip_thinking(self._tokenizer.decode(ids))
        if not text and not thought and not top:
            job.resolve(AttemptFailed("empty", "an answer without text"))  # the same seed would give it again
            return
        cut = outputs[0].finish_reason == self._genai.GenerationFinishReason.LENGTH
        job.resolve(
            Answer(
                text=text,
                reasoning=thought,
                finish_reason="length" if cut else "stop",
                prompt_tokens=job.prompt_tokens,
                completion_tokens=len(ids),
                seconds=time.monotonic() - job.started,
                tokens=(TokenChoice(*top[0], top),) if top else (),
            )
        )


def _seed(request: Request) -> int:
    """The request's seed; without one, a number of its own for every request and sample, the same every time."""
    if request.sampling.seed is not None:
        return request.sampling.seed
    asked = canonical(([(message.role, message.content) for message in request.messages], request.sample))
    return int.from_bytes(hashlib.sha256(asked.encode("ascii")).digest()[:4], "little")


def _cache_gb() -> int:
    """A quarter of the memory, from 1 to 8 GB; 2 where the system does not tell."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2
    return max(1, min(8, memory // 4 // 2**30))


def _fingerprint(path: Path) -> str:
    """SHA-256 over sizes and 64 pieces of 64 KiB, evenly spread: enough to tell weights apart, and quick for any size."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.glob("openvino_*")):
        size = file.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with file.open("rb") as data:
            for place in range(0, size, max(size // 64, 2**16)):
                data.seek(place)
                digest.update(data.read(2**16))
    return digest.hexdigest()[:32]


def _context_length(path: Path) -> int | None:
    """Longest text of a model, tokens; None where its files do not say.

    Raises:
        ModelError: The files are no model that can be opened.
    """
    if path.is_dir():
        if missing := [name for name in _GRAPHS if not (path / name).is_file()]:
            raise ModelError(f"{path}: {missing[0]} is missing. Fix: export with optimum-cli, tokenizer included")
        with contextlib.suppress(OSError, ValueError):
            length = json.loads((path / "config.json").read_text("utf-8")).get("max_position_embeddings")
            return length if isinstance(length, int) else None
        return None
    return read_gguf_header(path).context_length
