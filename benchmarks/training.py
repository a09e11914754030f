"""A contrastive training step beside Sentence Transformers' trainer: the same texts in alternation, one process each.

    python benchmarks/training.py            minutes: 8 queries with 8 passages each
    python benchmarks/training.py --full     64 queries with 8 passages of at most 256 tokens

InfoNCE with AdamW over all weights of --minilm (a random model of its shape without it, which is as fast), dropout as in its
configuration (--dropout 0 for none). Prints a table, stores JSON. The uncached peers run --fits queries, since their memory grows
with the batch (performance.md section 4: killed at 24 GB with 32). Speeds are compared by texts a second. `gradient` is the cosine
of a small batch's gradient without dropout to that of Sentence Transformers' uncached loss in float32, and `loss` its relative
distance there; with a random model both say little.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from encoding import corpora, machine, models
from encoding.harness import ROOT, Plan, Row, Worker, failed, run_rounds
from encoding.peers import Setup
from encoding.report import aligned

from reasonembed.io.manifest import now, versions, write_json
from reasonembed.model.checkpoint import open_checkpoint, with_lengths
from reasonembed.model.tokens import open_tokenizer

SCRIPT = Path(__file__).parent / "contrastive" / "worker.py"
CONTENDERS: dict[str, dict[str, Any]] = {
    "reasonembed bfloat16": {"side": "own", "dtype": "bfloat16", "cached": True},
    "reasonembed float32": {"side": "own", "dtype": "float32", "cached": True},
    "ST cached float32": {"side": "st", "dtype": "float32", "cached": True},
    "ST cached bfloat16": {"side": "st", "dtype": "bfloat16", "cached": True},
    "ST cached bfloat16, 4096 tokens": {"side": "st", "dtype": "bfloat16", "cached": True, "row_tokens": 4096},
    "ST in-batch float32": {"side": "st", "dtype": "float32", "cached": False},
    "ST in-batch bfloat16": {"side": "st", "dtype": "bfloat16", "cached": False},
}
REFERENCE, BASELINE = "ST in-batch float32", "ST cached float32"
QUERY_WORDS = 40
HEADS = (
    "contender",
    "queries",
    "s/step",
    "texts/s",
    "x ST cached",
    "cpu s",
    "x cpu",
    "peak MB",
    "gradient",
    "loss",
    "% others",
)


def main() -> None:
    """Run, print, store."""
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.minilm:
        arguments.model, label = arguments.minilm, arguments.minilm.name
    else:
        arguments.model, label = models.random_model("minilm", arguments.work / "minilm-random")
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        plan, tokens, said = planned(arguments, Path(work))
        print(f"{label}: {said}\n{tokens}")
        rows, losses, gradients = compare(plan, arguments)
        found = [figures(row, losses, gradients, arguments) for row in rows]
    base = next((row for row in found if row["contender"] == BASELINE and row["seconds"]), None)
    print(aligned("\n".join(line(cells) for cells in (HEADS, *(cells_of(row, base) for row in found)))))
    stored = {
        "date": now(), "machine": machine.description(), "versions": versions(), "command": sys.argv, "model": label, "texts": said,
        "tokens": tokens, "threads": arguments.threads, "rows": found,
    }  # fmt: skip
    write_json(arguments.out, stored)
    print(f"stored in {arguments.out}")


def planned(arguments: argparse.Namespace, work: Path) -> tuple[Plan, dict[str, Any], str]:
    """Texts written for the workers; their lengths in tokens; what they are."""
    data = arguments.data if arguments.data.is_dir() else None
    count = arguments.queries
    texts, said = corpora.bright_texts(count * (arguments.group + 1), folder=data, seed=arguments.seed)
    queries = [" ".join(text.split()[:QUERY_WORDS]) for text in texts[:count]]
    passages = texts[count:]
    groups = [passages[start : start + arguments.group] for start in range(0, len(passages), arguments.group)]
    for size in {count, min(count, arguments.fits)}:
        (work / f"texts-{size}.json").write_text(json.dumps({"queries": queries[:size], "groups": groups[:size]}))
    ids, _ = open_tokenizer(with_lengths(open_checkpoint(arguments.model), arguments.max_length)).encode(
        queries + passages, max_length=arguments.max_length
    )
    setup = Setup(str(arguments.model), arguments.max_length, "mean", threads=arguments.threads)
    plan = Plan(setup, texts, sum(map(len, ids)), arguments.rounds, {}, work, arguments.timeout, arguments.wait)
    return plan, corpora.describe([len(row) for row in ids]), f"{said}; queries are the first {QUERY_WORDS} words"


def compare(
    plan: Plan, arguments: argparse.Namespace
) -> tuple[list[Row], dict[str, float], dict[str, np.ndarray[Any, np.dtype[np.float32]]]]:
    """Rows, and loss and gradient of the small batch, of all contenders."""
    rows = [Row(name) for name in arguments.contender or CONTENDERS]
    workers: dict[str, Worker] = {}
    losses, gradients = {}, {}
    try:
        for row in rows:
            told = {"row_tokens": None, **CONTENDERS[row.contender]}
            texts = plan.work / f"texts-{size_of(row.contender, arguments)}.json"
            worker = Worker(
                row.contender, sys.executable, plan, script=SCRIPT, setup=asdict(plan.setup), dropout=arguments.dropout,
                small=min(arguments.fits, arguments.queries), folder=str(plan.work / "trainer"), **told | {"texts": str(texts)},
            )  # fmt: skip
            workers[row.contender] = worker
            answer = worker.ask(None)
            if failed(row, answer):
                continue
            row.load_s, row.dtype, row.versions = answer["load_s"], answer["dtype"], answer["versions"]
            losses[row.contender] = answer["loss"]
            gradients[row.contender] = np.load(worker.vectors, allow_pickle=False)
            print(f"  {row.contender}: ready in {row.load_s:.0f} s", file=sys.stderr)
        run_rounds(plan, rows, workers)
    finally:
        for worker in workers.values():
            worker.close()
    return rows, losses, gradients


def size_of(contender: str, arguments: argparse.Namespace) -> int:
    """Queries in a step: all, or as many as fit into memory uncached."""
    queries: int = arguments.queries
    return queries if CONTENDERS[contender]["cached"] else min(queries, arguments.fits)


def figures(
    row: Row,
    losses: dict[str, float],
    gradients: dict[str, np.ndarray[Any, np.dtype[np.float32]]],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """A row with what follows from it; None where it cannot be said."""
    queries, name = size_of(row.contender, arguments), row.contender
    texts = queries * (arguments.group + 1)
    cosine = distance = None
    if REFERENCE in gradients and name in gradients:
        mine, truth = gradients[name].astype(np.float64), gradients[REFERENCE].astype(np.float64)
        cosine = float(mine @ truth / np.linalg.norm(mine) / np.linalg.norm(truth))
        distance = abs(losses[name] / losses[REFERENCE] - 1)
    cpu = float(np.median(row.cpu_s)) if row.cpu_s else math.nan
    return asdict(row) | {
        "queries": queries, "median_s": row.median, "texts_per_s": texts / row.median, "median_cpu_s": cpu,
        "texts_per_cpu_s": texts / cpu, "gradient_cosine": cosine, "loss_distance": distance,
    }  # fmt: skip


def cells_of(row: dict[str, Any], base: dict[str, Any] | None) -> tuple[str, ...]:
    """A line of the table."""
    if not row["seconds"]:
        return (row["contender"], str(row["queries"]), *[""] * (len(HEADS) - 3), row["problem"])
    ratios = [f"{row[key] / base[key]:.2f}" if base else "" for key in ("texts_per_s", "texts_per_cpu_s")]
    cosine, distance = row["gradient_cosine"], row["loss_distance"]
    return (
        row["contender"], str(row["queries"]), f"{row['median_s']:.1f}", f"{row['texts_per_s']:.2f}", ratios[0],
        f"{row['median_cpu_s']:.1f}", ratios[1], f"{row['peak_mb']:,.0f}", "" if cosine is None else f"{cosine:.6f}",
        "" if distance is None else f"{distance:.1e}", f"{100 * max(row['others']):.0f}",
    )  # fmt: skip


def line(cells: tuple[str, ...]) -> str:
    """Cells as a line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minilm", type=Path, help="directory of all-MiniLM-L6-v2 or another encoder")
    parser.add_argument("--full", action="store_true", help="64 queries, three rounds")
    parser.add_argument("--contender", action="append", choices=tuple(CONTENDERS), help="repeatable; default: all")
    parser.add_argument("--queries", type=int, help="in a global batch")
    parser.add_argument("--group", type=int, default=8, help="passages of a query")
    parser.add_argument("--fits", type=int, default=4, help="queries of the uncached contenders and of the small batch")
    parser.add_argument("--max-length", type=int, default=256, help="tokens of a text")
    parser.add_argument("--dropout", type=float, help="of all contenders; default: the configuration's")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait before a step for a quiet machine")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds of a load or a step")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the data sets")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "local", help="models made for the run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "training.json")
    arguments = parser.parse_args()
    arguments.queries = arguments.queries or (64 if arguments.full else 8)
    arguments.rounds = arguments.rounds or (3 if arguments.full else 2)
    return arguments


if __name__ == "__main__":
    main()
