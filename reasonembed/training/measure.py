"""Reasoning intensity of every query of some datasets, with a model as it is: what training would weigh, without training.

Gets datasets and an embedder, gives a row a query; batches are drawn as training draws them, so a query meets the passages it
would meet in its first epoch. A dataset's last, incomplete batch is filled up with queries that were measured before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from reasonembed.errors import DataError, MissingExtraError
from reasonembed.progress import progress_bar
from reasonembed.training.intensity import EPSILON, KAPPA, reasoning_intensity
from reasonembed.training.losses.infonce import TEMPERATURE, query_losses

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder
    from reasonembed.training.batches import Batch, TextEncoder
    from reasonembed.training.config import TrainConfig
    from reasonembed.training.data import Dataset
    from reasonembed.types import TrainingSample

EDGES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.1, 1.5, 2.0, 3.0, 5.0, float("inf"))
"""Bins of the histogram; the last begins at the paper's clamp (paper.md 2.1), the one around 1 is where nothing changes."""
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles that are shown."""
LITTLE, MUCH = 1.1, 1.5
"""Medians from which we read that the reasoning helps a little, and much; our reading, not the paper's."""
SOLVED = 0.05
"""InfoNCE below which a query's positive is found already, so that its intensity compares two losses near 0; our reading."""


@dataclass(frozen=True, slots=True)
class QueryIntensity:
    """A query as it stands before training.

    Attributes:
        sample: `dataset:line`.
        loss: InfoNCE of the query.
        reasoning_loss: InfoNCE of its reasoning query against the same passages; None where it has none.
        intensity: The ratio of the two, raw (paper.md 2.1); None where it has no reasoning query.
    """

    sample: str
    loss: float
    reasoning_loss: float | None
    intensity: float | None


@dataclass(frozen=True, slots=True)
class IntensitySummary:
    """What the rows say together.

    Attributes:
        queries: Rows with an intensity.
        without_reasoning: Rows without.
        kappa: Where training clamps.
        at_clamp: Share of intensities at or above it.
        helped: Share of intensities above 1.
        open: Share of queries with a loss of `SOLVED` or more.
        open_intensity: Their median intensity; None where there are none.
        bins: Label -> intensities in it, by `EDGES`.
        quantiles: `loss`, `reasoning_loss`, `intensity` -> their quantiles at `SHARES`.
        datasets: Dataset -> queries, median loss, median reasoning loss, median intensity, share at the clamp.
        reading: What we read in it.
    """

    queries: int
    without_reasoning: int
    kappa: float
    at_clamp: float
    helped: float
    open: float
    open_intensity: float | None
    bins: Mapping[str, int]
    quantiles: Mapping[str, tuple[float, ...]]
    datasets: Mapping[str, Mapping[str, float]]
    reading: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Example:
    """A measured query with its texts."""

    row: QueryIntensity
    sample: TrainingSample


