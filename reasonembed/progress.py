"""One progress bar for every long job: done of total, rate, time left, on standard error; silent where nobody watches."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol


class Advance(Protocol):
    """Adds n finished units to a bar, and may put a note behind its description."""

    def __call__(self, n: int, note: str = "") -> None:
        """See the class."""
        ...


@contextlib.contextmanager
def progress_bar(description: str, total: int | None, *, unit: str = "texts", show: bool = True) -> Iterator[Advance]:
    """Show a bar while the block runs.

    Args:
        description: What is being done, such as `documents`.
        total: Number of units; None where it is not known.
        unit: What is counted.
        show: False, or a standard error that is no terminal, shows nothing.

    Yields:
        A function that adds n finished units; a note, such as the loss, stands behind the description.
    """
    if not (show and sys.stderr.isatty()):
        yield lambda n, note="": None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Task as RichTask
    from rich.text import Text

    class RateColumn(TextColumn):
        def render(self, task: RichTask) -> Text:
            speed = task.finished_speed or task.speed
            digits = 0 if speed is None or speed >= 10 else 2
            return Text(f"{speed:,.{digits}f} {unit}/s" if speed else f"- {unit}/s", style="progress.data.speed")

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(""),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(description, total=total)
        yield lambda n, note="": bars.update(task, advance=n, description=f"{description} {note}".rstrip())
