"""`reasonembed demo`: three reasoning questions, then scores on all of TheoremQA, beside BM25 and all-MiniLM-L6-v2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from reasonembed.demo import Demo, Example, Score


def demo(
    as_json: bool = typer.Option(False, "--json", help="Print JSON alone on standard output."),
) -> None:
    """A reasoning question finds its theorem, beside BM25 and all-MiniLM-L6-v2; then all are scored on all of TheoremQA, offline.

    Example:  reasonembed demo
    """
    from rich.console import Console

    from reasonembed.demo import Demo

    notes = Console(stderr=True)
    notes.print("Opening the default model, embedding the theorems ...")
    shown = Demo(progress=True)
    if as_json:
        typer.echo(_json(shown))
        return
    out = Console()
    _print_examples(out, shown.examples())
    notes.print("\nEmbedding all questions ...")
    _print_scores(out, shown, shown.scores())


def _json(shown: Demo) -> str:
    import json
    from dataclasses import asdict

    from reasonembed.demo import RULE
    from reasonembed.io.manifest import now, versions

    return json.dumps(
        {
            "dataset": "theoremqa",
            "examples_are": RULE,
            "examples": [asdict(example) for example in shown.examples()],
            "scores": [asdict(score) for score in shown.scores()],
            "model": shown.embedder.describe(),
            "versions": versions(),
            "date": now(),
        },
        indent=2,
        ensure_ascii=False,
    )


def _print_examples(out: Console, examples: list[Example]) -> None:
    from rich.markup import escape

    from reasonembed.demo import RULE

    out.print(f"\n[bold]Which theorem solves this question?[/bold] [dim]({RULE})[/dim]")
    for example in examples:
        out.print(f"\n  {escape(example.question)}")
        width = max(len(answer.system) for answer in example.answers)
        for answer in example.answers:
            mark = "[green]✓ right[/green]" if answer.right else "[red]✗ wrong[/red]"
            out.print(f"    {answer.system:<{width}}  {mark}  {escape(answer.theorem or 'nothing found')}")


def _print_scores(out: Console, shown: Demo, scores: list[Score]) -> None:
    from rich.table import Table

    counts = f"{len(shown.task.queries)} questions, {len(shown.task.documents)} theorems"
    table = Table(title=f"TheoremQA: {counts}", title_justify="left")
    table.add_column("system")
    for heading in ("nDCG@10", "recall@10", "seconds", "texts/s"):
        table.add_column(heading, justify="right")
    for score in scores:
        quality = (f"{100 * score.ndcg_at_10:.1f}", f"{100 * score.recall_at_10:.1f}")
        speed = (
            ("recorded", "") if score.seconds is None else (f"{score.seconds:.2f}", f"{score.texts_per_second:,.0f}")
        )
        table.add_row(score.system, *quality, *speed)
    out.print()
    out.print(table)
