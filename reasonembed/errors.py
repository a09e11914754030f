"""Every error a user can meet, in one small hierarchy; each message names the value, the limit and the fix.

ReasonEmbedError
├── DataError           a file or a text is wrong (also a ValueError)
├── ModelError          a model directory cannot be opened, or would give wrong vectors
├── MismatchError       two things do not belong together: index and model, shards and manifest
├── StorageError        writing failed: disk full, no permission (also an OSError)
├── LlmError            a language model cannot be reached, or gave no usable answer
└── MissingExtraError   an optional dependency is not installed (also an ImportError)
"""

from __future__ import annotations

from pathlib import Path


class ReasonEmbedError(Exception):
    """Root of all errors that reasonembed raises on purpose; the command line prints them without a traceback."""


class DataError(ReasonEmbedError, ValueError):
    """Input that cannot be used.

    Args:
        problem: What is wrong, with the value and the limit.
        path: File the problem is in.
        line: Line of the file, counted from 1.
        fix: What the user can do about it.
    """

    def __init__(self, problem: str, *, path: Path | str | None = None, line: int | None = None, fix: str = "") -> None:
        place = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(place + problem + (f". Fix: {fix}" if fix else ""))
        self.path = path
        self.line = line


class ModelError(ReasonEmbedError):
    """A checkpoint that cannot be opened, or that would silently give wrong vectors."""


class MismatchError(ReasonEmbedError):
    """Two artefacts that do not belong together, such as an index and the model that did not make it."""


class StorageError(ReasonEmbedError, OSError):
    """A file could not be written whole; nothing half-written is left under its name."""


class LlmError(ReasonEmbedError):
    """A language model that cannot be reached, refused a request, or gave no usable answer."""


class MissingExtraError(ReasonEmbedError, ImportError):
    """An optional dependency is missing.

    Args:
        package: Importable name that failed.
        extra: Extra of reasonembed that brings it.
        needed_for: What needs it, for the message.
    """

    def __init__(self, package: str, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs the package {package!r}. Fix: pip install 'reasonembed[{extra}]'")
        self.extra = extra
