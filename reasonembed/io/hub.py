"""Tables of the Hugging Face Hub or of a local copy, row by row, through the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError, MissingExtraError


def hub_rows(
    source: str, config: str, split: str, *, revision: str | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, fields) of one split of one configuration.

    Args:
        source: Hub id such as `xlangai/BRIGHT`, or the path of a local copy of such a repository.
        config: Configuration, such as `documents`.
        split: Split, such as `biology`.
        revision: Commit, tag or branch of the Hub repository.

    Raises:
        MissingExtraError: `datasets` is not installed.
        DataError: The table cannot be loaded, or has no such split.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "hub", f"reading {source} [{config}]") from error
    # A folder is read directly: the library's cache would not notice that its files changed.
    local = Path(source).is_dir()
    try:
        tables = datasets.load_dataset(source, config, revision=revision, streaming=local)
    except Exception as error:  # of many kinds: no network, no such repository, no such configuration, ...
        raise _unreadable(source, config, error) from error
    if split not in tables:
        raise DataError(
            f"configuration {config!r} has no split {split!r}", path=source, fix=f"one of {', '.join(tables)}"
        )
    rows = enumerate(tables[split], start=1)
    while True:
        try:
            number, row = next(rows)
        except StopIteration:
            return
        except Exception as error:  # a broken file shows here
            raise _unreadable(source, f"{config}/{split}", error) from error
        yield number, dict(row)


def _unreadable(source: str, what: str, error: Exception) -> DataError:
    fix = "check the name and the network, or give a folder with a copy of the data"
    return DataError(f"cannot load {what!r}: {type(error).__name__}: {error}", path=source, fix=fix)
