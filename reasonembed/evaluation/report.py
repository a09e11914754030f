"""Results and comparisons as tables: for the terminal (rich), as Markdown, and as plain values for JSON.

A table is built once, of strings, and shown in either way, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from reasonembed.evaluation.published import Published, published_score
from reasonembed.evaluation.runner import Result
from reasonembed.evaluation.significance import CONFIDENCE, Comparison

if TYPE_CHECKING:
    from rich.table import Table as RichTable

# Metrics shown beside the headline one.
_SHOWN = ("ndcg@10", "recall@10", "recall@100", "mrr@10")
MEAN = "mean"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; the first column names the row.

    Attributes:
        title: Stands above; may be empty.
        columns: Heads of the columns.
        rows: One tuple of cells a row; the last row of several is the mean.
        notes: Lines that stand below.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """A Markdown table, ending in a line end."""
        lines = [f"### {_escaped(self.title)}", ""] if self.title else []
        lines.append(_markdown_row(self.columns))
        lines.append("|---|" + "---:|" * (len(self.columns) - 1))
        lines += [_markdown_row(row) for row in self.rows]
        lines += ["", *(f"{_escaped(note)}  " for note in self.notes)] if self.notes else []
        return "\n".join(lines) + "\n"

    def rich(self) -> RichTable:
        """A table for a terminal."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable
        from rich.text import Text

        caption = Text("\n".join(self.notes)) if self.notes else None
        title = Text(self.title) if self.title else None
        table = RichTable(
            title=title,
            caption=caption,
            caption_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for number, name in enumerate(self.columns):
            widest = max(len(text) for text in (*name.split(), *(row[number] for row in self.rows)))
            table.add_column(name, justify="right" if number else "left", min_width=widest)
        for row in self.rows:
            if row[0] == MEAN:
                table.add_section()
            table.add_row(*(Text(cell) for cell in row))
        return table


def mean_score(results: Sequence[Result], metric: str | None = None) -> float:
    """Plain mean over tasks of a metric (None: each task's headline), in [0, 1]."""
    values = [result.headline if metric is None else result.scores.means[metric] for result in results]
    return sum(values) / len(values)


def result_table(results: Sequence[Result], *, against: Published | None = None) -> Table:
    """One row a task, values x 100, and their plain mean where there are several.

    Args:
        results: At least one, of one retriever.
        against: A published row to stand beside ours; its figures are nDCG@10.
    """
    first = results[0]
    headline = "ndcg@10" if against is not None else first.metric
    metrics = tuple(dict.fromkeys((headline, *_SHOWN)))
    extra = ("published", "diff") if against else ()
    rows = []
    for result in results:
        means = [result.scores.means[metric] for metric in metrics]
        published = published_score(against, result.task.partition("/")[2]) if against else None
        rows.append((result.label, *map(_percent, means), *(_beside(means[0], published) if against else ())))
    if len(results) > 1:
        means = [mean_score(results, metric) for metric in metrics]
        rows.append((MEAN, *map(_percent, means), *(_mean_beside(results, means[0], against) if against else ())))
    columns = ("task", *(_metric_name(metric) for metric in metrics), *extra)
    made = first.made_by
    title = f"{made.get('model')} · protocol {made.get('protocol')}"
    return Table(title, columns, tuple(rows), _notes(results, against))


def comparison_table(
    comparisons: Mapping[str, Comparison], overall: Comparison | None, *, names: tuple[str, str], metric: str
) -> Table:
    """One row a dataset: means of A and B, difference, its interval, p-values; values x 100.

    Args:
        comparisons: By dataset.
        overall: Over the datasets; None leaves the last row out.
        names: What A and B are called.
        metric: Which metric is compared.
    """
    columns = (
        "task",
        "A",
        "B",
        "A - B",
        f"{CONFIDENCE:.0%} interval",
        "p boot",
        "p perm",
        "queries",
    )
    rows = [(name, *_comparison_cells(comparison)) for name, comparison in comparisons.items()]
    if overall is not None:
        rows.append((MEAN, *_comparison_cells(overall)))
    notes = (
        f"A: {names[0]}",
        f"B: {names[1]}",
        "p boot: paired bootstrap; p perm: paired permutation test; two-sided",
    )
    return Table(f"{_metric_name(metric)}, paired over queries", columns, tuple(rows), notes)


def results_json(results: Sequence[Result], *, against: Published | None = None) -> dict[str, Any]:
    """Results as plain values: without per-query values, with the published row where one is asked for."""
    tasks = []
    for result in results:
        value = {key: item for key, item in result.to_json().items() if key != "per_query"}
        if against is not None:
            score = published_score(against, result.task.partition("/")[2])
            ours = 100 * result.scores.means["ndcg@10"]
            value["published"] = score
            value["difference"] = None if score is None else ours - score
        tasks.append(value)
    report: dict[str, Any] = {"results": tasks, "mean": mean_score(results)}
    if against is not None:
        report["published"] = asdict(against)
    return report


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _metric_name(metric: str) -> str:
    name, at, cutoff = metric.partition("@")
    return f"{'nDCG' if name == 'ndcg' else 'recall' if name == 'recall' else name.upper()}{at}{cutoff}"


def _beside(ours: float, published: float | None) -> tuple[str, str]:
    """Published figure and our difference to it; `-` where it is not known."""
    if published is None:
        return "-", "-"
    return f"{published:.1f}", f"{100 * ours - published:+.1f}"


def _mean_beside(results: Sequence[Result], ours: float, against: Published) -> tuple[str, str]:
    """Against the published average where the tasks are all there are, else against the mean of the same."""
    scores = [published_score(against, result.task.partition("/")[2]) for result in results]
    if any(score is None for score in scores):
        return "-", "-"
    whole = len(scores) == len(against.scores)
    return _beside(ours, against.average if whole else sum(filter(None, scores)) / len(scores))


def _notes(results: Sequence[Result], against: Published | None) -> tuple[str, ...]:
    notes = []
    for what in ("queries", "documents"):
        facts = [result.made_by.get(what, {}) for result in results]
        cut, texts = (sum(fact.get(key) or 0 for fact in facts) for key in ("cut", "texts"))
        if cut:
            notes.append(f"{cut:,} of {texts:,} {what} were cut to the length limit")
    for result in results:
        if drawn := result.made_by.get("sample"):
            notes.append(
                f"{result.task}: a sample of {drawn['queries']:,} of {drawn['of']:,} queries, seed {drawn['seed']}"
            )
        if (seconds := result.made_by.get("seconds_per_query")) is not None:
            notes.append(f"{result.task}: {_spent(seconds, result.made_by.get('llm', {}))}")
    if note := results[0].made_by.get("protocol_note"):
        notes.append(f"protocol: {note}")
    if against is not None:
        known = "" if against.scores else f"; only its average is known: {against.average}"
        notes.append(f"published: {against.model}, nDCG@10, source {against.source}, queries {against.queries}{known}")
        if results[0].made_by.get("protocol") != "reasonembed":
            notes.append("the published figures are of the protocol reasonembed")
    return tuple(notes)


def _spent(seconds_per_query: float, llm: Mapping[str, float]) -> str:
    """What a pipeline took, in words."""
    said = [f"{seconds_per_query:.2g} s a query"]
    if llm.get("requests"):
        tokens = f"{llm['prompt_tokens']:,.0f} tokens read, {llm['completion_tokens']:,.0f} generated"
        said.append(
            f"{llm['requests']:,.0f} requests ({llm['cached']:,.0f} from the cache, {llm['failed']:,.0f} failed)"
        )
        said.append(tokens + (f", cost {llm['cost']:.4g}" if "cost" in llm else ""))
        unusable = [(llm.get("failed_rewrites"), "rewrites failed"), (llm.get("unparsed"), "answers not readable")]
        said += [f"{count:,.0f} {what}" for count, what in unusable if count]
    return "; ".join(said)


def _comparison_cells(comparison: Comparison) -> tuple[str, ...]:
    return (
        _percent(comparison.mean_a),
        _percent(comparison.mean_b),
        f"{100 * comparison.difference:+.2f}",
        f"[{100 * comparison.low:+.2f}, {100 * comparison.high:+.2f}]",
        f"{comparison.p_bootstrap:.4f}",
        f"{comparison.p_permutation:.4f}",
        f"{comparison.n_queries:,}",
    )


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"
