"""An adaptation that takes seconds: documents of one made-up word each, questions that share it, a tiny random model that can learn it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from random import Random
from typing import Any

from reasonembed.adaptation.config import AdaptConfig

TRAIN = {"batch.queries": 32, "batch.group": 4, "dtype": "float32", "optimiser.learning_rate": 5e-3}


def words(n: int) -> list[str]:
    letters = [a + b + c for a in "bdgkmp" for b in "aeiou" for c in "lmnrst"]
    return Random(0).sample(letters, n)


def documents(folder: Path, n: int = 160) -> Path:
    """A folder with a file of `n` records `d0`, `d1`, ..."""
    folder.mkdir(parents=True)
    rows = [
        {"id": f"d{place}", "text": f"lemma of {word} and the matrix has {word}"} for place, word in enumerate(words(n))
    ]
    (folder / "lemmas.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def pairs(path: Path, n: int = 160, *, shift: int = 0) -> Path:
    """A question a document; with a shift it asks for the word of another one."""
    known = words(n)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["query", "document"])
        table.writerows([f"which theorem {known[(place + shift) % n]}", f"d{place}"] for place in range(n))
    return path


def small(model: Path, **told: Any) -> AdaptConfig:
    return AdaptConfig(model=str(model), **{"train": TRAIN, **told})


SYNTH = {
    "sources.min_chars": 10,
    "queries.lengths": [[10, 20, 1], [21, 40, 2]],
    "mine.near_duplicates": None,
    "mine.miners": [{"bm25": "lucene"}],
    "annotate": {"reasoning": "brief", "top": 8, "spread": 4},
    "samples": {},
}
"""The synthesis of the corpus of `synth_small`."""


def few(model: Path, **told: Any) -> AdaptConfig:
    """With a language model that also judges: few questions, few steps."""
    train = {**TRAIN, "batch.queries": 8, "optimiser.steps": 4, "evaluate.every": 2}
    return small(
        model, **{"synth": SYNTH, "train": train, "test_queries": 12, "dev_queries": 8, "labels": "judged", **told}
    )
