"""`reasonembed bench`: texts a second, memory and agreement of a model's engines and dtypes on this machine."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reasonembed.cli import options

if TYPE_CHECKING:
    from reasonembed.encode.bench import Measured


def bench(
    model: options.Model = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run", help="ENGINE:DTYPE, repeatable; default: all that the model has. First is the reference."
        ),
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help="JSON-lines file {id, text} or BEIR folder; default: TheoremQA, which ships.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Texts to embed.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds, of which the median counts.")] = 3,
    json: options.Json = False,
    device: options.Device = None,
    max_length: options.MaxLength = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Measure a model on this machine, each engine and dtype in its own process, taking turns on the same texts.

    Example:  reasonembed bench

    Example:  reasonembed bench -m my-model/ --run torch:float32 --run torch:bfloat16 --texts docs.jsonl
    """
    from dataclasses import asdict

    from reasonembed.encode.bench import bench as measure
    from reasonembed.encode.bench import packaged_texts
    from reasonembed.io.documents import document_files, read_documents
    from reasonembed.io.manifest import now, versions
    from reasonembed.model.hardware import cpu_name

    if texts is None:
        chosen, source = packaged_texts(limit), "TheoremQA"
    else:
        documents = read_documents(document_files([texts]), skip_empty=True)
        chosen, source = [document.content for document in islice(documents, limit)], str(texts)
    place = options.model_place(model)
    typer.echo(f"{len(chosen)} texts of {source}, {rounds} rounds ...", err=True)
    rows = measure(
        place, chosen, ways=run or (), rounds=rounds, device=device, max_length=max_length, revision=revision,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    if json:
        options.echo_json({
            "model": place, "texts": len(chosen), "source": source, "rounds": rounds, "cpu": cpu_name(),
            "results": [asdict(row) for row in rows], "versions": versions(), "date": now(),
        })  # fmt: skip
    else:
        _show(rows)
    if all(row.problem for row in rows):
        raise typer.Exit(1)


def _show(rows: list[Measured]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True)
    for heading in ("texts/s", "tokens/s", "ratio", "peak MB", "min cosine", "load s"):
        table.add_column(heading, justify="right", no_wrap=True)
    reference = next((row.texts_per_s for row in rows if not row.problem), 1.0)
    for row in rows:
        if row.problem:
            continue
        figures = (f"{row.texts_per_s:,.1f}", f"{row.tokens_per_s:,.0f}", f"{row.texts_per_s / reference:.2f}")
        table.add_row(
            f"{row.engine} {row.dtype} {row.device}", *figures, f"{row.peak_mb:,.0f}", f"{row.lowest_cosine:.5f}",
            f"{row.load_s:.1f}",
        )  # fmt: skip
    if any(not row.problem for row in rows):
        Console().print(table)
    for row in rows:
        if row.problem:
            typer.secho(f"{row.way}: {row.problem}", err=True, fg="yellow")
