"""`reasonembed doctor`: is this model, or this server, giving the vectors it should?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reasonembed.cli import options

if TYPE_CHECKING:
    from reasonembed.encode.doctor import Finding

_MARKS = {"ok": ("✓", "green"), "note": ("·", "cyan"), "problem": ("✗", "red")}


def doctor(
    target: Annotated[
        str,
        typer.Argument(help="Model directory, .gguf file, hub name, or URL of an OpenAI-compatible server."),
    ],
    reference: Annotated[
        Path | None,
        typer.Option("--reference", "-r", help="For a URL: model directory whose vectors it should give."),
    ] = None,
    served_model: Annotated[
        str | None, typer.Option(help="For a URL: model name to send; default: the first it lists.")
    ] = None,
    json: options.Json = False,
    engine: options.Engine = "auto",
    device: options.Device = None,
    dtype: options.Dtype = "auto",
    max_length: options.MaxLength = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Open a model or a server, embed the reference texts, say what is wrong: EOS, pooling, prompt, norm, dtype.

    Exit code 1 if a problem was found.

    Example:  reasonembed doctor my-model/

    Example:  reasonembed doctor http://localhost:8000/v1 --reference my-model/
    """
    from reasonembed.encode.doctor import examine_endpoint, examine_model
    from reasonembed.encode.embedder import Embedder
    from reasonembed.encode.endpoint import Endpoint

    def opened(name: str) -> Embedder:
        return Embedder(
            name,
            engine=engine,
            device=device,
            dtype=dtype,
            max_length=max_length,
            revision=revision,
            trust_remote_code=trust_remote_code,
        )

    if target.startswith(("http://", "https://")):
        findings = examine_endpoint(Endpoint(target, model=served_model), opened(str(reference)) if reference else None)
    else:
        findings = examine_model(opened(target))
    healthy = all(finding.level != "problem" for finding in findings)
    if json:
        rows = [{"level": finding.level, "what": finding.what, "detail": finding.detail} for finding in findings]
        options.echo_json({"target": target, "healthy": healthy, "findings": rows})
    else:
        _show(findings)
    if not healthy:
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 1))
    for finding in findings:
        mark, colour = _MARKS[finding.level]
        table.add_row(Text(mark, style=colour), Text(finding.what, style="bold"), Text(finding.detail))
    Console(highlight=False).print(table)
