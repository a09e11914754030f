"""A Qwen3-8B-shaped random model in bfloat16 on one GPU, on BRIGHT's lengths up to 8,192 tokens, against its peers.

    python benchmarks/gpu/qwen3_8b.py                      needs one GPU with 80 GB, 20 GB of disk for the weights
    python benchmarks/gpu/qwen3_8b.py --tiny               the same way through on a CPU with a toy model; measures nothing

Prints and stores tokens/s, share of the matrix product measured in the same run (linear layers alone, and with attention), peak
memory, and cosines to Sentence Transformers' float32 vectors of the shortest texts. Goal: 60 % of the peak, twice both peers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[1]
sys.path.insert(0, str(BENCHMARKS))

from encoding import corpora, machine, models, report  # noqa: E402
from encoding.harness import HERE, ROOT, Plan, compare  # noqa: E402
from encoding.peers import Setup  # noqa: E402

from reasonembed.io.manifest import now, versions, write_json  # noqa: E402
from reasonembed.model.checkpoint import open_checkpoint, with_lengths  # noqa: E402
from reasonembed.model.tokens import open_tokenizer  # noqa: E402

OURS = "reasonembed torch bfloat16"
BASELINE = "sentence-transformers bf16"
TIMED = (OURS, BASELINE, "FlagEmbedding bf16")
EXACT = "sentence-transformers"


def main() -> None:
    """Build the model, measure the machine, run everybody, print, store."""
    arguments = parse()
    shape = "qwen3-tiny" if arguments.tiny else "qwen3-8b"
    device = "cpu" if arguments.tiny else arguments.device
    arguments.work.mkdir(parents=True, exist_ok=True)
    model, label = models.random_model(
        shape, arguments.work / f"{shape}-bf16", tokenizer=arguments.tokenizer, dtype="bfloat16", device=device
    )
    data = arguments.data if arguments.data.is_dir() else None
    texts, said = corpora.bright_texts(arguments.texts, folder=data, seed=arguments.seed)
    lengths = token_lengths(model, texts, arguments.max_length)
    corpus = corpora.describe(lengths) | {"what": said}
    print(f"== {label}, {device}, at most {arguments.max_length} tokens\n{corpus}")
    limit = measured(model, device)
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        setup = Setup(
            str(model), arguments.max_length, "last", device=device, threads=len(os.sched_getaffinity(0)),
            batch_size=arguments.batch_size,
        )  # fmt: skip
        pythons: dict[str, str | None] = {"own": sys.executable}
        plan = Plan(setup, texts, sum(lengths), arguments.rounds, pythons, Path(work), arguments.timeout)
        rows = compare(plan, list(TIMED), {}, reference=BASELINE, at_once=not arguments.one_at_a_time)
        exact = accuracy(plan, lengths, arguments.exact)
    baseline = report.baseline_of(rows, BASELINE)
    dictionaries = [report.as_dict(row, plan, baseline, limit) for row in rows]
    attention = attention_flops(model, lengths) / sum(lengths)
    for row in dictionaries:
        share = row["peak_share"]
        whole = 1 + attention / limit["linear_flops_per_token"]
        row["peak_share_with_attention"] = share and share * whole
    show(dictionaries, limit, attention, exact, arguments.rounds)
    write_json(arguments.out, {
        "date": now(), "dry_run": arguments.tiny, "machine": machine.description() | gpu(device), "versions": versions(),
        "command": sys.argv, "model": label, "max_length": arguments.max_length, "corpus": corpus, "limit": limit,
        "attention_flops_per_token": attention, "rows": dictionaries, "against_float32": exact,
    })  # fmt: skip
    print(f"stored in {arguments.out}")


def token_lengths(model: Path, texts: list[str], max_length: int) -> list[int]:
    """Tokens of each text as the model sees it."""
    tokenizer = open_tokenizer(with_lengths(open_checkpoint(model), max_length))
    return [len(ids) for ids in tokenizer.encode(texts, max_length=max_length)[0]]


def accuracy(plan: Plan, lengths: list[int], count: int) -> list[dict[str, Any]]:
    """Lowest and mean cosine to float32 of each contender, on the `count` shortest texts, one process after the other."""
    shortest = sorted(range(len(lengths)), key=lengths.__getitem__)[:count]
    some = replace(plan, texts=[plan.texts[index] for index in shortest], rounds=0)
    rows = compare(some, [EXACT, *TIMED], {}, reference=EXACT, at_once=False)
    return [
        {"contender": r.contender, "cosine_min": r.cosine_min, "cosine_mean": r.cosine_mean, "problem": r.problem}
        for r in rows
    ]


def attention_flops(model: Path, lengths: list[int]) -> float:
    """FLOPs of causal attention over all texts: two products of L * L / 2 by the heads' width, two FLOPs each, a layer."""
    config = open_checkpoint(model).config
    width = config["num_attention_heads"] * config["head_dim"]
    return float(sum(2 * length**2 for length in lengths) * width * config["num_hidden_layers"])


