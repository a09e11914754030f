"""A training that takes a second: a tiny random model, samples that can be learned by heart, a dev set of the same texts."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from reasonembed.training.config import TrainConfig, parse_train_config


def words(n: int) -> list[str]:
    """Different made-up words."""
    letters = [a + b + c for a in "bdgk" for b in "aeiou" for c in "lmnrst"]
    return Random(0).sample(letters, n)


def sample_rows(n: int = 16) -> list[dict[str, Any]]:
    """A sample a word: the query and its passages share the word and nothing else."""
    known = words(n)
    rows = []
    for place, word in enumerate(known):
        others = [known[(place + step) % n] for step in range(1, 6)]
        rows.append(
            {
                "query": f"which theorem has {word}",
                "reasoning_query": f"which theorem has {word}? the lemma of {word}",
                "pos": [f"lemma of {word}", f"{word} states that"],
                "neg": [f"lemma of {other}" for other in others],
            }
        )
    return rows


def write_samples(path: Path, n: int = 16) -> Path:
    """The samples as a file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in sample_rows(n)))
    return path


def write_beir(folder: Path, n: int = 16) -> Path:
    """The same queries and positives as a BEIR folder with the split dev."""
    (folder / "qrels").mkdir(parents=True)
    rows = sample_rows(n)
    corpus = [{"_id": f"d{place}", "title": "", "text": row["pos"][0]} for place, row in enumerate(rows)]
    queries = [{"_id": f"q{place}", "text": row["query"]} for place, row in enumerate(rows)]
    for name, lines in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    qrels = "".join(f"q{place}\td{place}\t1\n" for place in range(n))
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    return folder


def small_config(model: Path, data: Path, **told: Any) -> TrainConfig:
    """8 queries with 4 passages a step, in several packed rows, float32 unless told otherwise."""
    return parse_train_config(small_settings(model, data, **told))


def small_settings(model: Path, data: Path, **told: Any) -> dict[str, Any]:
    """The settings of `small_config` as plain values."""
    return {
        "name": "small",
        "model": str(model),
        "data": str(data),
        "loss": {"name": "infonce", "temperature": 0.05},
        "batch": {"queries": 8, "group": 4, "row_tokens": 300},
        "lengths": {"query": 48, "passage": 48, "reasoning": 48},
        "optimiser": {"learning_rate": 3e-3, "epochs": 4},
        "dtype": "float32",
        **told,
    }
