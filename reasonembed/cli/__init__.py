"""The command line: typer, one file a command, no logic. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys

import typer

from reasonembed.cli import adapt, bench, compare, data, demo, doctor, encode, evaluate, index, search, synth, train
from reasonembed.errors import ReasonEmbedError

app = typer.Typer(
    name="reasonembed",
    help="Retrieval that reasons: find the theorem, theory or technique behind a question.",
    epilog="Start with:  reasonembed demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"reasonembed {version('reasonembed')}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and leave."
    ),
) -> None: ...


app.command("demo")(demo.demo)
app.command("encode")(encode.encode)
app.command("index")(index.index)
app.command("search")(search.search)
app.add_typer(synth.app, name="synth")
app.add_typer(data.app, name="data")
app.add_typer(evaluate.app, name="eval")
app.command("train")(train.train)
app.command("merge")(train.merge)
app.command("intensity")(train.intensity)
app.command("adapt")(adapt.adapt)
app.command("compare")(compare.compare)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)


def main() -> None:
    """Entry point: runs a command; a ReasonEmbedError becomes one line on standard error and exit code 1 (2 is wrong usage)."""
    try:
        app()
    except ReasonEmbedError as error:
        typer.secho(f"error: {error}", err=True, fg="red")
        sys.exit(1)
