"""Training samples on disk as sequences: checked once, then read one at a time, so that memory does not grow with their texts.

Gets the datasets of a `TrainConfig`, gives for each its samples, the size of its global batch and its instruction.
"""

from __future__ import annotations

import gzip
import json
import shutil
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonembed.dataset.samples import dataset_name, numbered_samples, sample_files, sample_from
from reasonembed.errors import DataError
from reasonembed.io.atomic import atomic_write
from reasonembed.io.manifest import fingerprint
from reasonembed.progress import progress_bar

if TYPE_CHECKING:
    from reasonembed.training.config import DataConfig, TrainConfig
    from reasonembed.types import TrainingSample

DEVICES = 8
"""Devices for which `batch_size` of a sample is meant (paper.md 1.6: 8 a device gives a global batch of 64 queries)."""
_TICK = 1000


class SampleFile(Sequence["TrainingSample"]):
    """The samples of a file, every line checked on opening, each read from disk when it is asked for.

    Takes 12 bytes of memory a sample.

    Args:
        path: JSON lines, plain or gzip.
        work: Folder for the decompressed copy of a gzip file; a copy that is there is used again.
        progress: Show a bar while lines are checked.

    Attributes:
        path: The file.
        with_reasoning: Samples that have a `reasoning_query`.
        with_scores: Samples that have scores of all their passages.

    Raises:
        DataError: A line is wrong (file and line), or no sample is in the file.
        StorageError: The copy could not be written.
    """

    def __init__(self, path: Path | str, work: Path | str, *, progress: bool = False) -> None:
        self.path = Path(path)
        self.with_reasoning = self.with_scores = 0
        self._lines = array("I")
        with progress_bar(f"{self.path.name} checked", None, unit="samples", show=progress) as tick:
            for line, sample in numbered_samples(self.path):
                self._lines.append(line)
                self.with_reasoning += sample.reasoning_query is not None
                self.with_scores += sample.pos_scores is not None and (sample.neg_scores is not None or not sample.neg)
                if len(self._lines) % _TICK == 0:
                    tick(_TICK)
        if not self._lines:
            raise DataError("no sample in the file", path=self.path, fix="one JSON object a line, see docs/data.md")
        self._plain = _decompressed(self.path, Path(work)) if self.path.suffix == ".gz" else self.path
        self._offsets = array("Q", _offsets(self._plain, self._lines))

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, place: Any) -> Any:
        """The sample at a place from 0, or those of a slice."""
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        line, offset = self._lines[place], self._offsets[place]
        with self._plain.open("rb") as file:
            file.seek(offset)
            raw = file.readline()
        try:
            return sample_from(json.loads(raw.decode("utf-8-sig")), path=self.path, line=line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"the file has changed since it was checked: {error}", path=self.path, line=line, fix="start again"
            ) from error

    def line(self, place: int) -> int:
        """Number of the line, from 1, that the sample at a place stands on."""
        return self._lines[place]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples that make batches of their own.

    Attributes:
        name: Of the file.
        samples: What is drawn from.
        queries: Queries in a global batch.
        group: Passages a query: one positive, the others negatives.
        instruction: Of queries whose sample has no `prompt`; None takes the checkpoint's.
    """

    name: str
    samples: Sequence[TrainingSample]
    queries: int
    group: int
    instruction: str | None = None

    def sample_name(self, place: int) -> str:
        """`name:line` of a sample, by which messages, logs and fixed intensities know it."""
        line = self.samples.line(place) if isinstance(self.samples, SampleFile) else place + 1
        return f"{self.name}:{line}"


def open_datasets(config: TrainConfig, work: Path | str, *, progress: bool = False) -> list[Dataset]:
    """Open the datasets of a training.

    Queries and group of a global batch come from the recipe's entry of the dataset, else from `batch_size` (of each of 8
    devices) and `train_group_size` of its first sample (paper.md 1.6), else from `batch`.

    Args:
        config: Names them.
        work: Folder for decompressed copies.
        progress: Show a bar a file.

    Returns:
        One dataset a file, in the order of the config.

    Raises:
        DataError: A line is wrong, two files have one name, a dataset is smaller than its global batch, or the loss needs
            what no sample has.
    """
    found: dict[str, Dataset] = {}
    for part in config.data:
        for file in sample_files([part.path]):
            name = dataset_name(file)
            if name in found:
                raise DataError(
                    f"a second dataset is named {name!r}", path=file, fix="rename the file, or name it once"
                )
            found[name] = _sized(part, config, name, SampleFile(file, work, progress=progress))
    _check_needs(config, [dataset.samples for dataset in found.values() if isinstance(dataset.samples, SampleFile)])
    _check_groups(config, list(found.values()))
    return list(found.values())


def _sized(part: DataConfig, config: TrainConfig, name: str, samples: SampleFile) -> Dataset:
    """A dataset with the size of its global batch."""
    first = samples[0]
    own = None if first.batch_size is None else DEVICES * first.batch_size
    queries = part.queries or own or config.batch.queries
    group = part.group or first.train_group_size or config.batch.group
    if len(samples) < queries:
        raise DataError(
            f"{len(samples):,} samples, fewer than the {queries:,} queries of one global batch",
            path=samples.path, fix=f"`queries: {len(samples)}` or less beside its path in `data`, or leave the file out",
        )  # fmt: skip
    instruction = config.instruction if part.instruction is None else part.instruction
    return Dataset(name, samples, queries, group, instruction)


def _check_groups(config: TrainConfig, datasets: Sequence[Dataset]) -> None:
    """Refuse a loss over the passages of a query where a query has one."""
    from reasonembed.training.losses import open_loss

    alone = [dataset.name for dataset in datasets if dataset.group < 2]
    if alone and "scores" in open_loss(config.loss).needs:
        raise DataError(
            f"the loss {config.loss.get('name')!r} compares the passages of a query, and {alone[0]!r} has one a query",
            fix="`group: 2` or more, or `loss: {name: infonce}`",
        )


def _check_needs(config: TrainConfig, files: Sequence[SampleFile]) -> None:
    """Refuse a loss that would have nothing to work with."""
    from reasonembed.training.losses import open_loss

    needs = open_loss(config.loss).needs
    counts = {
        "reasoning": ("reasoning_query", sum(file.with_reasoning for file in files)),
        "scores": ("pos_scores and neg_scores", sum(file.with_scores for file in files)),
    }
    for need, (field, count) in counts.items():
        if need in needs and not count:
            names = ", ".join(file.path.name for file in files)
            raise DataError(
                f"the loss {config.loss.get('name')!r} needs {field}, which no sample has ({names})",
                fix=f"add {field} (docs/data.md), or `loss: {{name: infonce}}`",
            )


def _decompressed(path: Path, work: Path) -> Path:
    """The plain copy of a gzip file, named after where it lies, its size and its time."""
    state = path.stat()
    key = fingerprint([str(path.resolve()), str(state.st_size), str(state.st_mtime_ns)])
    copy = work / f"{path.name.removesuffix('.gz')}.{key[:12]}"
    if not copy.is_file():
        with gzip.open(path, "rb") as source, atomic_write(copy, "wb") as target:
            shutil.copyfileobj(source, target)  # type: ignore[misc]
    return copy


def _offsets(plain: Path, lines: Sequence[int]) -> Iterator[int]:
    """Byte at which each of these lines, ascending, begins."""
    wanted = iter(lines)
    line, offset = next(wanted, None), 0
    with plain.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == line:
                yield offset
                line = next(wanted, None)
            offset += len(raw)
