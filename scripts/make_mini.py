"""Rebuild reasonembed-mini from the data: sources, samples, trainings, merged weights, the release file, the graph that ships.

    python scripts/make_mini.py DATA START -o OUT

DATA is the folder of shared data, START a directory of all-MiniLM-L6-v2. In OUT: `sources/` (cloned, 1.5 GB), `train/`, `data/`
and `written/` (samples), `runs/` (the trainings `mixture` and `strategyqa`, `written` from their sum, `more` from `written`), `first/`
(the sum), `model/` (Sentence Transformers layout), `reasonembed-mini.tar.gz` (that directory, the release file), `export/` (what ships in
`reasonembed/model/mini`). What is there already is not made again, a training goes on where it was stopped. Seeds are fixed;
DATA/README.md says whose texts these are.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from export_mini import export
from merge_weights import merge

from reasonembed.io.atomic import atomic_write
from reasonembed.training.config import load_train_config
from reasonembed.training.run import train

logger = logging.getLogger("make_mini")

SCRIPTS = Path(__file__).parent
NAME = "reasonembed-mini"
MIXTURE_SEED = WRITTEN_SEED = 42
STRATEGYQA_SEED = 1
MIXTURE, STRATEGYQA = 0.8, 0.4
"""What each of the first trainings counts in their sum; chosen on the dev sets (docs/lab.md, 3)."""
WRITTEN = 0.6
"""What the two later trainings count against the first sum; chosen on the dev sets (docs/lab.md, 6)."""


def script(name: str, *arguments: str | Path) -> None:
    """Run a script of this folder."""
    subprocess.run([sys.executable, str(SCRIPTS / name), *map(str, arguments)], check=True)


def make_samples(data: Path, start: Path, out: Path) -> None:
    """Clone the sources and write the training samples and dev sets."""
    script("mini_sources.py", "-o", out / "sources")
    if not (out / "train/manifest.json").is_file():
        script("train_data.py", data, "-o", out / "train", "--miner", "bm25", "--miner", start)
    if not (out / "data/manifest.json").is_file():
        books = sorted((out / "sources/books").iterdir())
        entries = out / "sources/planetmath/entries.jsonl.gz"
        script(
            "mini_data.py", data, "-o", out / "data", "--books", *books, "--planetmath", entries, "--embedder", start,
        )  # fmt: skip
    if not (out / "written/manifest.json").is_file():
        script("mini_written.py", data, "-o", out / "written", "--sources", out / "sources")


def trained(recipe: str, start: Path, out: Path, seed: int) -> Path:
    """The model of one training; brought to its end."""
    shutil.copyfile(SCRIPTS / "mini" / f"{recipe}.yaml", out / f"{recipe}.yaml")
    config = load_train_config(out / f"{recipe}.yaml", changes={"model": str(start.resolve()), "seed": seed})
    return train(config, out / "runs" / recipe).model


def release(model: Path, out: Path) -> None:
    """The model directory as one file; the same model gives the same names in the same order."""
    with atomic_write(out, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.add(model, NAME)


def main() -> None:
    """Command line: DATA START -o OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("start", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    data, start, out = arguments.data, arguments.start, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    make_samples(data, start, out)
    first = [
        (trained("mixture", start, out, MIXTURE_SEED), MIXTURE),
        (trained("strategyqa", start, out, STRATEGYQA_SEED), STRATEGYQA),
    ]
    merge(start, first, out / "first")
    second = trained("written", out / "first", out, WRITTEN_SEED)
    third = trained("more", second, out, WRITTEN_SEED)
    merge(out / "first", [(third, WRITTEN)], out / "model")
    shutil.copyfile(SCRIPTS / "mini" / "card.md", out / "model/README.md")
    release(out / "model", out / f"{NAME}.tar.gz")
    size = export(out / "model", out / "export")
    print(f"{out / 'model'}: Sentence Transformers; {out / 'export'}: graph of {size:,} bytes")


if __name__ == "__main__":
    main()
