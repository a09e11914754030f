"""`reasonembed search`: a question in, the nearest documents of an index out; with a pipeline, and why each is where it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reasonembed.cli import options
from reasonembed.cli.explain import plain, show_explained

if TYPE_CHECKING:
    from reasonembed.search.index import Found, Index
    from reasonembed.search.outcome import Answered, ExplainedHit
    from reasonembed.search.pipeline import Pipeline

SNIPPET_CHARS = 200
INDENT = 5
_STAGES = "How it searches"
FLAGS_RECIPE = "hybrid-rewrite-rerank"
"""--hybrid, --rewrite and --rerank take their stages from this pipeline, so that their settings stand in one place."""


def search(
    index: Annotated[Path, typer.Argument(help="Index folder, made by `reasonembed index`.")],
    question: Annotated[str, typer.Argument(help="What to find.")],
    k: Annotated[int | None, typer.Option("-k", min=1, help="Number of hits; default: 10, or the pipeline's.")] = None,
    instruction: Annotated[
        str | None, typer.Option(help="What the task is; default: the model's own instruction.")
    ] = None,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Search by words too, and fuse.", rich_help_panel=_STAGES)
    ] = False,
    rewrite: Annotated[
        bool,
        typer.Option(
            "--rewrite", help="Let the language model reason about the question first.", rich_help_panel=_STAGES
        ),
    ] = False,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Let the language model judge the first hits.", rich_help_panel=_STAGES)
    ] = False,
    pipeline: options.PipelineName = None,
    llm: options.LlmPlace = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show each hit's rank and score in every stage, reasons, time, tokens.")
    ] = False,
    json: options.Json = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Where the model of the index is now, if it moved.")
    ] = None,
    device: options.Device = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Find the documents of an index that help to answer a question.

    Example:  reasonembed search index/ "Why does a linear code correct this many errors?"

    Example:  reasonembed search index/ "..." --hybrid --rerank --llm http://localhost:8000/v1 --explain

    Example:  reasonembed search index/ "..." --pipeline bge-reasoner --llm http://localhost:8000/v1
    """
    from reasonembed.search.index import open_index

    if pipeline is not None and (hybrid or rewrite or rerank):
        raise typer.BadParameter("--pipeline says all: leave out --hybrid, --rewrite and --rerank")
    if (rewrite or rerank) and llm is None:
        raise typer.BadParameter("--rewrite and --rerank need --llm")
    staged = hybrid or rewrite or rerank or explain or pipeline is not None
    if llm is not None and not staged:
        raise typer.BadParameter("--llm needs --rewrite, --rerank or --pipeline")
    overrides: dict[str, Any] = {"device": device, "trust_remote_code": trust_remote_code}
    if model is not None:
        overrides["name_or_path"] = model
    opened = open_index(index, overrides=overrides)
    head = {"index": str(index), "question": question, "instruction": instruction}
    if staged:
        with _pipeline(pipeline, hybrid=hybrid, rewrite=rewrite, rerank=rerank, llm=llm) as stages:
            _staged(stages, opened, question, head, k=k, instruction=instruction, explain=explain, json=json)
        return
    hits = opened.search(question, k or 10, instruction=instruction)
    if json:
        options.echo_json({**head, "model": opened.embedder.describe(), "hits": [_as_dict(hit) for hit in hits]})
        return
    _show(hits)


def _pipeline(source: str | None, *, hybrid: bool, rewrite: bool, rerank: bool, llm: str | None) -> Pipeline:
    """The pipeline that was named, or that the flags make up."""
    from reasonembed.search.pipeline import Pipeline
    from reasonembed.search.pipeline_config import chosen_stages, load_config

    if source is not None:
        return Pipeline.from_yaml(source, llm=llm)
    _, config = load_config(FLAGS_RECIPE)
    return Pipeline(chosen_stages(config, hybrid=hybrid, rewrite=rewrite, rerank=rerank), name="flags", llm=llm)


def _staged(
    stages: Pipeline, index: Index, question: str, head: dict[str, Any], *, k: int | None, instruction: str | None,
    explain: bool, json: bool,
) -> None:  # fmt: skip
    """Search with a pipeline and show the answer."""
    (answered,) = stages.search(index, question, k=k, instruction=instruction, progress=not json)
    if not json:
        show_explained(answered) if explain else _show(answered.hits)
        return
    needs_model = any(view.kind == "dense" for view in stages.config.views.values())
    options.echo_json({
        **head, "model": index.embedder.describe() if needs_model else None, "pipeline": stages.describe(),
        **_account(answered), "hits": [_as_dict(hit) | _why(hit) for hit in answered.hits],
    })  # fmt: skip


def _account(answered: Answered) -> dict[str, Any]:
    stages = {name: spent.as_dict() for name, spent in answered.spent.items()}
    return {"rewrites": list(answered.rewrites), "stages": stages}


def _why(hit: ExplainedHit) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "lists": {name: asdict(place) for name, place in hit.places.items()},
        "rerank": {name: asdict(verdict) for name, verdict in hit.verdicts.items()},
    }


def _as_dict(hit: Found | ExplainedHit) -> dict[str, Any]:
    document = hit.document
    return {
        "rank": hit.rank,
        "score": hit.score,
        "id": document.id,
        "title": document.title,
        "text": document.text,
    }


def _show(hits: Sequence[Found | ExplainedHit]) -> None:
    """Rank, score, id and title on one line, the beginning of the text below it, wrapped to the terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for hit in hits:
        head = Text.assemble(
            (f"{hit.rank:>3}  ", "bold"), (f"{hit.score:.4f}  ", "cyan"), (plain(hit.document.id), "bold"),
            f"  {plain(hit.document.title)}" if hit.document.title else "",
        )  # fmt: skip
        console.print(head, overflow="fold")
        words = plain(hit.document.text[: 2 * SNIPPET_CHARS])
        snippet = words if len(words) <= SNIPPET_CHARS else words[:SNIPPET_CHARS].rsplit(" ", 1)[0] + " …"
        for line in Text(snippet, style="dim").wrap(console, max(20, console.width - INDENT)):
            line.rstrip()
            console.print(" " * INDENT, line, sep="")
