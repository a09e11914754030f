"""`report.html` of a training, finished or not: losses, intensity, dev scores, rates and speed over the steps.

Gets the run directory (manifest.json, log.jsonl), gives one file without network or script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError
from reasonembed.io.manifest import read_json
from reasonembed.pages.charts import lines
from reasonembed.pages.page import configuration, duration, note, section, table, write_page
from reasonembed.training.intensity import KAPPA
from reasonembed.training.log import LOG_FILE, read_log
from reasonembed.training.losses.ri_infonce import START_STEP

REPORT, MANIFEST = "report.html", "manifest.json"
POINTS = 150
"""Points of a curve; where a training has more steps, a point is the mean of neighbours."""

Rows = Sequence[Mapping[str, Any]]


def write_report(folder: Path | str) -> Path:
    """Write `report.html` of a run directory; returns its path.

    Args:
        folder: Of a training.

    Raises:
        DataError: It is no run directory.
        StorageError: The file could not be written.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise DataError(
            f"no training: {MANIFEST} is missing", path=folder, fix="name the folder of `reasonembed train -o`"
        )
    manifest = read_json(folder / MANIFEST)
    rows = read_log(folder / LOG_FILE)
    steps = [row for row in rows if "loss" in row]
    scored = [row for row in rows if "scores" in row]
    settings = manifest.get("settings", {})
    sections = (
        _curves("Loss", {"InfoNCE": "loss", "optimised": "objective", "of the reasoning queries": "reasoning_loss"}, steps,
                "Mean InfoNCE of the queries; what is optimised; the same of the reasoning queries, which have no gradient."),
        _intensity(steps, settings),
        _scores(scored),
        _curves("Learning rate", {"learning rate": "learning_rate"}, steps),
        _curves("Gradient norm", {"gradient norm": "grad_norm"}, steps, "Before it is clipped."),
        _curves("Tokens a second", {"tokens a second": "tokens_per_second"}, steps),
        _datasets(steps),
        _versions(manifest),
        configuration(settings),
    )  # fmt: skip
    title = f"Training: {settings.get('name', folder.name)}"
    return write_page(folder / REPORT, title=title, summary=_summary(steps, scored, manifest), sections=sections)


def _summary(steps: Rows, scored: Rows, manifest: Mapping[str, Any]) -> str:
    if not steps:
        return "No step yet."
    took = duration(sum(row.get("seconds", 0) for row in steps))
    tokens = sum(row.get("tokens", 0) for row in steps)
    said = f"{steps[-1]['step']:,} steps, {tokens:,} tokens, {took} of steps; last loss {steps[-1]['loss']:.4f}"
    if scored:
        best = max(scored, key=lambda row: row["mean"])
        said += f"; best mean dev score {100 * best['mean']:.1f} after step {best['step']:,}"
    return said + ("." if "finished" in manifest else "; not finished.")


def _curves(title: str, names: Mapping[str, str], steps: Rows, said: str = "") -> str:
    """A section with the curves of fields that were logged; empty where none was."""
    series = {
        name: _thinned([(row["step"], row[field]) for row in steps if field in row]) for name, field in names.items()
    }
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    return section(title, lines(series, title=f"{title} by step"), *([note(said)] if said else []))


def _intensity(steps: Rows, settings: Mapping[str, Any]) -> str:
    rows = [row for row in steps if "intensity_median" in row]
    if not rows:
        return ""
    loss = settings.get("loss", {})
    kappa = loss.get("kappa", KAPPA)
    median = _thinned([(row["step"], row["intensity_median"]) for row in rows])
    shares = _thinned([(row["step"], 100 * row["at_clamp"]) for row in rows])
    said = f"Loss of a query by that of its reasoning query, both with the model of the step; weights are clamped at {kappa:g}"
    if loss.get("name") == "ri_infonce":
        said += f" and count after {loss.get('start_step', START_STEP):,} steps"
    return section(
        "Reasoning intensity",
        lines({"median of the batch": median}, title="Median reasoning intensity by step"),
        lines({"% of the queries at the clamp": shares}, title="Share of queries at the clamp by step"),
        note(f"{said}."),
    )


def _scores(scored: Rows) -> str:
    if not scored:
        return ""
    names = list(dict.fromkeys(name for row in scored for name in row["scores"]))
    series = {
        name: [(row["step"], 100 * row["scores"][name]) for row in scored if name in row["scores"]] for name in names
    }
    rows = [
        (f"{row['step']:,}", *(f"{100 * row['scores'][name]:.1f}" for name in names), f"{100 * row['mean']:.1f}")
        for row in scored
    ]
    return section(
        "Dev scores",
        lines(series, title="Dev scores by step", from_zero=False),
        table(("step", *names, "mean"), rows),
    )


def _datasets(steps: Rows) -> str:
    """Steps of each dataset, and how its loss changed from its first tenth to its last."""
    by_name: dict[str, list[float]] = {}
    for row in steps:
        by_name.setdefault(str(row.get("dataset", "")), []).append(row["loss"])
    rows = []
    for name, losses in sorted(by_name.items()):
        tenth = max(1, len(losses) // 10)
        rows.append((name, f"{len(losses):,}", f"{_mean(losses[:tenth]):.4f}", f"{_mean(losses[-tenth:]):.4f}"))
    return section("Datasets", table(("dataset", "steps", "loss at first", "loss at last"), rows)) if rows else ""


def _versions(manifest: Mapping[str, Any]) -> str:
    rows = sorted(manifest.get("versions", {}).items())
    return section("Versions", table(("package", "version"), rows)) if rows else ""


def _thinned(points: Sequence[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most `most` points, each the mean of neighbours of like number."""
    count = min(most, len(points))
    edges = [len(points) * place // count for place in range(count + 1)] if count else [0]
    parts = [points[start:end] for start, end in pairwise(edges)]
    return [(_mean([x for x, _ in part]), _mean([y for _, y in part])) for part in parts]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
