"""`reasonembed adapt`: from a folder of documents to a tuned model, its measured gain, an index and a report."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reasonembed.cli import options
from reasonembed.errors import DataError

if TYPE_CHECKING:
    from reasonembed.adaptation.config import AdaptConfig


def adapt(
    docs: Annotated[list[Path], typer.Argument(help="Folders and files of documents, as for `index`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run directory; one that is there goes on.")],
    llm: options.LlmPlace = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Questions with their documents, or a log of clicks: CSV or JSON lines (docs/adapt.md)."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Directory or hub name of torch weights to tune; default: the model that ships."
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Questions to write: post, coding, math, exam, or a sentence that says what.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="What answers a written question: source, the passage it is from (default), or judged by the language model."
        ),
    ] = None,
    budget_requests: Annotated[
        int | None, typer.Option(metavar="N", help="Requests to the language model that may be spent.")
    ] = None,
    hours: Annotated[float | None, typer.Option(metavar="H", help="Time that all may take.")] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Run a small sample and say what the whole will take, no more.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 42,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value of a recipe, such as synth.queries.max_tokens=300 or train.batch.group=4.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Tune a model to documents and say plainly whether it helps; run it again after a stop, it goes on where it was.

    A part of the documents is held out; the model is trained on questions about the others, and scored on questions about these.
    Documents expanded by the questions, without training, are tried as well; the index is made with what is better.

    Example:  reasonembed adapt handbook/ -o runs/handbook --llm model.gguf --hours 8 --estimate

    Then:  reasonembed adapt handbook/ -o runs/handbook --llm model.gguf --hours 8

    Without a language model:  reasonembed adapt handbook/ -o runs/handbook --pairs clicks.csv
    """
    from dataclasses import asdict

    from reasonembed.adaptation.run import adapt as run
    from reasonembed.adaptation.run import forecast

    told = {
        "llm": llm,
        "pairs": pairs,
        "model": options.model_place(model),
        "kind": kind,
        "labels": labels,
        "budget_requests": budget_requests,
    }
    config = _config({**told, "hours": hours, "seed": seed}, changes)
    if estimate:
        with _told(not json):
            made = forecast(docs, out, config=config, progress=not json)
        if json:
            options.echo_json(made.as_dict())
            return
        from rich.console import Console

        Console().print(made.table().rich())
        return
    with _told(not json):
        result = run(docs, out, config=config, progress=not json)
    if json:
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(result).items()}
        options.echo_json(plain)
        return
    typer.echo(f"{result.sentence}\nmodel:  {result.model}\nreport: {result.report}")


def _config(told: dict[str, Any], changes: list[str] | None) -> AdaptConfig:
    """What was told, with `synth.KEY=VALUE` and `train.KEY=VALUE` for the recipes."""
    from reasonembed.adaptation.config import parse_adapt_config
    from reasonembed.io.config import yaml_value

    recipes: dict[str, dict[str, Any]] = {"synth": {}, "train": {}}
    for change in changes or ():
        key, equals, value = change.partition("=")
        recipe, dot, name = key.partition(".")
        if not (equals and dot and name and recipe in recipes):
            raise DataError(
                f"--set {change!r} is no synth.KEY=VALUE or train.KEY=VALUE", fix="such as --set train.batch.group=4"
            )
        recipes[recipe][name] = yaml_value(value)
    return parse_adapt_config({**{key: value for key, value in told.items() if value is not None}, **recipes})


@contextlib.contextmanager
def _told(show: bool) -> Iterator[None]:
    """What is done and decided, a line each on standard error, while the block runs."""
    module, handler = logging.getLogger("reasonembed.adaptation"), logging.StreamHandler()
    before = module.level
    if show:
        module.setLevel(logging.INFO)
        module.addHandler(handler)
    try:
        yield
    finally:
        module.removeHandler(handler)
        module.setLevel(before)
