"""Vectors kept by the content of their texts and by all that changes them: a second run costs nothing.

Gets texts and an embedder, gives their vectors from the cache folder or from the model. Works in blocks, each
an entry of its own: a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import logging
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
import numpy.typing as npt

from reasonembed.encode.embedder import Embedder
from reasonembed.errors import DataError, StorageError
from reasonembed.io.atomic import atomic_write
from reasonembed.io.manifest import fingerprint
from reasonembed.progress import progress_bar

logger = logging.getLogger(__name__)

BLOCK = 512
"""Texts an entry: what a kill costs at most; changing it leaves old entries unused."""
_FORMAT = "1"

Vectors = npt.NDArray[np.float32]


def default_cache_dir() -> Path:
    """`$REASONEMBED_CACHE`, else `~/.cache/reasonembed/embeddings`."""
    told = os.environ.get("REASONEMBED_CACHE")
    return Path(told) if told else Path.home() / ".cache" / "reasonembed" / "embeddings"


def cached_encode(
    embedder: Embedder,
    texts: Sequence[str],
    *,
    kind: Literal["query", "document"],
    instruction: str | None = None,
    max_length: int | None = None,
    cache_dir: Path | str | None = None,
    progress: bool = False,
) -> Vectors:
    """Embed texts, or read their vectors where they were embedded before.

    `embedder.n_truncated` grows by the texts that were cut, whether they were embedded now or before.

    Args:
        embedder: Makes the vectors that are missing.
        texts: In any order; an entry holds `BLOCK` consecutive texts.
        kind: `query` goes through `encode_queries`, `document` through `encode_corpus`.
        instruction: Of queries; None takes the embedder's own.
        max_length: Limit in tokens; None takes the embedder's own.
        cache_dir: None takes `default_cache_dir()`.
        progress: Show a progress bar.

    Returns:
        (n, dim) float32, unit norm, in the order of the texts.

    Raises:
        DataError: An unknown kind, or an instruction for documents.
    """
    if kind not in ("query", "document"):
        raise DataError(f"kind {kind!r} is unknown", fix="query or document")
    if kind == "document" and instruction is not None:
        raise DataError("documents take no instruction", fix="leave instruction out")
    folder = default_cache_dir() if cache_dir is None else Path(cache_dir)
    common = (_FORMAT, embedder.fingerprint, kind, repr(instruction), repr(max_length))
    vectors = np.empty((len(texts), embedder.dim), np.float32)
    with progress_bar("queries" if kind == "query" else "documents", len(texts), show=progress) as tick:
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            key = fingerprint([*common, *block])
            path = folder / key[:2] / f"{key}.npz"
            found = _read(path, len(block), embedder.dim)
            if found is None:
                before = embedder.n_truncated
                if kind == "query":
                    fresh = embedder.encode_queries(block, instruction=instruction, max_length=max_length)
                else:
                    fresh = embedder.encode_corpus(block, max_length=max_length)
                vectors[start : start + len(block)] = fresh
                _write(path, fresh, embedder.n_truncated - before)
            else:
                vectors[start : start + len(block)], n_truncated = found
                embedder.n_truncated += n_truncated
            tick(len(block))
    return vectors


def _read(path: Path, rows: int, dim: int) -> tuple[Vectors, int] | None:
    """Vectors and number of cut texts of an entry; None where there is none, or a damaged one (logged)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as entry:
            vectors, n_truncated = entry["vectors"], int(entry["n_truncated"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning("%s: damaged cache entry (%s); it is made again", path, error)
        return None
    if vectors.shape != (rows, dim) or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        logger.warning("%s: cache entry holds %s %s; it is made again", path, vectors.shape, vectors.dtype)
        return None
    return vectors, n_truncated


def _write(path: Path, vectors: Vectors, n_truncated: int) -> None:
    """Store an entry; a cache that cannot be written costs time, not the run."""
    try:
        with atomic_write(path, "wb") as file:
            np.savez(cast("IO[bytes]", file), vectors=vectors, n_truncated=np.int64(n_truncated))
    except StorageError as error:
        logger.warning("embeddings are not cached: %s (or set REASONEMBED_CACHE to another folder)", error)
