"""How fast a model runs here, by engine and dtype, and whether the vectors stay the same.

Gets a model and ways to run it (`engine:dtype`), gives one `Measured` each. Every way runs in a process of its own, so that peak
memory is its own; the rounds of all ways alternate, so that a busy machine slows all of them.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reasonembed import data
from reasonembed.errors import DataError, ModelError, ReasonEmbedError
from reasonembed.io.beir import read_beir
from reasonembed.model import mini
from reasonembed.model.checkpoint import Checkpoint, open_checkpoint, with_lengths
from reasonembed.model.engines import DTYPES, ENGINES
from reasonembed.model.tokens import open_tokenizer

Vectors = npt.NDArray[np.float32]

ROUNDS = 3
"""Timed rounds of each way, after one that warms up: the fewest that have a median."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to run a model.

    Attributes:
        way: Engine and dtype as asked for, such as `torch:bfloat16`.
        engine: Engine that ran; empty where it could not.
        dtype: Type of its arithmetic.
        device: Where it ran.
        load_s: Seconds from opening the model to the first vector.
        seconds: Median seconds for all texts.
        texts_per_s: Texts a second.
        tokens_per_s: Tokens a second, special tokens included.
        peak_mb: Peak memory of its process in MB (2**20 bytes).
        lowest_cosine: Lowest cosine of a text's vector to that of the first way that ran.
        mean_cosine: Mean of these cosines.
        problem: Why it could not run; empty where it did.
        runs: Seconds of each round.
    """

    way: str
    engine: str = ""
    dtype: str = ""
    device: str = ""
    load_s: float = 0.0
    seconds: float = 0.0
    texts_per_s: float = 0.0
    tokens_per_s: float = 0.0
    peak_mb: float = 0.0
    lowest_cosine: float = 0.0
    mean_cosine: float = 0.0
    problem: str = ""
    runs: tuple[float, ...] = field(default_factory=tuple)


def packaged_texts(n: int) -> list[str]:
    """The first n texts of the TheoremQA set that ships: its theorems, then its questions.

    Raises:
        DataError: More are asked for than there are.
    """
    task = read_beir(data.theoremqa())
    texts = [document.content for document in task.documents] + [query.text for query in task.queries]
    if not 1 <= n <= len(texts):
        raise DataError(f"{n} texts were asked for, 1 to {len(texts)} are in the package", fix="name a file of texts")
    return texts[:n]


def default_ways(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Ways worth comparing for a model: torch in float32 and bfloat16 on its weights, OpenVINO on its graph."""
    with_torch = checkpoint.gguf_file is not None or any(checkpoint.path.glob("*.safetensors"))
    torch = ("torch:float32", "torch:bfloat16") if with_torch else ()
    return torch + (("openvino:float32", "openvino:bfloat16") if checkpoint.openvino_file is not None else ())


def bench(
    model: str | Path | None, texts: Sequence[str], *, ways: Sequence[str] = (), rounds: int = ROUNDS, **options: Any
) -> list[Measured]:
    """Measure a model in several ways, in alternation.

    Args:
        model: See `Embedder`; None is the small model that ships.
        texts: Documents to embed; every way embeds the same.
        ways: `engine:dtype` each; empty takes `default_ways`. The first that runs is the reference of the cosines.
        rounds: Timed rounds of each way.
        options: `device`, `max_length`, `revision`, `trust_remote_code` of `Embedder`.

    Returns:
        One row a way, in order; a way that cannot run has `problem`.

    Raises:
        DataError: No text, or no round.
        ModelError: An unknown way, or the model cannot be opened.
    """
    if not texts or rounds < 1:
        raise DataError(f"{len(texts)} texts in {rounds} rounds measure nothing", fix="at least one of each")
    checkpoint = _opened(model, options)
    chosen = tuple(ways) or default_ways(checkpoint)
    for way in chosen:
        engine, _, dtype = way.partition(":")
        if engine not in ENGINES or dtype not in DTYPES:
            raise ModelError(f"way {way!r} is unknown. Fix: ENGINE:DTYPE of {', '.join(ENGINES)}; {', '.join(DTYPES)}")
    tokens = _count_tokens(checkpoint, texts)
    workers = [_Worker(way, model, list(texts), options) for way in chosen]
    try:
        for _ in range(rounds):
            for worker in workers:
                worker.round()
        return _measured(workers, len(texts), tokens)
    finally:
        for worker in workers:
            worker.close()


