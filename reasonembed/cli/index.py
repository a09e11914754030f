"""`reasonembed index`: documents in files to a folder that can be searched, and kept up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reasonembed.cli import options

PLACES = 3
"""Places shown for each reason; report.json has all."""


def index(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Folders and files: text, Markdown, HTML, PDF, DOCX, JSON lines, CSV, Parquet, BEIR, BRIGHT."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The index folder; one that is there is brought up to date.")
    ],
    model: options.Model = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest passage in tokens; default: the model's limit, at most 512.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Read and embed everything again.")] = False,
    expansion: options.Expansion = None,
    skip_empty: options.SkipEmpty = False,
    json: options.Json = False,
    engine: options.Engine = "auto",
    device: options.Device = None,
    dtype: options.Dtype = "auto",
    max_length: options.MaxLength = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Read documents, cut them into passages, embed them and write an index; again, only what changed.

    Prose is cut at headings, paragraphs and sentences, and near-duplicates are left out. Records (JSON lines,
    CSV, Parquet) keep their ids, are never cut and never left out. A named JSON-lines file that is wrong is
    refused; what cannot be read inside a folder is left out and reported.

    Example:  reasonembed index handbook/ notes.pdf -o index/

    Example:  reasonembed index docs.jsonl -o index/

    With questions that the documents answer (`reasonembed synth run` writes such a file), which move the vectors of
    the documents towards them; the index keeps them when it is brought up to date, and forgets them with --full:
    reasonembed index docs.jsonl -o index/ --expansion synth/2_queries.jsonl
    """
    from reasonembed.encode.embedder import Embedder
    from reasonembed.io.manifest import read_json
    from reasonembed.search.expansion import read_questions
    from reasonembed.search.index import REPORT, build_index

    opened_with = {"name_or_path": options.model_place(model), "revision": revision, "max_length": max_length}
    embedder = Embedder(
        model, engine=engine, device=device, dtype=dtype, max_length=max_length, revision=revision,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    questions = read_questions(expansion) if expansion else None
    manifest = build_index(
        inputs, out, embedder, opened_with=opened_with, skip_empty=skip_empty, max_tokens=max_tokens, full=full,
        questions=questions, progress=True,
    )  # fmt: skip
    report = {**read_json(out / REPORT), **manifest}
    if manifest["run"]["rebuilt"]:
        typer.echo(f"everything was read again: {manifest['run']['rebuilt']}", err=True)
    if json:
        options.echo_json({"index": str(out), **report})
        return
    typer.echo(
        f"{out}: {manifest['count']:,} documents, {manifest['dim']} dimensions, model {embedder.name}; "
        f"{manifest['n_truncated']:,} texts cut, {manifest['n_empty']:,} empty ones left out"
    )
    if told := manifest.get("expansion"):  # an index of an earlier version does not say
        of = f"expanded by {told['questions']:,} questions of {told['documents']:,} documents"
        typer.echo(of + f"; {told['unknown']:,} are of documents that are not there" * bool(told["unknown"]))
    _show(report, out / REPORT)
    typer.echo(f'Ask it:  reasonembed search {out} "your question"')


def _show(report: dict[str, Any], place: Path) -> None:
    """What this run did, what was read by kind, what was left out by reason."""
    run = report["run"]
    typer.echo(
        f"{run['files_read']:,} files read, {run['files_unchanged']:,} unchanged, {run['files_removed']:,} gone; "
        f"{run['passages_embedded']:,} passages embedded; {run['seconds']:,.1f} s"
    )
    for kind, total in report["kinds"].items():
        typer.echo(
            f"  {kind:<9} {total['files']:>7,} files {total['passages']:>10,} passages {total['characters']:>13,} characters"
        )
    reasons = _by_reason(report)
    if reasons:
        typer.echo(f"Left out (all in {place}):")
    for reason, places in sorted(reasons.items(), key=lambda item: -len(item[1])):
        more = ", ..." if len(places) > PLACES else ""
        typer.echo(f"  {len(places):>7,}  {reason}: {', '.join(places[:PLACES])}{more}")


def _by_reason(report: dict[str, Any]) -> dict[str, list[str]]:
    """Reason -> places; reasons that differ only in what follows a colon, a bracket or a number are one."""
    import re

    reasons: dict[str, list[str]] = {}
    for skipped in report["skipped"]:
        reason = re.split(r"[:(;]|\b\d", skipped["reason"])[0].strip(" ,") or skipped["reason"]
        reasons.setdefault(reason, []).append(skipped["place"])
    if report["duplicates"]:
        places = [f"{item['id']} (as {item['repeats']})" for item in report["duplicates"]]
        reasons["near-duplicate of an earlier passage"] = places
    return reasons
