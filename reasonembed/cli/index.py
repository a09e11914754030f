"""`reasonembed index`: documents in files to a folder that can be searched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reasonembed.cli import options


def index(
    inputs: Annotated[list[Path], typer.Argument(help="JSON-lines files {id, text, title?}, BEIR folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The index folder; an index there is replaced.")],
    model: options.Model = None,
    skip_empty: options.SkipEmpty = False,
    json: options.Json = False,
    engine: options.Engine = "auto",
    device: options.Device = None,
    dtype: options.Dtype = "auto",
    max_length: options.MaxLength = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Encode documents and write an index: vectors, ids and texts.

    Example:  reasonembed index docs.jsonl -o index/
    """
    from reasonembed.encode.embedder import Embedder
    from reasonembed.search.index import build_index

    opened_with = {"name_or_path": options.model_place(model), "revision": revision, "max_length": max_length}
    embedder = Embedder(
        model, engine=engine, device=device, dtype=dtype, max_length=max_length, revision=revision,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    manifest = build_index(inputs, out, embedder, opened_with=opened_with, skip_empty=skip_empty, progress=True)
    if json:
        options.echo_json({"index": str(out), **manifest})
        return
    typer.echo(
        f"{out}: {manifest['count']:,} documents, {manifest['dim']} dimensions, model {embedder.name}; "
        f"{manifest['n_truncated']:,} texts cut, {manifest['n_empty']:,} empty ones left out"
    )
    typer.echo(f'Ask it:  reasonembed search {out} "your question"')
