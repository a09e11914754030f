"""`reasonembed encode`: documents in files to vectors in shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reasonembed.cli import options

Devices = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda:0, ...; default: the best there is. Several with commas: a process each.",
        rich_help_panel="How the model runs",
    ),
]


def encode(
    inputs: Annotated[list[Path], typer.Argument(help="JSON-lines files {id, text, title?}, BEIR folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the shards.")],
    model: options.Model = None,
    shard_size: Annotated[int | None, typer.Option(help="Documents a shard; default: 4096.")] = None,
    rank: Annotated[int, typer.Option(help="Number of this machine, from 0.")] = 0,
    world_size: Annotated[int, typer.Option(help="Number of machines that share the work.")] = 1,
    skip_empty: options.SkipEmpty = False,
    json: options.Json = False,
    engine: options.Engine = "auto",
    device: Devices = None,
    dtype: options.Dtype = "auto",
    max_length: options.MaxLength = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Encode documents into shards of vectors; run it again after a stop, it goes on where it was.

    Example:  reasonembed encode docs.jsonl -o vectors/

    On two GPUs:  reasonembed encode docs.jsonl -o vectors/ --device cuda:0,cuda:1

    On two machines:  reasonembed encode docs.jsonl -o vectors/ --world-size 2 --rank 0   (then 1)
    """
    from dataclasses import asdict

    from reasonembed.encode.corpus import SHARD_SIZE, encode_files
    from reasonembed.encode.embedder import Embedder
    from reasonembed.encode.workers import Workers

    how: dict[str, Any] = {
        "name_or_path": model, "engine": engine, "dtype": dtype, "max_length": max_length, "revision": revision,
        "trust_remote_code": trust_remote_code,
    }  # fmt: skip
    devices = [name.strip() for name in (device or "").split(",") if name.strip()]
    embedder = Workers(devices, how) if len(devices) > 1 else Embedder(device=next(iter(devices), None), **how)
    report = encode_files(
        embedder, inputs, out, shard_size=SHARD_SIZE if shard_size is None else shard_size,
        rank=rank, world_size=world_size, skip_empty=skip_empty, progress=True,
    )  # fmt: skip
    if json:
        options.echo_json({**asdict(report), "folder": str(report.folder)})
        return
    typer.echo(
        f"{report.folder}: {report.encoded:,} of {report.count:,} documents encoded, {report.dim} wide, "
        f"{report.shards} shards of this machine, {report.resumed} of them there before; "
        f"{report.n_truncated:,} texts cut, {report.n_empty:,} empty ones left out"
    )
