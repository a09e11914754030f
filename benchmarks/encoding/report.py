"""Rows of a comparison as a table on the terminal, in Markdown, and as JSON beside a description of machine and texts."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

from encoding.harness import QUIET, Plan, Row
from encoding.peers import REFERENCE

from reasonembed.io.atomic import atomic_write

HEADS = (
    "contender", "dtype", "s", "docs/s", "tok/s", "x ST", "cpu s", "x ST cpu", "peak MB", "cos min", "cos mean", "% peak",
    "% others", "note",
)  # fmt: skip


def as_dict(row: Row, plan: Plan, baseline: Row | None, machine: dict[str, Any]) -> dict[str, Any]:
    """One row with its derived figures.

    Args:
        row: What was measured.
        plan: For the number of texts and tokens.
        baseline: The reference's row; None where it did not run.
        machine: `gflops` (dtype -> shape -> GFLOP/s) and `linear_flops_per_token` of `machine.main`.

    Returns:
        The row's fields, median_s, docs_per_s, tokens_per_s, ratio (to the baseline), peak_share (linear FLOPs alone over the
        best matrix product measured in the row's dtype).
    """
    median = row.median
    rate = plan.tokens / median
    cpu = statistics.median(row.cpu_s) if row.cpu_s else math.nan
    peak = max(machine["gflops"].get(row.dtype, {"": math.nan}).values())
    derived = {
        "median_s": median, "docs_per_s": len(plan.texts) / median, "tokens_per_s": rate,
        "ratio": baseline.median / median if baseline else math.nan, "median_cpu_s": cpu,
        "cpu_ratio": statistics.median(baseline.cpu_s) / cpu if baseline else math.nan,
        "peak_share": rate * machine["linear_flops_per_token"] / peak / 1e9, "disturbed": row.disturbed,
    }  # fmt: skip
    clean = {key: value if math.isfinite(value) else None for key, value in derived.items()}
    return asdict(row) | clean


def baseline_of(rows: list[Row], reference: str = REFERENCE) -> Row | None:
    """The reference's row, where it ran."""
    return next((row for row in rows if row.contender == reference and row.seconds), None)


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table in Markdown; fastest first, then the missing ones; `*` marks a median over disturbed runs."""
    ran = sorted((row for row in rows if row["seconds"]), key=lambda row: row["median_s"])
    lines = [_line(HEADS), _line(["---"] + ["---:" if head not in ("dtype", "note") else "---" for head in HEADS[1:]])]
    for row in ran:
        worst = max(row["others"])
        lines.append(_line((
            row["contender"], row["dtype"], f"{row['median_s']:.2f}{'*' if row['disturbed'] else ''}",
            f"{row['docs_per_s']:.1f}", f"{row['tokens_per_s']:,.0f}", _number(row["ratio"], ".2f"),
            f"{row['median_cpu_s']:.2f}", _number(row["cpu_ratio"], ".2f"),
            f"{row['peak_mb']:,.0f}" + (f" + GPU {row['gpu_peak_mb']:,.0f}" if row["gpu_peak_mb"] else ""),
            _number(row["cosine_min"], ".5f"), _number(row["cosine_mean"], ".5f"),
            _number(row["peak_share"] and 100 * row["peak_share"], ".0f"), f"{100 * worst:.0f}", row["note"].split("(")[0],
        )))  # fmt: skip
    lines += [
        _line((row["contender"], *[""] * (len(HEADS) - 2), row["problem"] or "no run"))
        for row in rows
        if not row["seconds"]
    ]
    return "\n".join(lines)


def legend(rounds: int, reference: str = REFERENCE) -> str:
    """What the columns mean."""
    return (
        f"s: median of {rounds} rounds in alternation, one process each, after one pass that warms up; x ST: speed over "
        f"`{reference}`; cpu s: processor seconds of all threads, x ST cpu: the ratio of these (steadier than x ST on a busy "
        "machine, above all with --threads 1; spinning threads count as work); peak MB: of the process from its start; cos: to "
        f"`{reference}`'s vectors; % peak: linear layers' FLOPs alone over the best matrix product measured here in that dtype; "
        f"% others: most of the cores that other processes used in one of the runs (*: fewer than three runs below "
        f"{100 * QUIET:.0f} %, so disturbed)."
    )


def fill(document: Path, name: str, text: str) -> bool:
    """Replace what stands between `<!-- encode:NAME -->` and `<!-- end -->` in a Markdown file; False where no such place is."""
    start, end = f"<!-- encode:{name} -->", "<!-- end -->"
    before, found, rest = document.read_text("utf-8").partition(start)
    if not found:
        return False
    _, _, after = rest.partition(end)
    with atomic_write(document) as file:
        file.write(f"{before}{start}\n{text}\n{end}{after}")  # type: ignore[call-overload]
    return True


def aligned(table: str) -> str:
    """A Markdown table with its columns aligned, for the terminal."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    cells = [row for row in cells if not set("".join(row)) <= set("-:")]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, 1, len(row) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
