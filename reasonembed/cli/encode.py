"""`reasonembed encode`: documents in files to vectors in shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reasonembed.cli import options


def encode(
    inputs: Annotated[list[Path], typer.Argument(help="JSON-lines files {id, text, title?}, BEIR folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the shards.")],
    model: options.Model = None,
    shard_size: Annotated[int | None, typer.Option(help="Documents a shard; default: 4096.")] = None,
    rank: Annotated[int, typer.Option(help="Number of this process, from 0.")] = 0,
    world_size: Annotated[int, typer.Option(help="Number of processes that share the work.")] = 1,
    skip_empty: options.SkipEmpty = False,
    json: options.Json = False,
    engine: options.Engine = "auto",
    device: options.Device = None,
    dtype: options.Dtype = "auto",
    max_length: options.MaxLength = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Encode documents into shards of vectors; run it again after a stop, it goes on where it was.

    Example:  reasonembed encode docs.jsonl -o vectors/

    On two machines:  reasonembed encode docs.jsonl -o vectors/ --world-size 2 --rank 0   (then 1)
    """
    from dataclasses import asdict

    from reasonembed.encode.corpus import SHARD_SIZE, encode_files
    from reasonembed.encode.embedder import Embedder

    embedder = Embedder(
        model, engine=engine, device=device, dtype=dtype, max_length=max_length, revision=revision,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    report = encode_files(
        embedder, inputs, out, shard_size=SHARD_SIZE if shard_size is None else shard_size,
        rank=rank, world_size=world_size, skip_empty=skip_empty, progress=True,
    )  # fmt: skip
    if json:
        options.echo_json({**asdict(report), "folder": str(report.folder), "model": embedder.describe()})
        return
    typer.echo(
        f"{report.folder}: {report.encoded:,} of {report.count:,} documents encoded, {report.dim} wide, "
        f"{report.shards} shards of this process, {report.resumed} of them there before; "
        f"{report.n_truncated:,} texts cut, {report.n_empty:,} empty ones left out"
    )
