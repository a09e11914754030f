"""What `reasonembed intensity` leaves in its folder: a row a query, the figures with their settings, and a page to look at.

intensity.jsonl   {"sample", "loss", "reasoning_loss", "intensity"}
manifest.json     figures, model, settings, versions
report.html       histogram, table, the hardest and the easiest examples; one file without network or script
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reasonembed.io.jsonl import write_jsonl
from reasonembed.io.manifest import now, versions, write_json
from reasonembed.pages.charts import histograms
from reasonembed.pages.page import configuration, escaped, note, paragraph, section, table, write_page
from reasonembed.training.measure import SHARES, Example, IntensitySummary, QueryIntensity

ROWS, MANIFEST, REPORT = "intensity.jsonl", "manifest.json", "report.html"
BAR = 40
"""Characters of the longest bar in the terminal."""


def write_measurement(
    folder: Path | str,
    rows: Sequence[QueryIntensity],
    summary: IntensitySummary,
    examples: tuple[Sequence[Example], Sequence[Example]],
    *,
    made_by: Mapping[str, Any],
) -> Path:
    """Write the files of a measurement.

    Args:
        folder: Made if it is not there.
        rows: A row a query.
        summary: Of the rows.
        examples: (hardest, easiest).
        made_by: Model and settings, plain values.

    Returns:
        Path of report.html.

    Raises:
        StorageError: A file could not be written.
    """
    folder = Path(folder)
    write_jsonl(folder / ROWS, map(asdict, rows))
    write_json(folder / MANIFEST, {**summary.as_dict(), "made_by": made_by, "versions": versions(), "date": now()})
    hardest, easiest = examples
    medians = ("dataset", "queries", "loss", "with reasoning", "intensity", "at the clamp")
    sections = (
        _histogram(summary),
        section("Quantiles", table(("", *(f"{share:.0%}" for share in SHARES)), list(_quantile_rows(summary)))),
        section("Datasets", table(medians, list(_dataset_rows(summary))), note("Losses and intensity are medians.")),
        _examples("Hardest: what training weighs most", hardest),
        _examples("Easiest: what training weighs least", easiest),
        configuration(made_by),
    )
    title = f"Reasoning intensity: {', '.join(summary.datasets)}"
    return write_page(folder / REPORT, title=title, summary=summary.reading, sections=sections)


def histogram_lines(summary: IntensitySummary) -> Iterator[str]:
    """The histogram as lines for a terminal."""
    most, wide = max(summary.bins.values()) or 1, max(map(len, summary.bins))
    for label, count in summary.bins.items():
        bar = "█" * round(BAR * count / most)
        yield f"{label:>{wide}}  {count:>7,}  {count / summary.queries:>6.1%}  {bar}".rstrip()


def _histogram(summary: IntensitySummary) -> str:
    missing = (
        f" {summary.without_reasoning:,} samples without a reasoning query are left out."
        if summary.without_reasoning
        else ""
    )
    begins = [label.partition("–")[0] for label in summary.bins]  # the whole label does not fit below a bar
    return section(
        "Histogram",
        histograms(begins, {"queries": list(summary.bins.values())}, title="Queries by reasoning intensity"),
        note(
            f"Loss of a query by the loss of its reasoning query, over {summary.queries:,} queries: {summary.helped:.1%} lie "
            f"above 1, {summary.at_clamp:.1%} at or above the clamp of {summary.kappa:g}. Below a bar: where it begins.{missing}"
        ),
    )


def _quantile_rows(summary: IntensitySummary) -> Iterator[tuple[str, ...]]:
    names = {"loss": "loss", "reasoning_loss": "loss with reasoning", "intensity": "intensity"}
    for name, shown in names.items():
        yield (shown, *(f"{value:,.3f}" for value in summary.quantiles[name]))


def _dataset_rows(summary: IntensitySummary) -> Iterator[tuple[str, ...]]:
    for name, made in summary.datasets.items():
        medians = (f"{made[f'median_{field}']:,.3f}" for field in ("loss", "reasoning_loss", "intensity"))
        yield (name, f"{made['queries']:,}", *medians, f"{made['at_clamp']:.1%}")


def _examples(title: str, examples: Sequence[Example]) -> str:
    return section(title, *map(_example, examples))


def _example(example: Example) -> str:
    row, sample = example.row, example.sample
    said = (
        f"{row.sample}: intensity {row.intensity:,.3f}, loss {row.loss:,.3f}, with reasoning {row.reasoning_loss:,.3f}"
    )
    sides = (("Query", sample.query), ("With reasoning", sample.reasoning_query or ""), ("Positive", sample.pos[0]))
    shown = "".join(f"<div><h3>{escaped(name)}</h3>{paragraph(text)}</div>" for name, text in sides)
    return f'<div class="example"><p class="note">{escaped(said)}</p><div class="sides">{shown}</div></div>'
