"""Encoding against every installed peer: the same texts in alternation, one process each; prints tables, stores JSON.

    python benchmarks/encode.py                 a few minutes: MiniLM, 64 texts, the main contenders
    python benchmarks/encode.py --full          every model, length and contender

Models: `minilm` (mean), `smollm2` and `qwen3-0.6b` (last token). Weights are taken from --minilm and --smollm2 where given;
without them, and for qwen3-0.6b always, a random model of the same shape runs, which is as fast. Peers that need other
versions run under --st-onnx-python and --st-openvino-python; one that is not installed is a row that says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoding import corpora, machine, models, report
from encoding.harness import HERE, ROOT, Plan, compare, exported
from encoding.peers import CONTENDERS, Setup

from reasonembed.io.manifest import now, versions, write_json
from reasonembed.model.checkpoint import open_checkpoint, with_lengths
from reasonembed.model.tokens import open_tokenizer

QUICK = (
    "reasonembed torch float32",
    "sentence-transformers",
    "sentence-transformers bf16",
    "FlagEmbedding",
    "transformers loop",
)
DECODER = (
    "reasonembed torch float32", "reasonembed torch bfloat16", "sentence-transformers", "sentence-transformers bf16",
    "FlagEmbedding bf16", "transformers loop",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One table: a model at a length with so many texts of the corpus and these contenders."""

    model: str
    max_length: int
    texts: int
    contenders: tuple[str, ...]

    @property
    def name(self) -> str:
        """Such as `minilm-512`."""
        return f"{self.model}-{self.max_length}"


def cases(arguments: argparse.Namespace) -> list[Case]:
    """What is to be run."""
    chosen = tuple(arguments.contender or ())
    if not arguments.full and not arguments.model:
        return [Case("minilm", arguments.max_length or 256, arguments.texts or 64, chosen or QUICK)]
    wanted = arguments.model or ["minilm", "smollm2", "qwen3-0.6b"]
    found = []
    for model in wanted:
        decoder = models.SHAPES[model].pooling == "last"
        lengths = [arguments.max_length] if arguments.max_length else [512] if decoder else [512, 256]
        count = arguments.texts or {"minilm": 192, "smollm2": 64}.get(model, 24)
        default = tuple(CONTENDERS) if not decoder else DECODER
        found += [Case(model, length, count, chosen or default) for length in lengths]
    return found


def main() -> None:
    """Run the cases, print their tables, store them."""
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    about = machine.description()
    print(f"{about['cpu']}, {about['cores']} cores, {', '.join(about['units']) or 'no wide units'}; "
          f"without {', '.join(about['no_units']) or 'none'}; load {about['loadavg'][0]:.2f}")  # fmt: skip
    results = []
    for case in cases(arguments):
        results.append(run(case, arguments))
        stored = {"date": now(), "machine": about, "versions": versions(), "command": sys.argv, "results": results}
        write_json(arguments.out, stored)
    print(f"stored in {arguments.out}")


