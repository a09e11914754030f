"""What made a file: versions, date, configuration; written as JSON beside every output so that a number can be traced."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError
from reasonembed.io.atomic import atomic_write

_PACKAGES = (
    "reasonembed",
    "numpy",
    "tokenizers",
    "openvino",
    "torch",
    "transformers",
    "bm25s",
    "pytrec-eval-terrier",
)


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Installed versions of Python and of packages; by default those that can change a number."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The present time, UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def fingerprint(parts: Iterable[str | bytes]) -> str:
    """SHA-256 over parts, each preceded by its length in bytes, so that no two lists of parts collide; 32 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]


def write_json(path: Path | str, value: Mapping[str, Any]) -> None:
    """Write a JSON object, indented, atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")  # type: ignore[call-overload]


def read_json(path: Path | str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: No such file, broken JSON, or another JSON type.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError("no such file", path=path) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not a JSON file: {error}", path=path) from error
    if not isinstance(value, dict):
        raise DataError(f"a JSON object was expected, found {type(value).__name__}", path=path)
    return value


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Names of the values that differ between two configurations, such as `queries.temperature`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [found for key in keys for found in differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))]
    return [] if old == new else [name]


def digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
