"""Options that several commands share: which model, how it runs. Help texts stand here once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_MODEL = "How the model runs"

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Model directory, .gguf file or hub name; default: the small model that ships."),
]
Engine = Annotated[str, typer.Option(help="auto, openvino or torch.", rich_help_panel=_MODEL)]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda:0, ...; default: the best there is.", rich_help_panel=_MODEL)
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODEL)]
MaxLength = Annotated[
    int | None, typer.Option(help="Limit in tokens; default: the model's own.", rich_help_panel=_MODEL)
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.", rich_help_panel=_MODEL)]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Let Python inside the model directory run.", rich_help_panel=_MODEL),
]
SkipEmpty = Annotated[
    bool, typer.Option("--skip-empty", help="Leave out empty documents instead of refusing the file.")
]
PipelineName = Annotated[
    str | None,
    typer.Option(
        "--pipeline", metavar="NAME|FILE", help="bge-reasoner, hybrid, hybrid-rewrite-rerank, or a YAML file."
    ),
]
LlmPlace = Annotated[
    str | None,
    typer.Option(
        "--llm",
        metavar="PLACE",
        help="Language model: URL of an OpenAI-compatible server, .gguf file, OpenVINO folder.",
    ),
]
Expansion = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Questions that documents answer, to move their vectors towards and to add to the words that BM25 indexes: "
        "JSON lines with source (id of the document) and text; may be given several times.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON alone on standard output.")]


def model_place(model: str | None) -> str | None:
    """A model's name; a path that exists is made absolute, so that it opens from every folder."""
    return str(Path(model).resolve()) if model is not None and Path(model).exists() else model


def echo_json(value: dict[str, Any]) -> None:
    """Print one JSON object."""
    import json

    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
