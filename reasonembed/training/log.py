"""log.jsonl of a training: a row a step and a row an evaluation, on disk as soon as it is known.

    {"step", "epoch", "dataset", "loss", "objective", "learning_rate", "grad_norm", "tokens", "cut", "seconds", "tokens_per_second", ...}
    {"step", "scores": {task: value}, "mean"}

`step` is the number of steps done. A run that goes on from a checkpoint drops the rows after it: they come again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError, StorageError
from reasonembed.io.jsonl import read_jsonl, write_jsonl

LOG_FILE = "log.jsonl"


def read_log(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a log; a last row that a killed run left half-written is left out.

    Args:
        path: Of the file; none is an empty log.
    """
    rows: list[dict[str, Any]] = []
    if Path(path).is_file():
        with contextlib.suppress(DataError):
            rows.extend(row for _, row in read_jsonl(path))
    return rows


class TrainingLog:
    """Appends rows to a log.

    Args:
        path: The file.
        step: Steps done; rows of later steps are dropped. 0 begins anew.
        writes: False for all processes but the first, which write nothing.

    Attributes:
        evaluations: Rows of evaluations, earlier ones included.
    """

    def __init__(self, path: Path | str, *, step: int = 0, writes: bool = True) -> None:
        self._path, self._writes = Path(path), writes
        kept = [row for row in read_log(path) if row["step"] <= step] if step else []
        self.evaluations = [row for row in kept if "scores" in row]
        if writes:
            write_jsonl(path, kept)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row.

        Raises:
            StorageError: The disk is full.
        """
        if "scores" in row:
            self.evaluations.append(dict(row))
        if not self._writes:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            raise StorageError(
                f"{self._path}: cannot be written: {error.strerror}. Fix: free space, run again"
            ) from error
