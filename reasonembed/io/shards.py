"""Vectors of a large corpus as numbered shards, written by one process or many, killed at any point or not.

A folder holds `manifest.json` and for each shard `00000.npy` (float32 vectors), `00000.ids.json` and
`00000.done.json`. The marker is written last and carries row count and checksums: a shard without a marker
does not exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError, MismatchError
from reasonembed.io.manifest import read_json, write_json
from reasonembed.io.vectors import open_vectors, write_vectors

MANIFEST = "manifest.json"
BINDING = ("model_fingerprint", "input_fingerprint", "dim", "count", "shard_size")
"""Fields of the manifest that two runs into one folder must share."""


@dataclass(frozen=True, slots=True)
class Marker:
    """Proof that a shard is whole.

    Attributes:
        rows: Number of vectors.
        dim: Width of the vectors.
        n_truncated: Texts that were cut to the length limit.
        vectors_sha256: Checksum of the `.npy` file.
        ids_sha256: Checksum of the `.ids.json` file.
    """

    rows: int
    dim: int
    n_truncated: int
    vectors_sha256: str
    ids_sha256: str


@dataclass(frozen=True, slots=True)
class Shard:
    """One whole shard: ids and (rows, dim) float32 vectors, memory-mapped."""

    ids: list[str]
    vectors: npt.NDArray[np.float32]


def vectors_path(folder: Path, number: int) -> Path:
    """File of the vectors of a shard."""
    return folder / f"{number:05d}.npy"


def ids_path(folder: Path, number: int) -> Path:
    """File of the ids of a shard."""
    return folder / f"{number:05d}.ids.json"


def marker_path(folder: Path, number: int) -> Path:
    """File that says that a shard is whole."""
    return folder / f"{number:05d}.done.json"


def n_shards(count: int, shard_size: int) -> int:
    """Number of shards of `count` documents."""
    return -(-count // shard_size)


def shards_of(rank: int, world_size: int, total: int) -> range:
    """Numbers of the shards that process `rank` of `world_size` writes: every world_size-th.

    Raises:
        DataError: rank does not lie in [0, world_size).
    """
    if world_size < 1 or not 0 <= rank < world_size:
        raise DataError(
            f"rank {rank} of {world_size} processes",
            fix="ranks run from 0 to world size - 1, world size is at least 1",
        )
    return range(rank, total, world_size)


def claim(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Make the folder this run's: write the manifest, or check that the one there agrees.

    Args:
        folder: Of the shards; made if missing.
        manifest: Holds the fields of `BINDING` and whatever else should be recorded.

    Raises:
        MismatchError: The folder was begun with another model, other input or another shard size.
        DataError: The folder holds shards without a manifest, or a broken one.
        StorageError: The manifest could not be written.
    """
    path = folder / MANIFEST
    if not path.exists():
        if any(folder.glob("*.done.json")):
            raise DataError("shards without a manifest", path=folder, fix="use another folder")
        write_json(path, manifest)
        return
    there = read_json(path)
    for name in BINDING:
        if there.get(name) != manifest[name]:
            raise MismatchError(
                f"{folder}: begun with {name} {there.get(name)}, this run has {manifest[name]}. "
                "Fix: use another folder, or the model, input and shard size it was begun with"
            )


def write_shard(
    folder: Path, number: int, *, ids: Sequence[str], vectors: npt.NDArray[np.float32], n_truncated: int
) -> Marker:
    """Write a shard, the marker last; what an earlier, killed run left of this shard is removed.

    Args:
        folder: Of the shards.
        number: Of the shard.
        ids: One id a vector.
        vectors: (rows, dim) float32.
        n_truncated: Texts that were cut.

    Raises:
        StorageError: A file could not be written whole; the shard then has no marker.
    """
    marker_path(folder, number).unlink(missing_ok=True)
    for left_over in folder.glob(f".{number:05d}.*.tmp"):
        left_over.unlink(missing_ok=True)
    rows, dim = vectors.shape
    write_vectors(vectors_path(folder, number), [vectors], count=rows, dim=dim)
    write_json(ids_path(folder, number), {"ids": list(ids)})
    sums = _checksum(vectors_path(folder, number)), _checksum(ids_path(folder, number))
    marker = Marker(rows, dim, n_truncated, *sums)
    write_json(marker_path(folder, number), asdict(marker))
    return marker


def sweep(folder: Path, total: int) -> None:
    """Remove temporary files that killed runs left, once all `total` shards are whole and nobody writes."""
    if all(marker_path(folder, number).exists() for number in range(total)):
        for left_over in folder.glob(".*.tmp"):
            left_over.unlink(missing_ok=True)


def done(folder: Path, number: int) -> Marker | None:
    """The marker of a whole shard; None where the shard is not written or only half.

    Raises:
        DataError: The marker is broken, or a file it vouches for is missing or has changed.
    """
    path = marker_path(folder, number)
    if not path.exists():
        return None
    marker = _read_marker(path)
    for file, expected in (
        (vectors_path(folder, number), marker.vectors_sha256),
        (ids_path(folder, number), marker.ids_sha256),
    ):
        if not file.exists():
            raise DataError(f"missing, though {path.name} says it is whole", path=file, fix=_redo(path))
        if _checksum(file) != expected:
            raise DataError(f"damaged: the checksum is not the one in {path.name}", path=file, fix=_redo(path))
    return marker


def open_shards(folder: Path | str, *, verify: bool = False) -> Iterator[Shard]:
    """Yield the shards of a finished folder in order; vectors are memory-mapped.

    Args:
        folder: As `encode` wrote it.
        verify: Read every file once more and compare its checksum.

    Raises:
        DataError: The folder is unfinished (names the missing shards), or a shard disagrees with its marker.
    """
    folder = Path(folder)
    manifest = read_json(folder / MANIFEST)
    total = n_shards(int(manifest["count"]), int(manifest["shard_size"]))
    missing = [number for number in range(total) if not marker_path(folder, number).exists()]
    if missing:
        named = ", ".join(f"{number:05d}" for number in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"{len(missing)} of {total} shards are missing ({named})",
            path=folder,
            fix="run the same encode command again",
        )
    for number in range(total):
        marker = done(folder, number) if verify else _read_marker(marker_path(folder, number))
        yield _open_shard(folder, number, marker)


def _open_shard(folder: Path, number: int, marker: Marker | None) -> Shard:
    vectors = open_vectors(vectors_path(folder, number))
    ids = read_json(ids_path(folder, number)).get("ids", [])
    if marker is None or vectors.shape != (marker.rows, marker.dim) or len(ids) != marker.rows:
        path = marker_path(folder, number)
        raise DataError(
            f"holds {vectors.shape} vectors and {len(ids)} ids, {path.name} says {marker and marker.rows}",
            path=vectors_path(folder, number), fix=_redo(path),
        )  # fmt: skip
    return Shard(ids, vectors)


def _read_marker(path: Path) -> Marker:
    stored = read_json(path)
    try:
        return Marker(**stored)
    except TypeError as error:
        raise DataError("not a marker of a shard", path=path, fix=_redo(path)) from error


def _redo(marker: Path) -> str:
    return f"delete {marker} and run the same encode command again"


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