def measure_intensity(
    datasets: Sequence[Dataset], embedder: Embedder, config: TrainConfig, *, progress: bool = True
) -> list[QueryIntensity]:
    """Measure every query.

    Args:
        datasets: Of `open_datasets`.
        embedder: The model.
        config: Its seed, lengths, instruction and mask, and `temperature` and `epsilon` of its loss.
        progress: Show a bar.

    Returns:
        A row a sample, in the order of the datasets and their lines.

    Raises:
        DataError: No sample has a `reasoning_query`.
        MissingExtraError: torch is not installed.
        ModelError: A vector is not finite, or a length is more than the model takes.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("torch", "train", "reasoning intensity") from error
    from reasonembed.training.batches import TextEncoder

    encode = TextEncoder(embedder, config)
    rows: list[QueryIntensity] = []
    with progress_bar("intensity", sum(len(one.samples) for one in datasets), unit="queries", show=progress) as tick:
        for dataset in datasets:
            found: dict[str, QueryIntensity] = {}
            for batch in _batches(dataset, config, encode):
                known = len(found)
                for row in _measured(batch, embedder, config):
                    found.setdefault(row.sample, row)
                tick(len(found) - known)
            rows += [found[dataset.sample_name(place)] for place in range(len(dataset.samples))]
    if not any(row.intensity is not None for row in rows):
        raise DataError("no sample has a reasoning_query", fix="add it (docs/data.md): `reasonembed synth` writes it")
    return rows


def fixed_intensities(rows: Sequence[QueryIntensity]) -> dict[str, float]:
    """`dataset:line` -> intensity of the queries that have one, for the loss `fixed_intensity`."""
    return {row.sample: row.intensity for row in rows if row.intensity is not None}


class _Chosen(Sequence["TrainingSample"]):
    """Some samples of a dataset, by their places."""

    def __init__(self, samples: Sequence[TrainingSample], places: Sequence[int]) -> None:
        self._samples, self._places = samples, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        return self._samples[self._places[place]]


def _batches(dataset: Dataset, config: TrainConfig, encode: TextEncoder) -> Iterator[Batch]:
    """The first epoch of a dataset, then what it drops."""
    from dataclasses import replace

    from reasonembed.training.batches import Batches

    once = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"epochs": 1, "steps": None})})
    left = {dataset.sample_name(place): place for place in range(len(dataset.samples))}
    for batch in _all(Batches([dataset], config=once, encode=encode, needs=frozenset({"reasoning"}))):
        for name in batch.samples:
            del left[name]
        yield batch
    if left:
        dropped = list(left.values())
        others = (place for place in range(len(dataset.samples)) if dataset.sample_name(place) not in left)
        places = dropped + list(islice(others, dataset.queries - len(dropped)))
        rest = replace(dataset, samples=_Chosen(dataset.samples, places))
        (batch,) = _all(Batches([rest], config=once, encode=encode, needs=frozenset({"reasoning"})))
        names = {rest.sample_name(number): dataset.sample_name(place) for number, place in enumerate(places)}
        yield replace(batch, samples=tuple(names[name] for name in batch.samples))


def _all(batches: Sequence[Batch]) -> Iterator[Batch]:
    return (batches[step] for step in range(len(batches)))


def _measured(batch: Batch, embedder: Embedder, config: TrainConfig) -> Iterator[QueryIntensity]:
    import torch

    assert batch.reasoning is not None
    assert batch.has_reasoning is not None
    count = len(batch.queries)
    vectors = torch.from_numpy(embedder.embed_tokens([*batch.queries, *batch.reasoning, *batch.passages]))
    passages = vectors[2 * count :]  # (Q * group, dim)
    masked = None if batch.masked is None else torch.from_numpy(batch.masked)
    temperature = float(config.loss.get("temperature", TEMPERATURE))
    losses, reasoning_losses = (
        query_losses(queries, passages, group=batch.group, temperature=temperature, masked=masked)
        for queries in (vectors[:count], vectors[count : 2 * count])  # (Q, dim)
    )
    intensity = reasoning_intensity(losses, reasoning_losses, epsilon=float(config.loss.get("epsilon", EPSILON)))
    figures = zip(batch.samples, losses.tolist(), reasoning_losses.tolist(), intensity.tolist(), strict=True)
    for (name, loss, reasoning_loss, ratio), known in zip(figures, batch.has_reasoning.tolist(), strict=True):
        yield QueryIntensity(
            name, loss + 0.0, reasoning_loss + 0.0 if known else None, ratio + 0.0 if known else None
        )  # no -0.0


# --- what the rows say -----------------------------------------------------------------------------------------------------------


def summarise(rows: Sequence[QueryIntensity], *, kappa: float = KAPPA) -> IntensitySummary:
    """Count and read rows.

    Args:
        rows: Of `measure_intensity`; at least one with an intensity.
        kappa: Where training clamps.
    """
    known = [row for row in rows if row.intensity is not None]
    columns = {name: _column(known, name) for name in ("loss", "reasoning_loss", "intensity")}
    quantiles = {name: tuple(map(float, np.quantile(column, SHARES))) for name, column in columns.items()}
    intensity = columns["intensity"]
    counts = np.histogram(intensity, bins=EDGES)[0]
    groups: dict[str, list[QueryIntensity]] = {}
    for row in known:
        groups.setdefault(row.sample.rpartition(":")[0], []).append(row)
    unsolved = columns["loss"] >= SOLVED
    open_intensity = float(np.median(intensity[unsolved])) if unsolved.any() else None
    return IntensitySummary(
        queries=len(known),
        without_reasoning=len(rows) - len(known),
        kappa=kappa,
        at_clamp=float((intensity >= kappa).mean()),
        helped=float((intensity > 1).mean()),
        open=float(unsolved.mean()),
        open_intensity=open_intensity,
        bins=dict(zip(bin_labels(), counts.tolist(), strict=True)),
        quantiles=quantiles,
        datasets={name: _dataset_figures(group, kappa) for name, group in groups.items()},
        reading=_reading(float(unsolved.mean()), open_intensity),
    )


def bin_labels() -> list[str]:
    """Names of the histogram's bins."""
    inner = [f"{low:g}–{high:g}" for low, high in pairwise(EDGES[:-1])]
    return [*inner, f"≥ {EDGES[-2]:g}"]


