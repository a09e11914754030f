"""`reasonembed search`: a question in, the nearest documents of an index out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reasonembed.cli import options

if TYPE_CHECKING:
    from reasonembed.search.index import Found

SNIPPET_CHARS = 200
INDENT = 5


def search(
    index: Annotated[Path, typer.Argument(help="Index folder, made by `reasonembed index`.")],
    question: Annotated[str, typer.Argument(help="What to find.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of hits.")] = 10,
    instruction: Annotated[
        str | None, typer.Option(help="What the task is; default: the model's own instruction.")
    ] = None,
    json: options.Json = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Where the model of the index is now, if it moved.")
    ] = None,
    device: options.Device = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Find the documents of an index that help to answer a question.

    Example:  reasonembed search index/ "Why does a linear code correct this many errors?"
    """
    from reasonembed.search.index import open_index

    overrides: dict[str, Any] = {"device": device, "trust_remote_code": trust_remote_code}
    if model is not None:
        overrides["name_or_path"] = model
    opened = open_index(index, overrides=overrides)
    hits = opened.search(question, k, instruction=instruction)
    if json:
        options.echo_json(
            {"index": str(index), "question": question, "instruction": instruction,
             "model": opened.embedder.describe(), "hits": [_as_dict(hit) for hit in hits]}
        )  # fmt: skip
        return
    _show(hits)


def _as_dict(hit: Found) -> dict[str, Any]:
    document = hit.document
    return {
        "rank": hit.rank,
        "score": hit.score,
        "id": document.id,
        "title": document.title,
        "text": document.text,
    }


def _show(hits: list[Found]) -> None:
    """Rank, score, id and title on one line, the beginning of the text below it, wrapped to the terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for hit in hits:
        head = Text.assemble(
            (f"{hit.rank:>3}  ", "bold"), (f"{hit.score:.4f}  ", "cyan"), (_plain(hit.document.id), "bold"),
            f"  {_plain(hit.document.title)}" if hit.document.title else "",
        )  # fmt: skip
        console.print(head, overflow="fold")
        words = _plain(hit.document.text[: 2 * SNIPPET_CHARS])
        snippet = words if len(words) <= SNIPPET_CHARS else words[:SNIPPET_CHARS].rsplit(" ", 1)[0] + " …"
        for line in Text(snippet, style="dim").wrap(console, max(20, console.width - INDENT)):
            line.rstrip()
            console.print(" " * INDENT, line, sep="")


def _plain(text: str) -> str:
    """Text on one line without control characters: a document must not steer the reader's terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
