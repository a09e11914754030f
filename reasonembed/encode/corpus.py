"""A corpus on disk to vectors on disk: sharded, resumable, constant memory, split over processes.

Gets JSON-lines files and an embedder, gives a folder of shards (`io.shards`). Vectors of a shard depend on
that shard alone, so a run that was killed and started again writes the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from reasonembed.encode.embedder import Embedder
from reasonembed.errors import DataError, MismatchError
from reasonembed.io.documents import Survey, read_documents, survey
from reasonembed.io.manifest import versions
from reasonembed.io.shards import claim, done, n_shards, shards_of, sweep, write_shard
from reasonembed.progress import progress_bar
from reasonembed.types import Document

logger = logging.getLogger(__name__)

SHARD_SIZE = 4096
"""Documents a shard: at most this much work is lost by a kill; 4096 x 4096 float32 is 64 MiB, held once."""


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """What a run did.

    Attributes:
        folder: Of the shards.
        count: Documents of the whole corpus.
        dim: Width of the vectors.
        n_empty: Empty documents that were left out.
        shards: Shards of this process.
        resumed: Of these, shards that were whole before.
        encoded: Documents encoded by this run.
        n_truncated: Documents cut to the length limit, in all shards of this process.
    """

    folder: Path
    count: int
    dim: int
    n_empty: int
    shards: int
    resumed: int
    encoded: int
    n_truncated: int


def encode_files(
    embedder: Embedder,
    inputs: Sequence[Path | str],
    out: Path | str,
    *,
    shard_size: int = SHARD_SIZE,
    rank: int = 0,
    world_size: int = 1,
    skip_empty: bool = False,
    progress: bool = False,
) -> EncodeReport:
    """Encode the documents of files into a folder of shards; whole shards are kept, the others are made.

    Args:
        embedder: Makes the vectors.
        inputs: JSON-lines files `{id | _id, text, title?}` and BEIR folders. Read twice: checked first, then
            encoded.
        out: Folder of the shards.
        shard_size: Documents a shard.
        rank: This process, from 0; it writes every `world_size`-th shard.
        world_size: Number of processes.
        skip_empty: Leave out empty documents instead of refusing them.
        progress: Show a progress bar.

    Raises:
        DataError: The input is wrong (file and line), or a finished shard is damaged.
        MismatchError: The folder was begun with another model, input or shard size.
        StorageError: A shard could not be written; run again to go on.
    """
    if shard_size < 1:
        raise DataError(f"shard size is {shard_size}, at least 1 is needed", fix=f"use {SHARD_SIZE}")
    shards_of(rank, world_size, 0)
    out = Path(out)
    found = survey(inputs, skip_empty=skip_empty)
    total = n_shards(found.count, shard_size)
    mine = shards_of(rank, world_size, total)
    claim(out, _manifest(embedder, found, shard_size))
    markers = {number: marker for number in mine if (marker := done(out, number)) is not None}
    resumed, encoded = len(markers), 0
    logger.info("%s: %d of %d shards are there", out, resumed, len(mine))
    todo = frozenset(mine) - markers.keys()
    with progress_bar(
        "documents", sum(_rows(number, found.count, shard_size) for number in todo), show=progress
    ) as tick:
        for number, documents in _shards(found, shard_size, todo, skip_empty=skip_empty):
            before = embedder.n_truncated
            vectors = embedder.encode_corpus([document.content for document in documents])
            cut = embedder.n_truncated - before
            ids = [document.id for document in documents]
            markers[number] = write_shard(out, number, ids=ids, vectors=vectors, n_truncated=cut)
            encoded += len(documents)
            tick(len(documents))
    sweep(out, total)
    n_truncated = sum(marker.n_truncated for marker in markers.values())
    return EncodeReport(out, found.count, embedder.dim, found.n_empty, len(mine), resumed, encoded, n_truncated)


def _manifest(embedder: Embedder, found: Survey, shard_size: int) -> dict[str, Any]:
    """No date and no device: the folder is the same whenever and wherever it was made."""
    model_fingerprint = embedder.fingerprint
    model = {name: value for name, value in embedder.describe().items() if name != "device"}
    return {
        "format": 1, "model_fingerprint": model_fingerprint, "input_fingerprint": found.fingerprint,
        "dim": embedder.dim, "count": found.count, "shard_size": shard_size, "n_empty": found.n_empty,
        "files": [path.name for path in found.files], "model": model, "versions": versions(),
    }  # fmt: skip


def _rows(number: int, count: int, shard_size: int) -> int:
    return min(shard_size, count - number * shard_size)


def _shards(
    found: Survey, shard_size: int, todo: frozenset[int], *, skip_empty: bool
) -> Iterator[tuple[int, list[Document]]]:
    """Number and documents of the shards to do; the documents of the others are read past."""
    documents = read_documents(found.files, skip_empty=skip_empty)
    last = max(todo, default=-1)
    for number in range(last + 1):
        rows = _rows(number, found.count, shard_size)
        wanted = number in todo
        chosen = [document for document in islice(documents, rows) if wanted]
        if wanted and len(chosen) != rows:
            raise MismatchError(
                f"{', '.join(map(str, found.files))}: shorter than when it was checked. "
                "Fix: run again when nothing writes to the input"
            )
        if wanted:
            yield number, chosen