def run(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """One case: model, texts, contenders, table."""
    model, label = directory(case.model, arguments)
    data = arguments.data if arguments.data.is_dir() else None
    texts, said = corpora.bright_texts(case.texts, folder=data, seed=arguments.seed)
    tokenizer = open_tokenizer(with_lengths(open_checkpoint(model), case.max_length))
    ids, cut = tokenizer.encode(texts, max_length=case.max_length)
    whole, _ = tokenizer.encode(texts, max_length=10**6)
    corpus = corpora.describe([len(row) for row in ids]) | {
        "cut": cut, "what": said, "whole": corpora.describe([len(row) for row in whole]),
    }  # fmt: skip
    print(f"\n== {label}, at most {case.max_length} tokens\n{said}\n{corpus}")
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        setup = Setup(str(model), case.max_length, models.SHAPES[case.model].pooling, threads=arguments.threads)
        plan = Plan(
            setup, texts, corpus["tokens"], arguments.rounds,
            {"own": sys.executable, "onnx": arguments.st_onnx_python, "openvino": arguments.st_openvino_python},
            Path(work), arguments.timeout, arguments.wait, arguments.extra_rounds,
        )  # fmt: skip
        graphs = {kind: exported(plan, kind, arguments.work / f"{case.model}-{kind}") for kind in _kinds(case)}
        before = measured(model, arguments.threads)
        rows = compare(plan, list(case.contenders), graphs, at_once=not arguments.one_at_a_time)
        after = measured(model, arguments.threads)
    limit = before | {"gflops": _better(before["gflops"], after["gflops"])}
    baseline = report.baseline_of(rows)
    dictionaries = [report.as_dict(row, plan, baseline, limit) for row in rows]
    table = report.markdown(dictionaries)
    peaks = ", ".join(f"{dtype} {max(found.values()):,.0f}" for dtype, found in limit["gflops"].items())
    print(
        f"matrix product, best of the shapes, GFLOP/s: {peaks}; {limit['linear_flops_per_token'] / 1e6:,.1f} MFLOP a token"
    )
    print(f"\n{table if arguments.markdown else report.aligned(table)}\n{report.legend(arguments.rounds)}")
    if arguments.docs and not report.fill(arguments.docs, case.name, _for_docs(case, corpus, limit, table, arguments)):
        print(f"{arguments.docs} has no place <!-- encode:{case.name} -->", file=sys.stderr)
    if baseline is not None:
        print(f"mean cosine between the vectors of different texts: {baseline.between_texts:.3f}")
    return {
        "case": case.name, "model": label, "max_length": case.max_length, "corpus": corpus, "rounds": arguments.rounds,
        "threads": arguments.threads, "limit": limit, "rows": dictionaries,
    }  # fmt: skip


def _for_docs(
    case: Case, corpus: dict[str, Any], limit: dict[str, Any], table: str, arguments: argparse.Namespace
) -> str:
    about = machine.description()
    peaks = ", ".join(f"{dtype} {max(found.values()):,.0f}" for dtype, found in limit["gflops"].items())
    return (
        f"{now()[:10]}, {about['cpu']}, {arguments.threads} threads of {about['cores']} cores, "
        f"{', '.join(about['units'])}, without {', '.join(about['no_units'])}; load average {about['loadavg'][0]:.1f} at the end. "
        f"{corpus['texts']} texts, {corpus['tokens']:,} tokens at most {case.max_length} each (mean {corpus['mean']}, median "
        f"{corpus['p50']}, {corpus['cut']} cut; uncut p99 {corpus['whole']['p99']:,}, longest {corpus['whole']['max']:,}). "
        f"Matrix product, GFLOP/s: {peaks}; {limit['linear_flops_per_token'] / 1e6:,.1f} MFLOP a token. "
        f"{arguments.rounds} rounds.\n\n{table}"
    )


def directory(name: str, arguments: argparse.Namespace) -> tuple[Path, str]:
    """The directory of a model, and what to call it."""
    weights = {"minilm": arguments.minilm, "smollm2": arguments.smollm2}.get(name)
    if weights is not None:
        return models.given(name, weights, arguments.work / f"{name}-given")
    tokenizer = arguments.tokenizer if models.SHAPES[name].pooling == "last" else None
    return models.random_model(name, arguments.work / f"{name}-random", tokenizer=tokenizer)


def measured(model: Path, threads: int) -> dict[str, Any]:
    """What this machine reaches and what a token costs, measured in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(HERE / "machine.py"), str(model)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _better(first: dict[str, dict[str, float]], second: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {d: {shape: max(value, second[d][shape]) for shape, value in found.items()} for d, found in first.items()}


def _kinds(case: Case) -> set[str]:
    kinds = {CONTENDERS[name][0] for name in case.contenders} - {"own"}
    return kinds | {"openvino" for name in case.contenders if "openvino" in name}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="every model, length and contender")
    parser.add_argument("--model", action="append", choices=("minilm", "smollm2", "qwen3-0.6b"), help="repeatable")
    parser.add_argument(
        "--contender", action="append", choices=tuple(CONTENDERS), help="repeatable; default: all that fit"
    )
    parser.add_argument("--texts", type=int, help="texts a case")
    parser.add_argument("--max-length", type=int, help="limit in tokens")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--extra-rounds", type=int, default=0, help="more for contenders whose runs were disturbed")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait before a run for a quiet machine")
    parser.add_argument(
        "--one-at-a-time", action="store_true", help="where memory holds one model only; no alternation"
    )
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds of a load or a round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the data sets")
    parser.add_argument("--minilm", type=Path, help="directory of all-MiniLM-L6-v2")
    parser.add_argument("--smollm2", type=Path, help="directory or .gguf file of SmolLM2-135M")
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer for the random decoders")
    parser.add_argument("--st-onnx-python", help="interpreter with sentence-transformers[onnx]")
    parser.add_argument("--st-openvino-python", help="interpreter with sentence-transformers[openvino]")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "local", help="models made for the run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "encode.json")
    parser.add_argument("--docs", type=Path, help="Markdown file whose <!-- encode:CASE --> places get the tables")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    main()
