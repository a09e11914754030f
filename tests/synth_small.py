"""A small corpus of invented prose, and a language model that plays every part of a synthesis as a pure function of the prompt."""

from __future__ import annotations

import hashlib
import json
import random
import re
from pathlib import Path

WORDS = [
    a + b + c
    for a in ("ka", "lo", "mi", "ru", "te")
    for b in ("ban", "dor", "fel", "sun", "vik")
    for c in ("", "a", "is")
]
OTHER = [a + b for a in ("pra", "glo", "stu", "zen", "qui", "hyr") for b in ("mer", "tol", "nak", "wes", "bip")]


def corpus(folder: Path, n: int = 40, *, words: int = 50) -> Path:
    """A file of `n` documents, each about its own few words."""
    drawn = random.Random(7)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "docs.jsonl").open("w") as file:
        for number in range(n):
            own = drawn.sample(WORDS, 12)
            file.write(json.dumps({"id": f"d{number}", "text": " ".join(drawn.choices(own, k=words)) + "."}) + "\n")
    return folder / "docs.jsonl"


def play(prompt: str) -> str:
    """The answer to any prompt of `reasonembed.synth`."""
    drawn = random.Random(hashlib.sha256(prompt.encode()).digest())
    if "one word, Yes or No" in prompt:
        return drawn.choice(["Yes", "yes.", "No"])
    if band := re.search(r"has (\d+) to (\d+) words", prompt):
        if drawn.random() < 0.1:
            return "Question: too short"
        content = re.search(r"\[Begin of Content\]\n(.*)\n\[End of Content\]", prompt, re.DOTALL)[1].split()
        text = drawn.choices(OTHER, k=int(band[2]) - 6) + drawn.sample(content, 5)
        return "Here is the question:\n\n**Question:** " + " ".join(text) + "?"
    if "step by step" in prompt and "400 words" in prompt:
        return " ".join(drawn.choices(OTHER, k=30))
    if drawn.random() < 0.05:
        return "I cannot say."
    return f"It {drawn.choice(OTHER)}. <score>{drawn.choice([1, 1, 2, 2, 3, 4, 5])}</score>"


def settings(docs: Path, **more: object) -> dict[str, object]:
    """A configuration for this corpus, as YAML would give it."""
    return {
        "name": "small", "corpus": [str(docs)], "kind": "exam",
        "sources": {"min_chars": 10, "n": 30},
        "queries": {"lengths": [[10, 20, 1], [21, 40, 2]]},
        "mine": {"miners": [{"bm25": "lucene"}], "top": 8, "near_duplicates": None},
        "annotate": {"reasoning": "brief", "top": 4, "spread": 2},
        "reasoning": {"enabled": True},
        **more,
    }  # fmt: skip
