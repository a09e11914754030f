"""How an answer of a pipeline came about, for a terminal: where each hit stood in every stage, the reasons, what it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from reasonembed.search.outcome import Answered, ExplainedHit, Spent

REWRITE_CHARS = 300
REASON_CHARS = 240


def plain(text: str) -> str:
    """Text on one line without control characters: a document must not steer the reader's terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def show_explained(answered: Answered) -> None:
    """Print the rewrites, every hit with its rank and score in each list and the rerankers' reasons, and what each stage took."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for number, rewrite in enumerate(answered.rewrites, start=1):
        console.print(Text(f"rewrite {number}: {_short(rewrite, REWRITE_CHARS)}", style="dim"))
    for hit in answered.hits:
        _show_hit(console, hit)
    _show_spent(console, answered)


def _show_hit(console: Console, hit: ExplainedHit) -> None:
    """A line with rank, score, id and title, then one a list: name, rank, score, and what a reranker said."""
    from rich.table import Table
    from rich.text import Text

    console.print(
        Text.assemble(
            (f"{hit.rank:>3}  ", "bold"), (f"{hit.score:.4f}  ", "cyan"), (plain(hit.document.id), "bold"),
            f"  {plain(hit.document.title)}" if hit.document.title else "",
        ),
        overflow="fold",
    )  # fmt: skip
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name, place in hit.places.items():
        verdict = hit.verdicts.get(name)
        said = ""
        if verdict is not None:
            mean = f"mean of {len(verdict.samples)}, " if len(verdict.samples) > 1 else ""
            given = (
                f"{mean}was #{verdict.before}" if verdict.score is not None else f"no score, stays #{verdict.before}"
            )
            said = f"{given}. {_short(verdict.reason.partition('<score>')[0], REASON_CHARS)}".rstrip()
        table.add_row(Text(f"     {name}"), f"#{place.rank}", f"{place.score:.4g}", Text(said, style="dim"))
    console.print(table)


def _show_spent(console: Console, answered: Answered) -> None:
    """One row a stage: seconds, requests, tokens, cost, failures."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("stage", no_wrap=True)
    for heading in ("seconds", "requests", "cached", "tokens in", "out", "failed", "cost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, spent in answered.spent.items():
        table.add_row(name, f"{spent.seconds:.2f}", *_counts(spent))
    console.print()
    console.print(table)


def _counts(spent: Spent) -> list[str]:
    if "requests" not in spent.counts:
        return [""] * 6
    keys = ("requests", "cached", "prompt_tokens", "completion_tokens")
    failed = spent.counts.get("failed_rewrites", 0) + spent.counts.get("unparsed", 0)
    cost = spent.counts.get("cost")
    return [*(f"{spent.counts[key]:,.0f}" for key in keys), f"{failed:,.0f}", "" if cost is None else f"{cost:.4g}"]


def _short(text: str, limit: int) -> str:
    words = plain(text[: 2 * limit])
    return words if len(words) <= limit else words[:limit].rsplit(" ", 1)[0] + " …"
