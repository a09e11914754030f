"""How good is a language model as ReMixer's judge, by mode? Known relevant pairs against mined others; no test query is read.

    python scripts/annotator_quality.py --llm qwen.gguf --data ../shared/data -o runs/judges

Two sets of pairs, drawn by seed:
  strategyqa   questions of the train split, one gold fact each, and facts that BM25 finds beside the gold ones
  theorems     questions that the same model writes from TheoremQA's theorems (its documents; its own questions are a test set), the
               source, and theorems that BM25 finds beside it
Some of the mined ones are relevant too, for nobody judged them: the best AUC that can be reached lies below 1.

A model in this process gives log-probabilities of a bare score; for those behind a reason a server is needed that gives them, such
as llama.cpp's (`xllamacpp.Server`).

Writes quality.json and quality.md, and each mode's annotations beside them. A mode that is there is not judged again, so a run can be
stopped and gone on with. Nothing is answered from a cache while time is taken.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from reasonembed.dataset.label import NEGATIVE, POSITIVE
from reasonembed.io.atomic import atomic_write
from reasonembed.io.beir import read_beir
from reasonembed.io.documents import document_files, read_documents
from reasonembed.io.jsonl import read_jsonl, write_jsonl
from reasonembed.io.manifest import now, read_json, versions, write_json
from reasonembed.llm.client import Llm
from reasonembed.llm.open import open_llm
from reasonembed.protocols import Relevance, relevance_for
from reasonembed.search.bm25 import BM25Searcher
from reasonembed.synth.agreement import agreement, separation
from reasonembed.synth.annotate import AnnotateSettings, Pair, Unjudged, annotate_pairs
from reasonembed.synth.config import LengthBand, QueriesConfig
from reasonembed.synth.queries import orders, written
from reasonembed.synth.tasks import writing_for
from reasonembed.types import Annotation, Document, SynthQuery

DEPTH = 20
"""Mined documents are drawn from the best so many."""
LENGTHS = (LengthBand(least=20, most=60, weight=1), LengthBand(least=60, most=120, weight=1))
"""Words of the questions written from theorems: what a small model can write."""
TASKS = {"strategyqa": "beir/strategyqa_facts", "theorems": "beir/theoremqa"}

_BASE = {reasoning: AnnotateSettings(reasoning=reasoning) for reasoning in ("full", "brief", "score")}
_GROUPED = {f"grouped-{name}": replace(settings, mode="grouped") for name, settings in _BASE.items()}
MODES: dict[str, AnnotateSettings] = {
    **_BASE,
    **_GROUPED,
    **{f"{name}-json": replace(settings, output="json") for name, settings in _BASE.items()},
    **{f"{name}-k4": replace(settings, samples=4) for name, settings in {**_BASE, **_GROUPED}.items()},
    **{f"{name}-logprobs": replace(settings, logprobs=True) for name, settings in _BASE.items()},
}
DEFAULT_MODES = (
    "full", "brief", "score", "grouped-brief", "grouped-score", "brief-k4", "score-k4", "grouped-brief-k4",
    "brief-json", "brief-logprobs", "score-logprobs",
)  # fmt: skip


def strategyqa_pairs(folder: Path, n: int, negatives: int, seed: int) -> list[Pair]:
    """Train questions with a gold fact (rank 0) and mined others."""
    task = read_beir(folder, split="train")
    documents = {document.id: document for document in task.documents}
    draw = random.Random(f"{seed} strategyqa")
    chosen = draw.sample(task.queries, min(n, len(task.queries)))
    gold = [
        sorted(document for document, grade in task.qrels.relevance[query.id].items() if grade > 0) for query in chosen
    ]
    queries = [
        SynthQuery(query.id, query.text, draw.choice(relevant), (0, 0), "")
        for query, relevant in zip(chosen, gold, strict=True)
    ]
    return with_mined(queries, documents, [set(relevant) for relevant in gold], negatives, draw)


def theorem_pairs(folder: Path, llm: Llm, out: Path, n: int, negatives: int, seed: int) -> list[Pair]:
    """Questions written from theorems, with the source (rank 0) and mined others; the questions are kept in `out`."""
    every = list(read_documents(document_files([folder / "corpus.jsonl.gz"])))
    documents = {document.id: document for document in every if 200 <= len(document.text) <= 5000}  # paper.md 1.1
    draw = random.Random(f"{seed} theorems")
    if not out.exists():
        sources = draw.sample(list(documents.values()), min(n, len(documents)))
        config = QueriesConfig(lengths=LENGTHS)
        wanted = orders(sources, config, per_document=1, seed=seed)
        done = written(llm, wanted, config, writing_for(TASKS["theorems"], None), total=len(sources), progress=True)
        write_jsonl(out, (asdict(query) for _, query in done if isinstance(query, SynthQuery)))
    queries = [SynthQuery(**{**row, "length": tuple(row["length"])}) for _, row in read_jsonl(out)]
    return with_mined(queries, documents, [{query.source} for query in queries], negatives, draw)


def with_mined(
    queries: Sequence[SynthQuery],
    documents: dict[str, Document],
    gold: Sequence[set[str]],
    negatives: int,
    draw: random.Random,
) -> list[Pair]:
    """Each query with its source (rank 0) and documents drawn from BM25's best, gold ones left out."""
    searcher = BM25Searcher()
    searcher.add(list(documents), [document.content for document in documents.values()])
    pairs: list[Pair] = []
    mined = searcher.search([query.text for query in queries], DEPTH, exclude=gold)
    for query, hits in zip(queries, mined, strict=True):
        ranked = list(enumerate((hit.id for hit in hits), start=1))
        drawn = sorted(draw.sample(ranked, min(negatives, len(ranked))))
        pairs += [(query, documents[key], rank) for rank, key in [(0, query.source), *drawn]]
    return pairs