def _opened(model: str | Path | None, options: dict[str, Any]) -> Checkpoint:
    told = {key: value for key, value in options.items() if key in ("revision", "trust_remote_code")}
    checkpoint = open_checkpoint(mini.path() if model is None else model, **told)
    length = options.get("max_length")
    return checkpoint if length is None else with_lengths(checkpoint, length)


def _count_tokens(checkpoint: Checkpoint, texts: Sequence[str]) -> int:
    prompted = [checkpoint.document_prompt + text for text in texts]
    ids, _ = open_tokenizer(checkpoint).encode(prompted, max_length=checkpoint.document_max_length)
    return sum(len(row) for row in ids)


def _measured(workers: Sequence[_Worker], n_texts: int, tokens: int) -> list[Measured]:
    reference = next((worker.vectors for worker in workers if worker.vectors is not None), None)
    rows = []
    for worker in workers:
        if worker.problem or worker.vectors is None or reference is None:
            rows.append(Measured(worker.way, problem=worker.problem))
            continue
        cosines = (worker.vectors.astype(np.float64) * reference).sum(axis=1)
        median = statistics.median(worker.runs)
        rows.append(Measured(
            worker.way, **worker.about, seconds=median, texts_per_s=n_texts / median, tokens_per_s=tokens / median,
            peak_mb=worker.peak_mb, lowest_cosine=float(cosines.min()), mean_cosine=float(cosines.mean()),
            runs=tuple(worker.runs),
        ))  # fmt: skip
    return rows


class _Worker:
    """A process that holds one opened model and embeds the texts when asked."""

    def __init__(self, way: str, model: str | Path | None, texts: list[str], options: dict[str, Any]) -> None:
        self.way, self.problem, self.runs, self.peak_mb = way, "", list[float](), 0.0
        self.about: dict[str, Any] = {}
        self.vectors: Vectors | None = None
        engine, _, dtype = way.partition(":")
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, model, texts, options | {"engine": engine, "dtype": dtype})
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        first = self._receive()
        if first is not None:
            self.about, self.vectors = first

    def round(self) -> None:
        """Time one round, unless the way has failed."""
        if self.problem:
            return
        self._connection.send(True)
        answer = self._receive()
        if answer is not None:
            self.runs.append(answer[0])
            self.peak_mb = answer[1]

    def close(self) -> None:
        """End the process; it is gone when this returns."""
        self._connection.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            self.problem = f"the process ended with exit code {self._process.exitcode}"
            return None
        if isinstance(answer, str):
            self.problem = answer
            return None
        return answer


def _serve(connection: Connection, model: str | Path | None, texts: list[str], options: dict[str, Any]) -> None:
    from reasonembed.encode.embedder import Embedder

    try:
        start = time.perf_counter()
        embedder = Embedder(model, **options)
        embedder.encode_corpus(texts[:1])
        engine = embedder.engine
        about = {"engine": engine.name, "dtype": engine.dtype, "device": engine.device}
        about_timed: dict[str, Any] = about | {"load_s": time.perf_counter() - start}
        connection.send((about_timed, embedder.encode_corpus(texts)))
    except ReasonEmbedError as error:
        connection.send(str(error))
        return
    while True:
        try:
            connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        start = time.perf_counter()
        embedder.encode_corpus(texts)
        connection.send((time.perf_counter() - start, peak_mb()))


def peak_mb() -> float:
    """Peak resident memory of this process, MB; VmHWM where there is one, since ru_maxrss remembers the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
