"""Development sets out of the shared data, for `scripts/tune_hybrid.py`: queries that no test set holds, chosen by seed.

    python scripts/dev_sets.py DATA OUT

`OUT/stacks-train.txt`: ids of 800 training queries of stacks (the chapters that are not the test's, data/README.md).
`OUT/openstax/`: a BEIR folder of 800 exercises; relevant are all passages of the module an exercise belongs to.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reasonembed.io.atomic import atomic_write
from reasonembed.io.jsonl import write_jsonl

SEED = 0
QUERIES = 800


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a .jsonl.gz file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def is_test(identifier: str) -> bool:
    """Whether a query of stacks belongs to a test chapter (data/README.md)."""
    chapter = identifier.split("-", 1)[0]
    return int(hashlib.sha1(chapter.encode()).hexdigest(), 16) % 5 == 0


def write_stacks(folder: Path, out: Path) -> None:
    """Ids of training queries, one a line."""
    ids = sorted(row["_id"] for row in rows(folder / "queries.jsonl.gz") if not is_test(row["_id"]))
    with atomic_write(out) as file:
        file.write("".join(f"{key}\n" for key in sorted(random.Random(SEED).sample(ids, QUERIES))))


def write_openstax(folder: Path, out: Path) -> None:
    """Exercises as queries, the passages of their module as judgements."""
    passages = list(rows(folder / "passages.jsonl.gz"))
    of_module = defaultdict(list)
    for passage in passages:
        of_module[passage["module"]].append(passage["_id"])
    exercises = [row for row in rows(folder / "exercises.jsonl.gz") if row["module"] in of_module]
    chosen = random.Random(SEED).sample(exercises, QUERIES)
    (out / "qrels").mkdir(parents=True, exist_ok=True)
    write_jsonl(out / "corpus.jsonl", ({key: row[key] for key in ("_id", "title", "text")} for row in passages))
    write_jsonl(out / "queries.jsonl", ({key: row[key] for key in ("_id", "text")} for row in chosen))
    judged = [f"{row['_id']}\t{passage}\t1\n" for row in chosen for passage in of_module[row["module"]]]
    with atomic_write(out / "qrels" / "dev.tsv") as file:
        file.write("".join(["query-id\tcorpus-id\tscore\n", *judged]))


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_stacks(arguments.data / "stacks", arguments.out / "stacks-train.txt")
    write_openstax(arguments.data / "openstax", arguments.out / "openstax")


if __name__ == "__main__":
    main()
