"""Fetch the books and entries that the small model is trained on, each at its commit, and make corpora of them.

    python scripts/mini_sources.py -o OUT

Clones what `scripts/mini_sources.yaml` names into `OUT/repositories/NAME` (a clone that lies there already is used as it is, bare or
not), then writes `OUT/books/NAME/` (`scripts/openstax_books.py`), `OUT/pretext/NAME/` (`scripts/pretext_books.py`) and
`OUT/planetmath/` (`scripts/planetmath.py`). About 1.5 GB, nearly
all of it pictures that nothing reads. What is written already is not made again.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from reasonembed.io.config import read_yaml

logger = logging.getLogger("mini_sources")

SCRIPTS = Path(__file__).parent


def cloned(url: str, commit: str, out: Path) -> Path:
    """The clone of a repository, made where it is missing."""
    place = out / "repositories" / url.rsplit("/", 1)[1]
    if not place.exists():
        unfinished = place.with_name(f".{place.name}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        logger.info("clone %s", url)
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", url, str(unfinished)], check=True)
        unfinished.rename(place)
    subprocess.run(["git", "-C", str(place), "cat-file", "-e", f"{commit}^{{tree}}"], check=True)
    return place


def run(script: str, *arguments: str | Path) -> None:
    """A script of this folder."""
    subprocess.run([sys.executable, str(SCRIPTS / script), *map(str, arguments)], check=True)


def books(pinned: Mapping[str, str], out: Path) -> None:
    """Passages and exercises of every book."""
    for url, commit in pinned.items():
        made = out / "books" / url.rsplit("/osbooks-", 1)[1]
        if not (made / "exercises.jsonl.gz").is_file():
            run("openstax_books.py", cloned(url, commit, out), "-o", made, "--commit", commit)


def pretext(pinned: Mapping[str, Mapping[str, str]], out: Path) -> None:
    """Passages and exercises of every book in PreTeXt."""
    for url, told in pinned.items():
        made = out / "pretext" / url.rsplit("/", 1)[1]
        if not (made / "exercises.jsonl.gz").is_file():
            place = cloned(url, told["commit"], out)
            run("pretext_books.py", place, told["root"], "-o", made, "--commit", told["commit"])


def planetmath(pinned: Mapping[str, str], out: Path) -> None:
    """The entries of all repositories."""
    if not (out / "planetmath/entries.jsonl.gz").is_file():
        places = [f"{cloned(url, commit, out)}@{commit}" for url, commit in pinned.items()]
        run("planetmath.py", *places, "-o", out / "planetmath")


def main() -> None:
    """Clone and read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--sources", type=Path, default=SCRIPTS / "mini_sources.yaml", help="YAML of URLs and commits")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    pinned = read_yaml(arguments.sources)
    books(pinned["books"], arguments.out)
    pretext(pinned.get("pretext", {}), arguments.out)
    planetmath(pinned["planetmath"], arguments.out)


if __name__ == "__main__":
    main()