def judged(
    llm: Llm, pairs: Sequence[Pair], settings: AnnotateSettings, relevance: Relevance, path: Path
) -> dict[str, Any]:
    """Judge a set in one mode, keep the annotations, give what it took."""
    counts: Counter[str] = Counter()
    before, started = llm.totals, time.monotonic()
    outcomes = list(annotate_pairs(llm, pairs, settings=settings, relevance=relevance, counts=counts, progress=True))
    seconds, spent = time.monotonic() - started, llm.totals - before
    write_jsonl(path, (asdict(outcome) for outcome in outcomes if isinstance(outcome, Annotation)))
    unjudged = [outcome for outcome in outcomes if isinstance(outcome, Unjudged)]
    return {
        "settings": asdict(settings),
        "pairs": len(pairs),
        "lost": dict(Counter(outcome.reason for outcome in unjudged)),
        "lost_examples": [outcome.detail for outcome in unjudged[:3]],
        "counts": dict(+counts),
        "requests": spent.requests,
        "seconds_per_pair": seconds / len(pairs),
        "prompt_tokens_per_pair": spent.prompt_tokens / len(pairs),
        "completion_tokens_per_pair": spent.completion_tokens / len(pairs),
    }


def read_annotations(path: Path) -> Iterator[Annotation]:
    """Annotations as `judged` wrote them."""
    for _, row in read_jsonl(path):
        yield Annotation(**{**row, "samples": tuple(row["samples"])})


def measures(path: Path, reference: Path) -> dict[str, Any]:
    """AUC and the paper's thresholds against the known positives (rank 0), agreement with the reference mode."""
    annotations = list(read_annotations(path))
    scores = [one.score for one in annotations]
    found = separation(scores, [one.rank == 0 for one in annotations])
    result: dict[str, Any] = {"auc": found.auc, "auc_error": found.error, "within": within_queries(annotations)}
    gold = [one.score for one in annotations if one.rank == 0]
    others = [one.score for one in annotations if one.rank > 0]
    if gold and others:
        result["gold_labelled_positive"] = sum(score >= POSITIVE for score in gold) / len(gold)
        result["others_labelled_negative"] = sum(score <= NEGATIVE for score in others) / len(others)
    if reference.exists():
        known = {(one.query, one.document): one.score for one in read_annotations(reference)}
        both = [(known[key], one.score) for one in annotations if (key := (one.query, one.document)) in known]
        if both:
            result["agreement"] = asdict(agreement(*zip(*both, strict=True)))
    return result


