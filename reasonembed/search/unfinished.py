"""What an index that is being built keeps beside its place: a lock, and the vectors made so far, found by content.

A build that was killed leaves this folder; the next one takes the vectors from it. It vanishes with a finished build.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError, StorageError
from reasonembed.io.manifest import read_json, write_json

Digests = npt.NDArray[np.uint64]
"""(n, 2) uint64: 128 bits over what is embedded of a passage."""

_LOCK = "lock"
_MODEL = "model.json"
_VECTORS = "vectors.f32"
_DIGESTS = "digests.u64"


@contextlib.contextmanager
def sole_writer(out: Path) -> Iterator[Path]:
    """Be the only process that builds the index `out`; what earlier, killed ones left is put in order.

    Args:
        out: The index folder, absolute.

    Yields:
        The folder beside it, `.NAME.building`. It is removed when the block ends without an error, or holds no vectors.

    Raises:
        StorageError: Another process is building this index, or the place cannot be written.
    """
    folder = out.with_name(f".{out.name}.building")
    lock = _acquire(folder)
    finished = False
    try:
        _tidy(out)
        yield folder
        finished = True
    finally:
        vectors = folder / _VECTORS
        if finished or not vectors.exists() or not vectors.stat().st_size:
            shutil.rmtree(folder, ignore_errors=True)
        lock.close()


class VectorLog:
    """Vectors in the order they were made, each with the digest of its text; appended block by block.

    Args:
        folder: Holds the log; one of another model is thrown away.
        model: Fingerprint of the embedder.
        dim: Width of the vectors.
        anew: Throw away what is there.

    Raises:
        StorageError: The folder cannot be written.
    """

    def __init__(self, folder: Path, *, model: str, dim: int, anew: bool = False) -> None:
        self._vectors, self._digests, self.dim = folder / _VECTORS, folder / _DIGESTS, dim
        made_by: dict[str, str | int] = {"model_fingerprint": model, "dim": dim}
        if anew or not _same(folder / _MODEL, made_by):
            self._vectors.unlink(missing_ok=True)
            self._digests.unlink(missing_ok=True)
            write_json(folder / _MODEL, made_by)
        self._cut(self._whole())

    def __len__(self) -> int:
        return self._whole()

    def append(self, digests: Digests, vectors: npt.NDArray[np.float32]) -> None:
        """Add vectors; the digests are written last, so that a digest on disk has its vector there.

        Raises:
            StorageError: The disk is full.
        """
        _append(self._vectors, np.ascontiguousarray(vectors, np.float32))
        _append(self._digests, np.ascontiguousarray(digests, np.uint64))

    def read(self) -> tuple[Digests, npt.NDArray[np.float32]]:
        """Digests, and vectors (n, dim) float32, memory-mapped."""
        count = self._whole()
        if not count:
            return np.empty((0, 2), np.uint64), np.empty((0, self.dim), np.float32)
        digests = np.fromfile(self._digests, np.uint64, 2 * count).reshape(count, 2)
        return digests, np.memmap(self._vectors, np.float32, "r", shape=(count, self.dim))

    def _whole(self) -> int:
        sizes = [path.stat().st_size if path.exists() else 0 for path in (self._digests, self._vectors)]
        return min(sizes[0] // 16, sizes[1] // (4 * self.dim))

    def _cut(self, count: int) -> None:
        """Forget what was written half when a run was killed."""
        for path, width in ((self._digests, 16), (self._vectors, 4 * self.dim)):
            if path.exists():
                os.truncate(path, count * width)


def _same(path: Path, expected: dict[str, str | int]) -> bool:
    try:
        return read_json(path) == expected
    except DataError:
        return False


def _append(path: Path, rows: npt.NDArray[np.float32] | npt.NDArray[np.uint64]) -> None:
    try:
        with path.open("ab") as file:
            file.write(rows.data.cast("B"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _cannot_write(path, error) from error


def _acquire(folder: Path) -> IO[str]:
    """An open, locked file; the system frees the lock when the process ends, however it ends."""
    path = folder / _LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except FileNotFoundError:
            continue  # a run that finished removed the folder just now
        except OSError as error:
            raise _cannot_write(folder.parent, error) from error
        if not _locked(file):
            file.close()
            raise StorageError(
                f"{folder.parent / folder.name[1:].removesuffix('.building')}: another process is building this index. "
                "Fix: wait until it is done, or name another folder with -o"
            )
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _locked(file: IO[str]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _tidy(out: Path) -> None:
    """Bring back an index whose replacement was cut short between two renames; remove half-written ones."""
    mine = f".{glob.escape(out.name)}.{'?' * 8}"  # the names that io.atomic gives
    for old in sorted(out.parent.glob(f"{mine}.old")):
        if not out.exists():
            old.replace(out)
    for left_over in (*out.parent.glob(f"{mine}.old"), *out.parent.glob(f"{mine}.tmp")):
        shutil.rmtree(left_over, ignore_errors=True)


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path}: cannot write: {error.strerror or error}. Fix: check the disk, the folder and its permissions"
    )
