"""Training samples in files: one JSON object a line, with FlagEmbedding's fields, as the authors' released data has them.

Read one by one and checked with line numbers; written atomically. Several files are several datasets, named after their files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError
from reasonembed.io.documents import JSONL_SUFFIXES
from reasonembed.io.jsonl import read_jsonl, text_field, write_jsonl
from reasonembed.types import TrainingSample

FIELDS = tuple(TrainingSample.__dataclass_fields__)


def sample_files(inputs: Sequence[Path | str]) -> tuple[Path, ...]:
    """The files of samples behind paths: a file is itself, a folder all its JSON-lines files by name.

    Raises:
        DataError: A path does not exist, or a folder holds none.
    """
    files: list[Path] = []
    for path in map(Path, inputs):
        found = [path] if path.is_file() else sorted(file for file in path.glob("*") if _is_jsonl(file))
        if not found:
            problem = "no JSON-lines file in the folder" if path.is_dir() else "no such file or folder"
            raise DataError(problem, path=path, fix=f"samples are in files of kind {', '.join(JSONL_SUFFIXES)}")
        files += found
    return tuple(files)


def _is_jsonl(file: Path) -> bool:
    return file.is_file() and file.name.endswith(JSONL_SUFFIXES) and not file.name.startswith(".")


def dataset_name(file: Path) -> str:
    """Name of the dataset in a file: the file name without `.jsonl`, `.gz` and the `-formatted` of the released files."""
    suffix = next((suffix for suffix in JSONL_SUFFIXES if file.name.endswith(suffix)), "")
    return file.name.removesuffix(suffix).removesuffix("-formatted")


def read_samples(path: Path | str) -> Iterator[TrainingSample]:
    """The samples of a file, read one at a time; fields that are not of `TrainingSample` are passed over.

    Raises:
        DataError: Broken JSON, or a field missing or of the wrong kind; with file and line.
    """
    return (sample for _, sample in numbered_samples(path))


def numbered_samples(path: Path | str) -> Iterator[tuple[int, TrainingSample]]:
    """As `read_samples`, with the line that each stands on, from 1."""
    for line, row in read_jsonl(path):
        yield line, sample_from(row, path=path, line=line)


def write_samples(path: Path | str, samples: Iterable[TrainingSample]) -> int:
    """Write samples, atomically; returns how many.

    Raises:
        StorageError: The file could not be written whole.
    """
    return write_jsonl(path, map(sample_row, samples))


def sample_row(sample: TrainingSample) -> dict[str, Any]:
    """The fields of a sample that are not None, in the order of the type."""
    return {name: value for name, value in asdict(sample).items() if value is not None}


def sample_from(row: Mapping[str, Any], *, path: Path | str, line: int) -> TrainingSample:
    """One sample from a row.

    Args:
        row: The fields; null is the same as a missing optional field.
        path: Where it comes from, for messages.
        line: Its number, from 1.

    Raises:
        DataError: `query` or a passage is empty or no string, `pos` or `neg` is no list, `pos` is empty, scores do not
            fit their passages, or a number is none.
    """
    at = {"path": path, "line": line}
    query = text_field(row, "query", path=path, line=line)
    if not query.strip():
        raise DataError("field 'query' is empty", fix="remove the line", **at)  # type: ignore[arg-type]
    pos, neg = (_texts(row, name, path, line) for name in ("pos", "neg"))
    if not pos:
        raise DataError("field 'pos' is empty", fix="a sample needs a positive: remove the line", **at)  # type: ignore[arg-type]
    optional = {
        name: text_field(row, name, path=path, line=line)
        for name in ("prompt", "reasoning_query")
        if row.get(name) is not None
    }
    return TrainingSample(
        query, pos, neg, **optional,
        pos_scores=_scores(row, "pos_scores", len(pos), path, line),
        neg_scores=_scores(row, "neg_scores", len(neg), path, line),
        train_group_size=_count(row, "train_group_size", path, line),
        batch_size=_count(row, "batch_size", path, line),
    )  # fmt: skip


def _texts(row: Mapping[str, Any], name: str, path: Path | str, line: int) -> tuple[str, ...]:
    value = row.get(name)
    if not isinstance(value, list):
        found = "nothing" if value is None else type(value).__name__
        raise DataError(
            f"field {name!r} must be a list of texts, found {found}",
            path=path, line=line, fix=f'write it like "{name}": ["text", "text"]',
        )  # fmt: skip
    items = {f"{name}[{place}]": text for place, text in enumerate(value)}
    texts = tuple(text_field(items, key, path=path, line=line) for key in items)
    if not all(text.strip() for text in texts):
        empty = next(key for key, text in items.items() if not text.strip())
        raise DataError(f"{empty} is empty", path=path, line=line, fix="remove it, and its score")
    return texts


def _scores(row: Mapping[str, Any], name: str, expected: int, path: Path | str, line: int) -> tuple[float, ...] | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(_is_number(item) for item in value):
        raise DataError(f"field {name!r} must be a list of numbers, found {str(value)[:60]}", path=path, line=line)
    if len(value) != expected:
        passages = name.removesuffix("_scores")
        raise DataError(
            f"{len(value)} {name} for {expected} texts in {passages!r}",
            path=path, line=line, fix="one score a text, or leave the field out",
        )  # fmt: skip
    return tuple(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def _count(row: Mapping[str, Any], name: str, path: Path | str, line: int) -> int | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DataError(f"field {name!r} must be a whole number from 1, found {value!r}", path=path, line=line)
    return value
