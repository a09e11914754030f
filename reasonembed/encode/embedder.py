"""`Embedder`: texts in, unit vectors out, whatever the checkpoint and the engine.

Everything a text needs before the engine (prompt, tokens, truncation that keeps EOS) and after it (layers behind the pooling,
truncate_dim, L2 norm) is here, once.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError, ModelError
from reasonembed.io.manifest import fingerprint
from reasonembed.model import mini
from reasonembed.model.checkpoint import Checkpoint, open_checkpoint, with_lengths
from reasonembed.model.engines import Engine, open_engine
from reasonembed.model.fingerprint import weights_fingerprint
from reasonembed.model.head import l2_normalise
from reasonembed.model.tokens import open_tokenizer
from reasonembed.progress import progress_bar
from reasonembed.protocols import instruction_for

logger = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]
_Result = TypeVar("_Result")

CHUNK = 4096
"""Texts tokenised at a time: bounds memory, and texts of one length find each other within it."""

STEP_TOKENS = 16_384
"""Tokens that go to the engine at a time, in texts of like length: what a progress bar advances by."""


class Embedder:
    """A model directory as an embedder.

    Args:
        name_or_path: Directory, `.gguf` file or hub name; None is the small model that ships with the package.
        engine: `auto`, `torch` or `openvino`.
        device: Such as `cpu`, `cuda:0`; None takes the best there is.
        dtype: `auto` (bfloat16 where the hardware multiplies it, else float32), `float32`, `bfloat16`, `float16`.
        max_length: Limit in tokens for queries and documents alike; None takes the checkpoint's own.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Let Python inside the model directory run.
        pooling: Overrides the checkpoint's pooling, such as `last`, `mean`, `cls`.
        query_format: Overrides the format of instruction and query, two `{}`.
        instruction: Overrides the default instruction of queries.
        append_eos: Whether every text ends in EOS, where the checkpoint does not say.
        truncate_dim: Keep this many leading dimensions (Matryoshka models), then normalise.
        normalize: False leaves vectors as the model gives them.

    Raises:
        ModelError: The directory cannot be opened, or would give wrong vectors; the message says why and what to do.
        MissingExtraError: An optional package is missing.

    Example:
        >>> from reasonembed import Embedder
        >>> embedder = Embedder()
        >>> queries = embedder.encode_queries(["Which eigenvalues has [[5, 4], [1, 2]]?"])
        >>> documents = embedder.encode_corpus(["An eigenvector keeps its direction.", "A poem about rain."])
        >>> (queries @ documents.T).shape
        (1, 2)
    """

    def __init__(
        self,
        name_or_path: str | Path | None = None,
        *,
        engine: str = "auto",
        device: str | None = None,
        dtype: str = "auto",
        max_length: int | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        pooling: str | None = None,
        query_format: str | None = None,
        instruction: str | None = None,
        append_eos: bool | None = None,
        truncate_dim: int | None = None,
        normalize: bool = True,
    ) -> None:
        told = {
            "pooling": None if pooling is None else (pooling,), "query_format": query_format,
            "instruction": instruction, "append_eos": append_eos,
        }  # fmt: skip
        checkpoint = open_checkpoint(
            mini.path() if name_or_path is None else name_or_path,
            revision=revision,
            trust_remote_code=trust_remote_code,
            **told,
        )
        self.checkpoint: Checkpoint = checkpoint if max_length is None else with_lengths(checkpoint, max_length)
        self.tokenizer = open_tokenizer(self.checkpoint)
        self.engine: Engine = open_engine(self.checkpoint, engine=engine, device=device, dtype=dtype)
        self._heads = [head.load() for head in self.checkpoint.heads]
        width = int(self._after_pooling(np.ones((1, self.engine.dim), np.float32)).shape[1])
        if truncate_dim is not None and not 1 <= truncate_dim <= width:
            raise ModelError(f"truncate_dim {truncate_dim} is outside 1..{width}, the width of {self.checkpoint.name}")
        self.truncate_dim = truncate_dim
        self.normalize = normalize
        self.dim = truncate_dim or width
        self.n_truncated = 0
        self._fingerprint: str | None = None

    # --- encoding ------------------------------------------------------------------------------------------------------

    def encode_queries(
        self,
        queries: str | Sequence[str],
        *,
        instruction: str | None = None,
        task: str | None = None,
        max_length: int | None = None,
        progress: bool = False,
    ) -> Vectors:
        """Embed queries with their instruction.

        Args:
            queries: One query or many.
            instruction: What the task is, put into the checkpoint's format; "" for none at all; None takes that of `task`,
                else the checkpoint's default.
            task: `benchmark/name` such as `bright/biology`, looked up in `reasonembed.protocols` where the model takes
                instructions.
            max_length: Limit in tokens; None takes the checkpoint's for queries.
            progress: Show a progress bar.

        Returns:
            (n, dim) float32 with rows of unit length, in order; (dim,) for a single str.
        """
        prompt = self.query_prompt(instruction, task=task)
        return self._encode(queries, prompt, max_length or self.checkpoint.query_max_length, progress, "queries")

    def encode_corpus(
        self, documents: str | Sequence[str], *, max_length: int | None = None, progress: bool = False
    ) -> Vectors:
        """Embed documents.

        Args:
            documents: One document or many.
            max_length: Limit in tokens; None takes the checkpoint's for documents.
            progress: Show a progress bar.

        Returns:
            (n, dim) float32 with rows of unit length, in order; (dim,) for a single str.
        """
        prompt = (self.checkpoint.document_prompt, "")
        return self._encode(documents, prompt, max_length or self.checkpoint.document_max_length, progress, "documents")

    def encode(self, texts: str | Sequence[str], *, max_length: int | None = None, progress: bool = False) -> Vectors:
        """Embed texts as they are, with the checkpoint's default prompt if it has one.

        Args:
            texts: One text or many.
            max_length: Limit in tokens; None takes the checkpoint's for documents.
            progress: Show a progress bar.

        Returns:
            (n, dim) float32 with rows of unit length, in order; (dim,) for a single str.
        """
        prompt = (self.checkpoint.default_prompt, "")
        return self._encode(texts, prompt, max_length or self.checkpoint.document_max_length, progress, "texts")

    def similarity(self, a: Vectors, b: Vectors) -> Vectors:
        """Cosines of every row of `a` with every row of `b`: (n, dim), (m, dim) -> (n, m) float32."""
        left, right = l2_normalise(np.atleast_2d(a)), l2_normalise(np.atleast_2d(b))
        scores: Vectors = left @ right.T
        return scores

    # --- Sentence Transformers' names -----------------------------------------------------------------------------------

    def encode_query(self, queries: str | Sequence[str], **options: Any) -> Vectors:
        """`encode_queries` under Sentence Transformers' name."""
        return self.encode_queries(queries, **options)

    def encode_document(self, documents: str | Sequence[str], **options: Any) -> Vectors:
        """`encode_corpus` under Sentence Transformers' name."""
        return self.encode_corpus(documents, **options)

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return self.dim

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, uncut, without prompt and special tokens."""
        special = len(self.tokenizer.prefix) + len(self.tokenizer.suffix)
        ids, _ = self.tokenizer.encode(texts, max_length=sys.maxsize)
        return [len(row) - special for row in ids]

    @property
    def document_overhead(self) -> int:
        """Tokens that prompt and special tokens take of a document's length limit."""
        special = len(self.tokenizer.prefix) + len(self.tokenizer.suffix)
        return special + self.tokenizer.count(self.checkpoint.document_prompt)

    # --- what it is -----------------------------------------------------------------------------------------------------

    def query_prompt(self, instruction: str | None = None, *, task: str | None = None) -> tuple[str, str]:
        """What stands before and after a query.

        Args:
            instruction: See `encode_queries`.
            task: See `encode_queries`.

        Returns:
            (before, after); `before + query + after` is what is embedded.
        """
        if instruction is None and task is not None and self.takes_instructions:
            instruction = instruction_for(task)
        if instruction is None:
            instruction = self.checkpoint.instruction
        if instruction is None:
            return self.checkpoint.query_prompt, ""
        if not instruction:
            return "", ""
        # "{}{}" is FlagEmbedding's format for encoders: the instruction is a prefix that brings its own blank.
        head, middle, tail = (self.checkpoint.query_format or "{}{}").split("{}")
        return head + instruction + middle, tail

    @property
    def takes_instructions(self) -> bool:
        """Whether the model was trained with instructions; where not, a benchmark's instruction is left out."""
        return self.checkpoint.query_format is not None

    @property
    def name(self) -> str:
        """Name of the checkpoint."""
        return self.checkpoint.name

    @property
    def revision(self) -> str | None:
        """Commit it was fetched at; None for a local directory."""
        return self.checkpoint.revision

    @property
    def fingerprint(self) -> str:
        """32 hex digits over the weights and everything else that changes a vector; same digits, same vectors."""
        if self._fingerprint is None:
            weights = weights_fingerprint(self.checkpoint, openvino=self.engine.name == "openvino")
            settings = {
                key: value
                for key, value in self.describe().items()
                if key not in ("model", "revision", "fingerprint", "device")
            }
            self._fingerprint = fingerprint([weights, repr(sorted(settings.items(), key=lambda item: item[0]))])
        return self._fingerprint

    def describe(self) -> dict[str, Any]:
        """What made the vectors, for scores and manifests."""
        checkpoint = self.checkpoint
        settings = {
            "model": checkpoint.name, "revision": checkpoint.revision, "engine": self.engine.name, "device": self.engine.device,
            "dtype": self.engine.dtype, "dim": self.dim, "pooling": "+".join(checkpoint.pooling),
            "query_format": checkpoint.query_format, "instruction": checkpoint.instruction, "query_prompt": checkpoint.query_prompt,
            "document_prompt": checkpoint.document_prompt, "query_max_length": checkpoint.query_max_length,
            "document_max_length": checkpoint.document_max_length, "pooled_token": self.tokenizer.pooled_token,
            "truncate_dim": self.truncate_dim, "normalize": self.normalize, "causal": checkpoint.causal,
        }  # fmt: skip
        if self._fingerprint is not None:
            settings["fingerprint"] = self._fingerprint
        return settings

    def __repr__(self) -> str:
        engine = self.engine
        runs = f"engine={engine.name!r}, device={engine.device!r}, dtype={engine.dtype!r}"
        return f"Embedder({self.name!r}, {runs}, dim={self.dim})"

    def save(self, folder: Path | str) -> None:
        """Write a model directory that Sentence Transformers 5.3 and later, FlagEmbedding and vLLM open alike.

        Args:
            folder: Written whole or not at all; see `reasonembed.model.layout`.

        Raises:
            ModelError: The engine holds no weights that can be saved (OpenVINO).
            StorageError: The folder could not be written.
        """
        from reasonembed.encode.saving import save_embedder

        save_embedder(self, Path(folder))

    # --- inside ---------------------------------------------------------------------------------------------------------

    def _encode(
        self, texts: str | Sequence[str], prompt: tuple[str, str], max_length: int, progress: bool, what: str
    ) -> Vectors:
        if isinstance(texts, str):
            vector: Vectors = self._encode([texts], prompt, max_length, progress, what)[0]
            return vector
        _check(texts)
        limit = self.checkpoint.max_positions
        if max_length < 1 or (limit is not None and max_length > limit):
            raise ModelError(f"max_length {max_length} is outside 1..{limit}, what {self.name} takes")
        before, after = prompt
        skip = 0 if self.checkpoint.include_prompt else len(self.tokenizer.prefix) + self.tokenizer.count(before)
        vectors = np.empty((len(texts), self.dim), np.float32)
        n_cut = 0

        def tokenised(start: int) -> tuple[list[npt.NDArray[np.int64]], int]:
            part = [before + text + after for text in texts[start : start + CHUNK]]
            return self.tokenizer.encode(part, max_length=max_length)

        with progress_bar(what, len(texts), show=progress) as advance:
            for start, (ids, cut) in _ahead(tokenised, range(0, len(texts), CHUNK)):
                n_cut += cut
                for rows in _steps(ids):
                    skips = [skip] * len(rows) if skip and before else None
                    vectors[[start + row for row in rows]] = self.embed_tokens([ids[row] for row in rows], skips)
                    advance(len(rows))
        if n_cut:
            self.n_truncated += n_cut
            logger.info("%d of %d %s were cut to %d tokens", n_cut, len(texts), what, max_length)
        return vectors

    def embed_tokens(
        self, ids: Sequence[npt.NDArray[np.int64]], prompt_lengths: Sequence[int] | None = None
    ) -> Vectors:
        """Embed texts that are token ids already.

        Args:
            ids: See `Engine.embed`.
            prompt_lengths: See `Engine.embed`.

        Returns:
            (n, dim) float32 with rows of unit length, in order.

        Raises:
            ModelError: A vector is not finite.
        """
        vectors = self._after_pooling(self.engine.embed(ids, prompt_lengths))
        if self.truncate_dim is not None:
            vectors = vectors[:, : self.truncate_dim]
        if self.normalize:
            vectors = l2_normalise(vectors)
        if not np.isfinite(vectors).all():
            row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
            raise ModelError(
                f"{self.name}: the vector of a text of {len(ids[row])} tokens is not finite in {self.engine.dtype}. "
                "Fix: dtype='bfloat16' or 'float32' (float16 overflows in many models)"
            )
        return vectors

    def _after_pooling(self, vectors: Vectors) -> Vectors:
        for head in self._heads:
            vectors = head(vectors)
        return vectors


def _ahead(work: Callable[[int], _Result], items: Iterable[int]) -> Iterator[tuple[int, _Result]]:
    """(item, work(item)) in order; the next item is worked on in another thread while the caller is busy with this one."""
    with ThreadPoolExecutor(1, thread_name_prefix="tokenise") as pool:
        waiting: tuple[int, Future[_Result]] | None = None
        for item in items:
            started = (item, pool.submit(work, item))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = started
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def _steps(ids: list[npt.NDArray[np.int64]]) -> Iterator[list[int]]:
    """Rows of texts, longest first, about `STEP_TOKENS` tokens at a time."""
    step: list[int] = []
    tokens = 0
    for row in sorted(range(len(ids)), key=lambda row: -len(ids[row])):
        step.append(row)
        tokens += len(ids[row])
        if tokens >= STEP_TOKENS:
            yield step
            step, tokens = [], 0
    if step:
        yield step


def _check(texts: Sequence[str]) -> None:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"text {index} is a {type(text).__name__}, a str was expected", fix="pass a list of strings"
            )
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"text {index} holds a lone surrogate, which is no character", fix="decode it as UTF-8")