def _column(rows: Sequence[QueryIntensity], name: str) -> Any:
    return np.array([getattr(row, name) for row in rows], np.float64)  # (n,)


def _dataset_figures(rows: Sequence[QueryIntensity], kappa: float) -> dict[str, float]:
    medians = {
        f"median_{name}": float(np.median(_column(rows, name))) for name in ("loss", "reasoning_loss", "intensity")
    }
    return {"queries": len(rows), **medians, "at_clamp": float((_column(rows, "intensity") >= kappa).mean())}


def _reading(unsolved: float, intensity: float | None) -> str:
    """A sentence for a person: does this corpus need reasoning, for this model?"""
    if intensity is None:
        return f"Every loss is below {SOLVED:g}: the model finds all positives in these batches, with or without reasoning."
    if intensity >= MUCH:
        said = "the reasoning makes their positives much easier to find: this model lacks it, or it repeats their words"
    elif intensity >= LITTLE:
        said = "the reasoning helps this model a little"
    elif intensity > 1 / LITTLE:
        said = "the reasoning does not help this model; they need none, or the model cannot use it"
    else:
        said = "the reasoning makes their positives harder to find; it may be too long, cut, or beside the point"
    return (
        f"{unsolved:.0%} of the queries have a loss of {SOLVED:g} or more, with a median intensity of {intensity:.2f}: {said}. "
        "(Our reading; the paper gives none.)"
    )


def extremes(
    rows: Sequence[QueryIntensity], datasets: Sequence[Dataset], *, count: int = 5, kappa: float = KAPPA
) -> tuple[list[Example], list[Example]]:
    """The queries that training would weigh most, and least.

    Args:
        rows: Of `measure_intensity`.
        datasets: The same as there.
        count: Of each.
        kappa: Where training clamps: among those above it, the one with the larger loss is the harder.

    Returns:
        (hardest, easiest), the most extreme first.
    """
    known = [(min(row.intensity, kappa), row.loss, row) for row in rows if row.intensity is not None]
    by_weight = [row for _, _, row in sorted(known, key=lambda item: item[:2])]
    easiest, hardest = by_weight[:count], by_weight[::-1][:count]
    wanted = {row.sample for row in (*easiest, *hardest)}
    places = (
        (dataset, place, name)
        for dataset in datasets
        for place in range(len(dataset.samples))
        if (name := dataset.sample_name(place)) in wanted
    )
    samples = {name: dataset.samples[place] for dataset, place, name in places}
    return [Example(row, samples[row.sample]) for row in hardest], [
        Example(row, samples[row.sample]) for row in easiest
    ]
