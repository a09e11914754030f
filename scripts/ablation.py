"""Trainings that differ in one thing, several seeds each, scored on the same sets and compared query by query.

    python scripts/ablation.py base.yaml -o runs/loss --vary loss.name=infonce,ri_infonce --seeds 1 2 3 \
        --test beir:../shared/data/strategyqa_facts:dev --test beir:../shared/data/theoremqa:test

Every training is a run directory of its own (OUT/VARIANT/seed-N), so a stopped ablation goes on where it was. The start model is
scored beside them, with the recipe's lengths and instruction. A query's value is its mean over the seeds; a variant is compared with
the first one by bootstrap and permutation test. Writes ablation.json and ablation.md. Name test sets once, when the recipe is fixed;
dev sets as often as you like.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from reasonembed.encode.embedder import Embedder
from reasonembed.evaluation.runner import Result, evaluate
from reasonembed.evaluation.significance import compare_queries
from reasonembed.io.atomic import atomic_write
from reasonembed.io.config import yaml_value
from reasonembed.io.manifest import now, versions, write_json
from reasonembed.training.backbone import as_trained
from reasonembed.training.config import EvaluateConfig, TrainConfig, changed, load_train_config
from reasonembed.training.evaluating import open_tasks
from reasonembed.training.run import train
from reasonembed.types import RetrievalTask

METRIC = "ndcg@10"
START = "start"


def open_test(told: str) -> RetrievalTask:
    """A set from `beir:FOLDER[:SPLIT]` or `bright:FOLDER[:TASK]`."""
    kind, folder, *rest = told.split(":")
    part = {("split" if kind == "beir" else "task"): rest[0]} if rest else {}
    task = {"path": folder, "benchmark": kind, "split": "test", **part}
    (opened,) = open_tasks(EvaluateConfig.model_validate({"tasks": [task]}), seed=0)
    return opened.task


def scored(
    model: str | Path,
    tests: Sequence[RetrievalTask],
    out: Path,
    max_length: int | None,
    recipe: TrainConfig | None = None,
) -> dict[str, Result]:
    """Label of each set -> the model's scores; what is in `out` already is read.

    A `recipe` gives a model that was not trained by it the lengths and the instruction that a trained one is saved with.
    """
    embedder = Embedder(model, engine="torch", append_eos=None if recipe is None else recipe.append_eos)
    if recipe is not None:
        embedder.checkpoint = as_trained(embedder.checkpoint, recipe)
    results = [evaluate(task, embedder, out=out, max_length=max_length, progress=True) for task in tests]
    return {result.label: result for result in results}


def per_query(seeds: Sequence[Result]) -> list[float]:
    """A query's mean over the seeds, queries in one order."""
    values = [result.scores.per_query[METRIC] for result in seeds]
    return [fmean(one[query] for one in values) for query in sorted(values[0])]


def compared(runs: dict[str, list[dict[str, Result]]], labels: Sequence[str]) -> dict[str, Any]:
    """Mean and spread over the seeds for each set, and each variant against the start and the first variant."""
    first = next(name for name in runs if name != START)
    report: dict[str, Any] = {}
    for name, seeds in runs.items():
        report[name] = {}
        for label in labels:
            means = [one[label].scores.means[METRIC] for one in seeds]
            row: dict[str, Any] = {
                "mean": fmean(means),
                "spread": stdev(means) if len(means) > 1 else None,
                "seeds": means,
            }
            for other in {START, first} - {name}:
                mine, theirs = (per_query([one[label] for one in which]) for which in (seeds, runs[other]))
                row[f"against {other}"] = asdict(compare_queries(mine, theirs))
            report[name][label] = row
    return report


def markdown(report: dict[str, Any], labels: Sequence[str]) -> str:
    """A row a variant: nDCG@10 x 100, mean and standard deviation over the seeds; p against the first variant."""
    lines = ["| variant | " + " | ".join(labels) + " |", "|---|" + "---:|" * len(labels)]
    first = next(name for name in report if name != START)
    for name, rows in report.items():
        cells = []
        for label in labels:
            row = rows[label]
            spread = "" if row["spread"] is None else f" ± {100 * row['spread']:.2f}"
            test = row.get(f"against {first}") if name != START else None
            cells.append(f"{100 * row['mean']:.2f}{spread}" + (f" (p {test['p_permutation']:.3f})" if test else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def named(value: Any) -> str:
    """A value in the name of its variant."""
    return ",".join(f"{key}:{item}" for key, item in value.items()) if isinstance(value, dict) else str(value)


def main() -> None:
    """Train, score, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="YAML file of a training, or the name of one that ships")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument(
        "--vary",
        required=True,
        help="key=value,value,...; values are YAML, apart by commas: loss.name=a,b or 'loss={name: a},{name: b, c: 1}'",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all variants")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--test", action="append", required=True, metavar="beir:FOLDER[:SPLIT]|bright:FOLDER[:TASK]")
    parser.add_argument("--max-length", type=int, help="of queries and documents when scored; None is the protocol's")
    args = parser.parse_args()
    key, values = args.vary.split("=", 1)
    told = dict(one.split("=", 1) for one in args.set)
    base = load_train_config(args.recipe, changes={name: yaml_value(value) for name, value in told.items()})
    tests = [open_test(one) for one in args.test]
    runs = {START: [scored(base.model, tests, args.out / START / "scores", args.max_length, base)]}
    for value in yaml_value(f"[{values}]"):
        variant = f"{key}={named(value)}"
        runs[variant] = []
        for seed in args.seeds:
            place = args.out / re.sub(r"[^\w.=-]+", "_", variant) / f"seed-{seed}"
            result = train(changed(base, {key: value, "seed": seed}), place / "run")
            runs[variant].append(scored(result.model, tests, place / "scores", args.max_length))
            labels = list(runs[START][0])
            report = compared(runs, labels)
            what = {"recipe": base.model_dump(mode="json"), "vary": args.vary, "seeds": args.seeds, "metric": METRIC}
            write_json(args.out / "ablation.json", {**what, "date": now(), "versions": versions(), "results": report})
            with atomic_write(args.out / "ablation.md") as file:
                file.write(markdown(report, labels))  # type: ignore[call-overload]
            print(markdown(report, labels), flush=True)


if __name__ == "__main__":
    main()
