"""A corpus on disk to vectors on disk: sharded, resumable, constant memory, split over processes and machines.

Gets JSON-lines files and an embedder or workers, gives a folder of shards (`io.shards`). Vectors of a shard
depend on that shard alone, so a run that was killed and started again, or shared, writes the same bytes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from reasonembed.encode.embedder import Embedder
from reasonembed.encode.workers import Model, Work, Workers, crew, encode_shard
from reasonembed.errors import DataError, MismatchError
from reasonembed.io.documents import Survey, read_documents, survey
from reasonembed.io.manifest import versions
from reasonembed.io.shards import Marker, claim, done, n_shards, shards_of, sweep
from reasonembed.progress import progress_bar

logger = logging.getLogger(__name__)

SHARD_SIZE = 4096
"""Documents a shard: at most this much work is lost by a kill; 4096 x 4096 float32 is 64 MiB, held once."""


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """What a run did.

    Attributes:
        folder: Of the shards.
        model: What made the vectors, see `Embedder.describe`.
        count: Documents of the whole corpus.
        dim: Width of the vectors.
        n_empty: Empty documents that were left out.
        shards: Shards of this machine.
        resumed: Of these, shards that were whole before.
        encoded: Documents encoded by this run.
        n_truncated: Documents cut to the length limit, in all shards of this machine.
    """

    folder: Path
    model: Mapping[str, Any]
    count: int
    dim: int
    n_empty: int
    shards: int
    resumed: int
    encoded: int
    n_truncated: int


def encode_files(
    embedder: Embedder | Workers,
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
        embedder: Makes the vectors, here; or `Workers`, several processes that share the shards.
        inputs: JSON-lines files `{id | _id, text, title?}` and BEIR folders. Read twice: checked first, then
            encoded.
        out: Folder of the shards.
        shard_size: Documents a shard.
        rank: This machine, from 0; it writes every `world_size`-th shard.
        world_size: Number of machines.
        skip_empty: Leave out empty documents instead of refusing them.
        progress: Show a progress bar.

    Raises:
        DataError: The input is wrong (file and line), or a finished shard is damaged.
        MismatchError: The folder was begun with another model, input or shard size.
        ModelError: Workers ended over and over without finishing.
        StorageError: A shard could not be written; run again to go on.
    """
    if shard_size < 1:
        raise DataError(f"shard size is {shard_size}, at least 1 is needed", fix=f"use {SHARD_SIZE}")
    shards_of(rank, world_size, 0)
    out = Path(out)
    found = survey(inputs, skip_empty=skip_empty)
    total = n_shards(found.count, shard_size)
    mine = shards_of(rank, world_size, total)
    with _encoder(embedder, out, len(mine)) as (model, encode):
        claim(out, _manifest(model, found, shard_size))
        markers = {number: marker for number in mine if (marker := done(out, number)) is not None}
        todo = frozenset(mine) - markers.keys()
        logger.info("%s: %d of %d shards are there", out, len(markers), len(mine))
        fresh: list[Marker] = []
        rows = sum(_rows(number, found.count, shard_size) for number in todo)
        with progress_bar("documents", rows, show=progress) as tick:
            for marker in encode(_shards(found, shard_size, todo, skip_empty=skip_empty)):
                fresh.append(marker)
                tick(marker.rows)
    sweep(out, total)
    n_truncated = sum(marker.n_truncated for marker in [*markers.values(), *fresh])
    return EncodeReport(
        out, model.settings, found.count, model.dim, found.n_empty, len(mine), len(markers), rows, n_truncated
    )


@contextlib.contextmanager
def _encoder(
    embedder: Embedder | Workers, out: Path, n_shards: int
) -> Iterator[tuple[Model, Callable[[Iterator[Work]], Iterator[Marker]]]]:
    """The model, and a function that writes shards and yields their markers; no more workers than shards."""
    if isinstance(embedder, Workers):
        with crew(replace(embedder, devices=embedder.devices[: max(1, n_shards)]), out) as workers:
            yield workers.model, workers.encode
    else:
        yield Model.of(embedder), lambda shards: (encode_shard(embedder, out, work) for work in shards)


def _manifest(model: Model, found: Survey, shard_size: int) -> dict[str, Any]:
    """No date and no device: the folder is the same whenever and wherever it was made."""
    return {
        "format": 1, "model_fingerprint": model.fingerprint, "input_fingerprint": found.fingerprint,
        "dim": model.dim, "count": found.count, "shard_size": shard_size, "n_empty": found.n_empty,
        "files": [path.name for path in found.files], "model": model.settings, "versions": versions(),
    }  # fmt: skip


def _rows(number: int, count: int, shard_size: int) -> int:
    return min(shard_size, count - number * shard_size)


def _shards(found: Survey, shard_size: int, todo: frozenset[int], *, skip_empty: bool) -> Iterator[Work]:
    """The shards to do; the documents of the others are read past."""
    documents = read_documents(found.files, skip_empty=skip_empty)
    for number in range(max(todo, default=-1) + 1):
        rows = _rows(number, found.count, shard_size)
        chosen = [document for document in islice(documents, rows) if number in todo]
        if number not in todo:
            continue
        if len(chosen) != rows:
            raise MismatchError(
                f"{', '.join(map(str, found.files))}: shorter than when it was checked. "
                "Fix: run again when nothing writes to the input"
            )
        yield Work.of(number, chosen)
