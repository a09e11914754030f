"""`report.html` of an adaptation: the answer first, scores with their significance, what each step did, questions that gained and lost.

Gets the run directory, gives one file without network or script; the reports of the synthesis and the training are linked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonembed.adaptation.folder import Folder
from reasonembed.adaptation.tuning import compared
from reasonembed.evaluation.runner import Result, read_results
from reasonembed.io.beir import read_beir
from reasonembed.io.trec import read_run
from reasonembed.pages.page import configuration, duration, escaped, note, paragraph, section, table, write_page
from reasonembed.types import Document

REPORT = "report.html"
EXAMPLES = 10
"""Questions shown that gained most, and that lost most."""
FOUND = 3
"""Passages shown of what each model found."""
PASSAGE_CHARS, QUERY_CHARS = 200, 1000
_SYSTEMS = {
    "before": "starting model",
    "after": "tuned model",
    "before-expanded": "starting model, documents expanded",
    "after-expanded": "tuned model, documents expanded",
    "bm25": "BM25",
}
_METRICS = {"ndcg@10": "nDCG@10", "recall@1": "recall@1", "recall@10": "recall@10", "mrr@10": "MRR@10"}
_DONE = ("seconds", "finished", "requests", "prompt_tokens", "completion_tokens")
_LINKS = {"synth": "training data", "training": "training"}


@dataclass(frozen=True, slots=True)
class Example:
    """A test question with what was found for it.

    Attributes:
        text: Of the question.
        before: nDCG@10 of the starting model.
        after: Of the system that is compared with it.
        relevant: Ids of its documents.
        found: System -> ids, best first; the start before the other.
    """

    text: str
    before: float
    after: float
    relevant: frozenset[str]
    found: Mapping[str, Sequence[str]]


def write_report(folder: Folder, sentence: str) -> Path:
    """Write `report.html`; returns its path.

    Args:
        folder: With all scores and the choice.
        sentence: The answer.

    Raises:
        StorageError: The file could not be written.
    """
    task = read_beir(folder / "test")
    texts = {document.id: document for document in task.documents}
    relevant = {
        query: frozenset(key for key, grade in grades.items() if grade)
        for query, grades in task.qrels.relevance.items()
    }
    examples = _examples(folder, {query.id: query.text for query in task.queries}, relevant)
    sections = (
        _scores(folder),
        _steps(folder.steps),
        _decisions(folder.decisions),
        _questions("Questions that gained most", examples[:EXAMPLES], texts, sign=1),
        _questions("Questions that lost most", examples[::-1][:EXAMPLES], texts, sign=-1),
        _links(folder),
        configuration(folder.settings),
    )
    name = Path(folder.path).name
    return write_page(folder / REPORT, title=f"Adaptation: {name}", summary=sentence, sections=sections)


def _result(folder: Folder, system: str) -> Result:
    (result,) = read_results(folder / f"scores/{system}").values()
    return result


def _scores(folder: Folder) -> str:
    rows = []
    for system, name in _SYSTEMS.items():
        if not (folder / f"scores/{system}").is_dir():
            continue
        means = _result(folder, system).scores.means
        beside = ("-", "-", "-")
        if system != "before":
            found = compared(folder, system, "before")
            beside = (
                f"{100 * found.difference:+.1f}", f"{100 * found.low:+.1f} to {100 * found.high:+.1f}", f"{found.p_permutation:.4f}",
            )  # fmt: skip
        rows.append((name, *(f"{100 * means[metric]:.1f}" for metric in _METRICS), *beside))
    head = ("system", *_METRICS.values(), "against the start", "95% interval", "p")
    count = len(_result(folder, "before").scores.per_query["ndcg@10"])
    said = (
        f"{count:,} questions about held-out documents, searched among all {folder.steps['index']['passages']:,} passages. Difference, "
        "interval (bootstrap) and p (permutation test) are of nDCG@10, paired over questions. Documents are expanded by the training "
        "questions and the half of the held-out ones that is not searched for."
    )
    return section("Scores", table(head, rows), note(said))


def _steps(steps: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, facts in steps.items():
        if name == "choice":
            facts = {key: facts[key] for key in ("better", "candidate", "seconds")}
        counted = ", ".join(
            f"{key.replace('_', ' ')} {_said(value)}" for key, value in facts.items() if key not in _DONE
        )
        rows.append((name, counted, _count(facts, "requests"), _tokens(facts), duration(facts["seconds"])))
    whole = duration(sum(facts["seconds"] for facts in steps.values()))
    requests = sum(facts.get("requests", 0) for facts in steps.values())
    told = f"In all: {whole}, {requests:,} requests to the language model. Of a step that was stopped, the time of its last start counts."
    head = ("step", "counts", "requests", "tokens read, generated", "time")
    return section("Steps", table(head, rows, words=(1,)), note(told))


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _count(facts: Mapping[str, Any], name: str) -> str:
    return f"{facts[name]:,}" if facts.get(name) else "-"


def _tokens(facts: Mapping[str, Any]) -> str:
    return f"{facts['prompt_tokens']:,}, {facts['completion_tokens']:,}" if facts.get("requests") else "-"


def _decisions(decisions: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [(name, made["why"]) for name, made in decisions.items() if "why" in made]
    return section("Decisions", table(("what", "why"), rows, words=(1,))) if rows else ""


def _examples(folder: Folder, texts: Mapping[str, str], relevant: Mapping[str, frozenset[str]]) -> list[Example]:
    """All test questions, the largest gain first."""
    systems = ("before", folder.steps["expanded"]["candidate"])
    before, after = (_result(folder, system).scores.per_query["ndcg@10"] for system in systems)
    runs = {system: _run(folder, system) for system in systems}
    examples = [
        Example(
            text, before[query], after[query], relevant[query],
            {system: run.get(query, ()) for system, run in runs.items()},
        )
        for query, text in texts.items()
    ]  # fmt: skip
    return sorted(examples, key=lambda example: example.before - example.after)


def _run(folder: Folder, system: str) -> dict[str, list[str]]:
    """Query id -> ids of the first passages found."""
    (file,) = (folder / f"scores/{system}").rglob("*.trec")
    return {query: [hit.id for hit in hits[:FOUND]] for query, hits in read_run(file).hits.items()}


def _questions(title: str, examples: Sequence[Example], texts: Mapping[str, Document], *, sign: int) -> str:
    """Those whose score has changed in the direction of `sign`."""
    shown = [_example(example, texts) for example in examples if sign * (example.after - example.before) > 0]
    return section(title, *(shown or [note("None.")]))


def _example(example: Example, texts: Mapping[str, Document]) -> str:
    sides = [
        _side(f"{_SYSTEMS[system]}: {100 * value:.1f}", example.found[system], example.relevant, texts)
        for system, value in zip(example.found, (example.before, example.after), strict=True)
    ]
    asked = [_passage(texts[key], "relevant") for key in sorted(example.relevant)]
    return (
        f'<div class="example">{paragraph(example.text, QUERY_CHARS)}<div class="sides">{"".join(sides)}</div>'
        f"<details><summary>What it is about</summary>{''.join(asked)}</details></div>"
    )


def _side(title: str, found: Sequence[str], relevant: frozenset[str], texts: Mapping[str, Document]) -> str:
    marks = [_passage(texts[key], f"{rank}. {'✓ ' * (key in relevant)}") for rank, key in enumerate(found, start=1)]
    return f"<div><h3>{escaped(title)}</h3>{''.join(marks)}</div>"


def _passage(document: Document, mark: str) -> str:
    return note(escaped(f"{mark} {document.id}".strip())) + paragraph(document.content, PASSAGE_CHARS)


def _links(folder: Folder) -> str:
    there = [(place, name) for place, name in _LINKS.items() if (folder / place / REPORT).is_file()]
    links = [f'<a href="{place}/{REPORT}">{escaped(name)}</a>' for place, name in there]
    return section("More", f"<p>Reports of their own: {', '.join(links)}.</p>") if links else ""
