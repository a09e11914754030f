"""Checkpoints of a training: which are whole, and which are deleted.

The Trainer writes the files of `checkpoint-N`; the marker comes last, atomically. A folder without it is of a killed run and counts
as nothing.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from reasonembed.io.manifest import now, write_json

MARKER = "complete.json"


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of the checkpoints that are whole, by step."""
    found = ((path.name.removeprefix("checkpoint-"), path) for path in folder.glob("checkpoint-*"))
    return sorted((int(step), path) for step, path in found if step.isdigit() and (path / MARKER).is_file())


def last_checkpoint(folder: Path) -> tuple[int, Path | None]:
    """Step and folder of the last whole checkpoint; (0, None) where there is none."""
    return max(checkpoints(folder), default=(0, None))


def finish_checkpoint(path: Path, *, world: int, keep: int) -> None:
    """Bring the files of a checkpoint to the disk, mark it as whole, and only then delete all but the last `keep`.

    Args:
        path: The checkpoint.
        world: Processes of the training.
        keep: At least 1.

    Raises:
        StorageError: The marker could not be written.
    """
    for file in path.rglob("*"):
        if file.is_file():
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
    write_json(path / MARKER, {"finished": now(), "processes": world})
    for _, old in checkpoints(path.parent)[:-keep]:
        (old / MARKER).unlink()
        shutil.rmtree(old)


def drop_unfinished(folder: Path) -> None:
    """Delete what a killed run left half-written."""
    for path in folder.glob("checkpoint-*"):
        if not (path / MARKER).is_file():
            shutil.rmtree(path)