def within_queries(annotations: Sequence[Annotation]) -> float | None:
    """Chance that a query's gold document scores above one of its others, ties counting half."""
    gold = {one.query: one.score for one in annotations if one.rank == 0}
    order = [
        (gold[one.query] > one.score) + (gold[one.query] == one.score) / 2
        for one in annotations
        if one.rank > 0 and one.query in gold
    ]
    return fmean(order) if order else None


def markdown(report: dict[str, Any]) -> str:
    """One table a set."""
    lines = [
        f"Judge: {report['llm']['model']}. {report['date']}. Reference of the agreement: mode {report['reference']}."
    ]
    head = "| mode | AUC | in query | gold ≥ 3 | others ≤ 2 | exact | ±1 | kappa | judged | s/pair | tokens read/pair | written/pair |"
    for name, modes in report["sets"].items():
        size = max(row["pairs"] for row in modes.values())
        lines += ["", f"**{name}**, {size} pairs", "", head, "|" + "---|" * 12]
        for mode, row in modes.items():
            agreed = row.get("agreement") or {}
            share = 1 - sum(row["lost"].values()) / row["pairs"]
            cells = [
                mode, f"{_shown(row['auc'], 3)} ± {_shown(row['auc_error'], 3)}", _shown(row["within"], 3),
                _shown(row.get("gold_labelled_positive")), _shown(row.get("others_labelled_negative")),
                _shown(agreed.get("exact")), _shown(agreed.get("within_one")), _shown(agreed.get("kappa")),
                f"{share:.1%}", f"{row['seconds_per_pair']:.2f}",
                f"{row['prompt_tokens_per_pair']:.0f}", f"{row['completion_tokens_per_pair']:.0f}",
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _shown(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def main() -> None:
    """Judge, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm", required=True, help="URL of a server, .gguf file, or OpenVINO folder")
    parser.add_argument("--model", help="name of the model at the server")
    parser.add_argument("--data", type=Path, required=True, help="folder with strategyqa_facts/ and theoremqa/")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(DEFAULT_MODES))
    parser.add_argument("--reference", choices=MODES, default="full", help="mode that the others are compared with")
    parser.add_argument("--queries", type=int, default=40, help="queries of each set")
    parser.add_argument("--negatives", type=int, default=4, help="mined documents a query")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--concurrency", type=int)
    args = parser.parse_args()
    report_file = args.out / "quality.json"
    drawn = {"queries": args.queries, "negatives": args.negatives, "seed": args.seed}
    with open_llm(args.llm, model=args.model, cache=None, concurrency=args.concurrency) as llm:
        report = read_json(report_file) if report_file.exists() else {"sets": {}, "drawn": drawn, "llm": llm.describe()}
        if report["drawn"] != drawn or report["llm"] != llm.describe():
            sys.exit(f"{report_file} is of another model or other pairs. Fix: another folder for -o")
        for name in args.sets:
            if name == "strategyqa":
                pairs = strategyqa_pairs(args.data / "strategyqa_facts", args.queries, args.negatives, args.seed)
            else:
                kept = args.out / "theorem-queries.jsonl"
                pairs = theorem_pairs(args.data / "theoremqa", llm, kept, args.queries, args.negatives, args.seed)
            modes = report["sets"].setdefault(name, {})
            for mode in args.modes:
                settings = MODES[mode]
                if settings.logprobs and settings.reasoning != "score" and llm.describe().get("kind") == "local":
                    print(
                        f"{name} {mode}: left out, a model in this process gives log-probabilities of a bare score alone"
                    )
                    continue
                path = args.out / f"{name}-{mode}.jsonl"
                if mode not in modes or not path.exists():
                    modes[mode] = judged(llm, pairs, MODES[mode], relevance_for(TASKS[name]), path)
                for known, row in modes.items():
                    row |= measures(args.out / f"{name}-{known}.jsonl", args.out / f"{name}-{args.reference}.jsonl")
                report |= {"date": now(), "versions": versions(), "reference": args.reference}
                write_json(report_file, report)
                print(
                    f"{name} {mode}: AUC {_shown(modes[mode]['auc'], 3)}, {modes[mode]['seconds_per_pair']:.2f} s a pair"
                )
    text = markdown(report)
    with atomic_write(args.out / "quality.md") as file:
        file.write(text)  # type: ignore[call-overload]
    print(text)


if __name__ == "__main__":
    main()
