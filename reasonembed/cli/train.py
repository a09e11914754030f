"""`reasonembed train`, `merge`, `intensity`: a model from a recipe, adapters into their model, what reasoning would help."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reasonembed.cli import options
from reasonembed.errors import DataError

if TYPE_CHECKING:
    from reasonembed.training.config import TrainConfig

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A value of the recipe, such as optimiser.learning_rate=2e-5; again for more."),
]  # fmt: skip


def train(
    recipe: Annotated[str, typer.Argument(help="YAML file, or the name of a recipe that ships (docs/train.md).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run directory; one that is there goes on.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model directory or hub name, in place of the recipe's.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", "-d", help="Training samples, in place of the recipe's; again for more."),
    ] = None,
    changes: Changes = None,
    json: options.Json = False,
) -> None:
    """Train a model; run it again after a stop, it goes on where it was. Writes report.html at the end.

    Example:  reasonembed train cpu-small -o runs/mine --data samples/

    On 8 GPUs:  torchrun --nproc-per-node 8 --no-python reasonembed train paper-qwen3-8b -o runs/qwen3-8b

    One word changed:  reasonembed train cpu-small -o runs/plain --data samples/ --set loss.name=infonce
    """
    import os
    from dataclasses import asdict

    from reasonembed.training.config import load_train_config
    from reasonembed.training.report import REPORT
    from reasonembed.training.run import train as train_model

    told: dict[str, Any] = {} if model is None else {"model": model}
    told |= {"data": list(data)} if data else {}
    config = load_train_config(recipe, changes={**told, **_parsed(changes)})
    result = train_model(config, out, progress=not json)
    if os.environ.get("RANK", "0") != "0":  # set by torchrun and accelerate: the first process speaks for all
        return
    page = out / REPORT
    if json:
        options.echo_json({**asdict(result), "model": str(result.model), "report": str(page)})
        return
    said = f"{result.steps:,} steps" + ("" if result.loss is None else f", last loss {result.loss:.4f}")
    if result.best is not None:
        said += f", best mean dev score {100 * result.best:.1f} after step {result.best_step:,}"
    typer.echo(f"{said}\nmodel:  {result.model}\nreport: {page}")


def merge(
    adapter: Annotated[Path, typer.Argument(help="Folder of PEFT adapters, such as RUN/checkpoints/checkpoint-500.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model directory to write.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model they were trained from; default: the one they name.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Add adapters to their model and write a directory that every tool opens. A finished training has done it already.

    Example:  reasonembed merge runs/one-gpu/checkpoints/checkpoint-500 -o models/step-500
    """
    try:
        from reasonembed.training.backbone import merge as merge_adapters
    except ImportError as error:
        from reasonembed.errors import MissingExtraError

        raise MissingExtraError(error.name or "torch", "train", "merging") from error
    merge_adapters(adapter, out, model=model)
    if json:
        options.echo_json({"model": str(out)})
    else:
        typer.echo(f"model: {out}")


def intensity(
    data: Annotated[
        list[Path], typer.Argument(help="Training samples with reasoning_query: files, or folders of them.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for intensity.jsonl, manifest.json and report.html.")
    ],
    model: options.Model = None,
    changes: Changes = None,
    json: options.Json = False,
    engine: options.Engine = "auto",
    device: options.Device = None,
    dtype: options.Dtype = "auto",
) -> None:
    """Measure without training how much reasoning helps a model with each query: does this corpus need reasoning at all?

    Queries meet the passages of the batch they would be trained in. --set takes the keys of a recipe: batch, lengths, loss, seed.

    Example:  reasonembed intensity samples/ -o runs/intensity

    Small data:  reasonembed intensity samples.jsonl -o runs/intensity --set batch.queries=16
    """
    import tempfile

    from reasonembed.encode.embedder import Embedder
    from reasonembed.training.data import open_datasets
    from reasonembed.training.intensity import KAPPA
    from reasonembed.training.intensity_report import histogram_lines, write_measurement
    from reasonembed.training.measure import extremes, measure_intensity, summarise

    embedder = Embedder(model, engine=engine, device=device, dtype=dtype)
    config = _measured_config(embedder.name, data, embedder.checkpoint.max_positions, _parsed(changes))
    with tempfile.TemporaryDirectory() as work:
        datasets = open_datasets(config, Path(work), progress=not json)
        rows = measure_intensity(datasets, embedder, config, progress=not json)
        kappa = float(config.loss.get("kappa", KAPPA))
        summary = summarise(rows, kappa=kappa)
        examples = extremes(rows, datasets, kappa=kappa)
    made_by = {"embedder": embedder.describe(), "settings": config.model_dump(mode="json")}
    page = write_measurement(out, rows, summary, examples, made_by=made_by)
    if json:
        options.echo_json({**summary.as_dict(), "out": str(out), "report": str(page)})
        return
    typer.echo("\n".join(histogram_lines(summary)))
    typer.echo(f"{summary.reading}\nreport: {page}")


def _measured_config(name: str, data: list[Path], longest: int | None, changes: dict[str, Any]) -> TrainConfig:
    """The paper's settings over some data, no longer than the model takes."""
    from reasonembed.training.config import LengthsConfig, changed, parse_train_config

    lengths = {key: min(value, longest or value) for key, value in LengthsConfig().model_dump().items()}
    return changed(
        parse_train_config({"name": "intensity", "model": name, "data": list(data), "lengths": lengths}), changes
    )


def _parsed(changes: list[str] | None) -> dict[str, Any]:
    """`KEY=VALUE` texts as keys and plain values."""
    from reasonembed.io.config import yaml_value

    parsed = {}
    for change in changes or ():
        key, equals, value = change.partition("=")
        if not (key and equals):
            raise DataError(f"--set {change!r} is no KEY=VALUE", fix="such as --set optimiser.learning_rate=2e-5")
        parsed[key] = yaml_value(value)
    return parsed
