"""Write a file or a folder beside its place and rename it, so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from reasonembed.errors import StorageError


def _explained(error: OSError, path: Path) -> StorageError:
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(path.parent if path.parent.exists() else Path()).free
        return StorageError(
            f"{path}: disk full ({free:,} bytes free); the file was not written. Fix: free space, run again"
        )
    return StorageError(f"{path}: cannot write: {error.strerror or error}. Fix: check the folder and its permissions")


@contextlib.contextmanager
def atomic_write(path: Path | str, mode: str = "w") -> Iterator[IO[str] | IO[bytes]]:
    """Open a temporary file beside `path` and rename it to `path` when the block ends without an error.

    Args:
        path: Destination; parent folders are made.
        mode: `w` (UTF-8 text, Unix line ends) or `wb`.

    Yields:
        The open temporary file.

    Raises:
        StorageError: The disk is full or the folder cannot be written; nothing is left behind.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        os.fchmod(handle, 0o644)
        text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
        with os.fdopen(handle, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise error if isinstance(error, StorageError) else _explained(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system or the file system has no such step (renameat2(2), Linux)."""
    if sys.platform != "linux":
        return False
    import ctypes

    call = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of <fcntl.h> and <linux/fs.h>
    return call is not None and call(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


@contextlib.contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder beside `path`; swap it in for `path` when the block ends without an error.

    On Linux the swap is one step. Elsewhere it takes two renames, and a process that is killed between them leaves
    the old folder under a hidden name, `.NAME.*.old`, beside its place.

    Raises:
        StorageError: The disk is full or the folder cannot be written; the old folder stays.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        temporary.chmod(0o755)
        yield temporary
        if not path.exists():
            temporary.replace(path)
        elif not _exchange(temporary, path):
            old = temporary.with_suffix(".old")
            path.replace(old)
            temporary.replace(path)
            shutil.rmtree(old)
    except OSError as error:
        raise error if isinstance(error, StorageError) else _explained(error, path) from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary)
