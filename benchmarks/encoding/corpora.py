"""Texts whose lengths follow BRIGHT's documents, cut and joined from the project's data sets; seeded, and described.

BRIGHT itself is not at hand. Its sizes and mean lengths are (`BRIGHT`); real texts of a kindred subject are joined or cut to
lengths drawn from them. Without a data folder the TheoremQA set that ships with the package is the only source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reasonembed import data
from reasonembed.io.beir import read_beir
from reasonembed.io.jsonl import read_jsonl


@dataclass(frozen=True)
class Subset:
    """One of BRIGHT's sets: its documents, their mean length in characters, the source that stands in for it."""

    name: str
    documents: int
    mean_chars: int
    source: str


BRIGHT = (
    Subset("biology", 57_359, 329, "openstax"),
    Subset("earth_science", 121_249, 333, "scifact"),
    Subset("economics", 50_220, 394, "openstax"),
    Subset("psychology", 52_835, 384, "scifact"),
    Subset("robotics", 61_961, 290, "openstax"),
    Subset("stackoverflow", 107_081, 1_714, "bright_leetcode"),
    Subset("sustainable_living", 60_792, 344, "openstax"),
    Subset("leetcode", 413_932, 1_058, "bright_leetcode"),
    Subset("pony", 7_894, 258, "bright_leetcode"),
    Subset("aops", 188_002, 754, "stacks"),
    Subset("theoremqa_questions", 188_002, 754, "stacks"),
    Subset("theoremqa_theorems", 23_839, 872, "stacks"),
)
"""Documents and mean characters: MTEB's descriptive statistics of BRIGHT."""

SIGMA = 1.1
"""Spread of the logarithm of a length within a set. Assumed: only means are published; 1.1 gives the ratio of mean to median
(1.7) that mixed prose and code has, and a tail of a few percent above 512 tokens."""

CHARS = (80, 32_768)
"""Shortest and longest text in characters: 20 and 8,192 tokens at four characters a token."""

FILES = {
    "openstax": ("openstax/passages.jsonl.gz", "title", "text"),
    "scifact": ("scifact/corpus.jsonl.gz", "title", "text"),
    "bright_leetcode": ("bright_leetcode/documents.jsonl.gz", "", "content"),
    "stacks": ("stacks/corpus.jsonl.gz", "title", "text"),
}
"""File in the data folder, field of the title, field of the text."""


def bright_texts(n: int, *, folder: Path | None, seed: int = 0) -> tuple[list[str], str]:
    """Texts with BRIGHT's mixture of lengths.

    A set is drawn in proportion to its documents, a length from a log-normal with the set's mean, a place in the source at
    random; documents from there on are joined until the length is reached, and cut at a blank.

    Args:
        n: How many.
        folder: Data folder that holds `FILES`; None, or one without them, takes the packaged TheoremQA set.
        seed: Same seed, same texts.

    Returns:
        The texts and one sentence that says what they are.
    """
    pools = _pools(folder)
    random = np.random.default_rng(seed)
    weights = np.array([subset.documents for subset in BRIGHT], np.float64)
    texts = []
    for choice in random.choice(len(BRIGHT), n, p=weights / weights.sum()):
        subset = BRIGHT[choice]
        pool = pools.get(subset.source) or pools["theoremqa"]
        length = random.lognormal(math.log(subset.mean_chars) - SIGMA**2 / 2, SIGMA)
        texts.append(_text(pool, int(random.integers(len(pool))), int(np.clip(length, *CHARS))))
    sources = ", ".join(sorted(pools))
    return texts, (
        f"{n} texts from {sources} (seed {seed}): set drawn by BRIGHT's document counts, characters log-normal with the "
        f"set's mean and sigma {SIGMA}, {CHARS[0]} to {CHARS[1]:,} characters"
    )


def describe(lengths: Sequence[int]) -> dict[str, Any]:
    """Percentiles of lengths in tokens, and what padding would cost.

    Args:
        lengths: Tokens of each text as the model sees it, in input order.

    Returns:
        Count, total, mean, percentiles, and padded tokens a real one in batches of 32 in input order and sorted by tokens.
    """
    array = np.asarray(lengths)
    percentiles = {
        f"p{p}": int(v)
        for p, v in zip((5, 25, 50, 75, 90, 99), np.percentile(array, (5, 25, 50, 75, 90, 99)), strict=True)
    }
    return {
        "texts": len(array), "tokens": int(array.sum()), "mean": round(float(array.mean()), 1), "min": int(array.min()),
        **percentiles, "max": int(array.max()), "padding_batch32_input_order": round(_padding(array), 3),
        "padding_batch32_sorted": round(_padding(np.sort(array)[::-1]), 3),
    }  # fmt: skip


def _pools(folder: Path | None) -> dict[str, list[str]]:
    if folder is not None and all((folder / file).is_file() for file, *_ in FILES.values()):
        return {
            name: [f"{row.get(title, '')} {row[text]}".strip() for _, row in read_jsonl(folder / file)]
            for name, (file, title, text) in FILES.items()
        }
    return {"theoremqa": [document.content for document in read_beir(data.theoremqa()).documents]}


def _text(pool: list[str], start: int, length: int) -> str:
    parts: list[str] = []
    total, index = 0, start
    while total < length:
        parts.append(pool[index % len(pool)])
        total += len(parts[-1]) + 2
        index += 1
    text = "\n\n".join(parts)
    cut = text.rfind(" ", length // 2, length) if len(text) > length else -1
    return text[: cut if cut > 0 else length]


def _padding(lengths: np.ndarray[Any, np.dtype[np.int64]], batch: int = 32) -> float:
    padded = sum(len(part) * part.max() for part in np.split(lengths, range(batch, len(lengths), batch)))
    return float(padded / lengths.sum())