def measured(model: Path, device: str) -> dict[str, Any]:
    """What the device reaches and what a token costs, measured in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(HERE / "machine.py"), str(model), device]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def gpu(device: str) -> dict[str, Any]:
    """Name and memory of the GPU; nothing on a CPU."""
    if not device.startswith("cuda"):
        return {}
    import torch

    about = torch.cuda.get_device_properties(device)
    return {"gpu": about.name, "gpu_memory_gb": round(about.total_memory / 2**30, 1), "cuda": torch.version.cuda}


def show(
    rows: list[dict[str, Any]], limit: dict[str, Any], attention: float, exact: list[dict[str, Any]], rounds: int
) -> None:
    """Print table, shares and cosines."""
    print(f"GFLOP/s of matrix products: {limit['gflops']}; {limit['linear_flops_per_token'] / 1e9:,.3f} GFLOP a token in "
          f"linear layers, {attention / 1e9:,.3f} in attention")  # fmt: skip
    print(report.aligned(report.markdown(rows)))
    print(report.legend(rounds, BASELINE))
    for row in rows:
        if row["peak_share_with_attention"]:
            print(f"{row['contender']}: {100 * row['peak_share_with_attention']:.1f} % of the peak with attention")
    for row in exact:
        if row["problem"]:
            print(f"{row['contender']}: {row['problem']}")
        elif row["cosine_min"] is not None:
            print(
                f"{row['contender']}: cosine to float32, lowest {row['cosine_min']:.5f}, mean {row['cosine_mean']:.5f}"
            )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tiny", "--dry-run", action="store_true", help="a toy model on the CPU: checks the way through"
    )
    parser.add_argument("--texts", type=int, default=None, help="texts; default: 512, or 12 with --tiny")
    parser.add_argument("--max-length", type=int, default=8192)
    parser.add_argument("--batch-size", type=int, default=8, help="of the peers; 8 is the paper's evaluation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--exact", type=int, default=16, help="shortest texts compared with float32")
    parser.add_argument(
        "--one-at-a-time", action="store_true", help="where memory holds one model only; no alternation"
    )
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds of a load or a round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the data sets")
    parser.add_argument(
        "--tokenizer", type=Path, help="folder of Qwen3's tokenizer; default: that of the shipped model"
    )
    parser.add_argument("--work", type=Path, default=BENCHMARKS / "local", help="the random model")
    parser.add_argument("--out", type=Path, default=None, help="default: benchmarks/results/qwen3_8b[_tiny].json")
    arguments = parser.parse_args()
    arguments.texts = arguments.texts or (12 if arguments.tiny else 512)
    name = "qwen3_8b_tiny.json" if arguments.tiny else "qwen3_8b.json"
    arguments.out = arguments.out or BENCHMARKS / "results" / name
    return arguments


if __name__ == "__main__":
    main()
