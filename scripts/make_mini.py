"""Rebuild reasonembed-mini from the data: start, sources, samples, trainings, the release file, the graph that ships.

    python scripts/make_mini.py DATA -o OUT [--start DIR]

DATA is the folder of shared data. In OUT: `start/` (granite-embedding-30m-english by `scripts/mini_start.py`, unless `--start` names a
directory), `sources/` (cloned, 1.5 GB), `train/` and `written/` (samples), `runs/` (the three trainings), `mean/`, `model/` (Sentence
Transformers layout), `reasonembed-mini.tar.gz` (that directory, the release file), `export/` (what ships in `reasonembed/model/mini`). What
is there already is not made again, a training goes on where it was stopped. Seeds stand in the recipes; DATA/README.md says whose
texts these are.
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

from reasonembed.io.atomic import atomic_folder, atomic_write
from reasonembed.io.manifest import write_json
from reasonembed.training.config import load_train_config
from reasonembed.training.run import train

logger = logging.getLogger("make_mini")

SCRIPTS = Path(__file__).parent
NAME = "reasonembed-mini"
TRAININGS = ("short", "long")
"""Recipes in `scripts/mini`; the mean of their weights is better than either (docs/lab.md, 9)."""
LAST = "facts"
"""Recipe of the training that goes on from that mean (docs/lab.md, 10)."""
LENGTH = 256
"""Tokens of a text that the model reads, those it was chosen and scored with (docs/lab.md, 8); its position table ends at 512."""


def script(name: str, *arguments: str | Path) -> None:
    """Run a script of this folder."""
    subprocess.run([sys.executable, str(SCRIPTS / name), *map(str, arguments)], check=True)


def make_samples(data: Path, start: Path, out: Path) -> None:
    """Clone the sources and write the training samples and dev sets."""
    script("mini_sources.py", "-o", out / "sources")
    if not (out / "train/manifest.json").is_file():
        script("train_data.py", data, "-o", out / "train", "--miner", "bm25", "--miner", start)
    if not (out / "written/manifest.json").is_file():
        script("mini_written.py", data, "-o", out / "written", "--sources", out / "sources")


def trained(name: str, start: Path, out: Path) -> Path:
    """Train by a recipe of `scripts/mini`, or go on where it was stopped; the directory of the model."""
    shutil.copyfile(SCRIPTS / f"mini/{name}.yaml", out / f"{name}.yaml")
    config = load_train_config(out / f"{name}.yaml", changes={"model": str(start.resolve())})
    return train(config, out / "runs" / name).model


def make_model(start: Path, out: Path) -> None:
    """Train two, take the mean of their weights, train that further, and lay the directory out."""
    models = [trained(name, start, out) for name in TRAININGS]
    merge(start, [(model, 1 / len(models)) for model in models], out / "mean")
    last = trained(LAST, out / "mean", out)
    with atomic_folder(out / "model") as folder:
        shutil.copytree(last, folder, dirs_exist_ok=True)
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": LENGTH, "do_lower_case": False})
        shutil.copyfile(SCRIPTS / "mini/card.md", folder / "README.md")


def release(model: Path, out: Path) -> None:
    """The model directory as one file; the same model gives the same names in the same order."""
    with atomic_write(out, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.add(model, NAME)


def main() -> None:
    """Command line: DATA -o OUT [--start DIR]."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="directory of the start model; default: fetched into OUT/start")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    start = arguments.start or out / "start"
    if not start.is_dir():
        script("mini_start.py", "-o", start)
    make_samples(arguments.data, start, out)
    make_model(start, out)
    release(out / "model", out / f"{NAME}.tar.gz")
    size = export(out / "model", out / "export")
    print(f"{out / 'model'}: Sentence Transformers; {out / 'export'}: graph of {size:,} bytes")


if __name__ == "__main__":
    main()
