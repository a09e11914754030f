"""`reasonembed compare`: is the one system better than the other, or is it luck?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reasonembed.cli.options import Json, echo_json


def compare(
    run_a: Annotated[Path, typer.Argument(help="Results of A: a folder that `eval -o` wrote, or a .scores.json file.")],
    run_b: Annotated[Path, typer.Argument(help="Results of B.")],
    metric: Annotated[str | None, typer.Option(help="Metric to compare; the headline metric by default.")] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap samples and sign flips.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 0,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    as_json: Json = False,
) -> None:
    """Compare two results: paired bootstrap and permutation test per dataset, and over datasets.

    Example:  reasonembed compare results/minilm results/bm25
    """
    from rich.console import Console

    from reasonembed.evaluation.compare import compare_results
    from reasonembed.evaluation.report import comparison_table
    from reasonembed.evaluation.runner import read_results

    compared = compare_results(read_results(run_a), read_results(run_b), metric=metric, resamples=resamples, seed=seed)
    if compared.left_out:
        typer.echo(f"only in one of the two, left out: {', '.join(compared.left_out)}", err=True)
    names = (f"{compared.names[0]} ({run_a})", f"{compared.names[1]} ({run_b})")
    table = comparison_table(compared.datasets, compared.overall, names=names, metric=compared.metric)
    if as_json:
        echo_json(compared.to_json())
    elif markdown:
        typer.echo(table.markdown(), nl=False)
    else:
        Console().print(table.rich())
