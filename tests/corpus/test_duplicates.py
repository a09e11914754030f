"""Near-duplicates: estimates against exact Jaccard similarities, the choice against a loop over all pairs."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from reasonembed.corpus.duplicates import THRESHOLD, WIDTH, repeated, signatures
from reasonembed.errors import MissingExtraError

WORDS = [f"word{number}" for number in range(400)]


def changed(words, share, random):
    """A copy in which a share of the words is another one."""
    copy = list(words)
    for place in random.choice(len(copy), round(share * len(copy)), replace=False):
        copy[place] = f"other{random.integers(1_000_000)}"
    return copy


def jaccard(left, right):
    """Exact similarity of the sets of runs of five words."""
    runs = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (left, right)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_equal_numbers_estimate_the_similarity():
    random = np.random.default_rng(0)
    texts = [list(random.choice(WORDS, 300)) for _ in range(8)]
    for share in (0.0, 0.005, 0.02, 0.1, 1.0):
        others = [changed(text, share, random) for text in texts]
        exact = np.array([jaccard(left, right) for left, right in zip(texts, others, strict=True)])
        left, right = signatures(map(" ".join, texts)), signatures(map(" ".join, others))
        assert left.shape == (8, WIDTH)
        assert left.dtype == np.uint32
        np.testing.assert_allclose((left == right).mean(axis=1), exact, atol=4 * 0.0442)  # four standard deviations


def by_all_pairs(signed):
    """Greedy choice over all pairs."""
    kept, found = [], []
    for place, row in enumerate(signed):
        earlier = [other for other in kept if np.mean(signed[other] == row) >= THRESHOLD]
        found.append(earlier[0] if earlier else -1)
        if not earlier:
            kept.append(place)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_choice_equals_a_loop_over_all_pairs(seed):
    random = np.random.default_rng(seed)
    families = random.integers(0, 1 << 32, (12, WIDTH), np.uint32)
    signed = families[random.integers(0, 12, 150)]
    noise = random.random(signed.shape) < random.choice([0.0, 0.02, 0.05, 0.1, 0.2], (150, 1))
    signed = np.where(noise, random.integers(0, 1 << 32, signed.shape, np.uint32), signed)
    found = repeated(signed)
    assert found.tolist() == by_all_pairs(signed)
    assert -1 in found
    assert (found >= 0).any()


def test_a_repetition_of_something_dropped_only_is_kept():
    """a ~ b and b ~ c, but not a ~ c: only b goes."""
    signed = np.zeros((3, WIDTH), np.uint32)
    signed[1, -10:] = 1  # 0.92 like the first
    signed[2, -20:] = 1  # 0.92 like the second, 0.84 like the first
    assert repeated(signed).tolist() == [-1, 0, -1]


def test_texts():
    text = "A code with minimum distance d corrects all patterns of half as many errors, and no code does better. " * 4
    texts = [
        text,
        text.upper().replace(" ", "\n "),
        text + "One sentence more that says something else.",
        "Yes",
        "no",
        "yes",
    ]
    texts += ["定理は正しい。" * 3, "定理は正しい。" * 3 + "本当", "定理は誤りだ。" * 3, "", "..."]
    assert repeated(signatures(texts)).tolist() == [-1, 0, -1, -1, -1, 3, -1, -1, -1, -1, -1]
    assert repeated(signatures([])).tolist() == []


def test_the_same_in_every_process():
    """Signatures are stored, so neither the hash seed nor the run may change them."""
    code = (
        "import hashlib; from reasonembed.corpus.duplicates import signatures\n"
        "print(hashlib.sha256(signatures(['a theorem ' * 9, 'λ']).tobytes()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(MissingExtraError, match=r"datasketch.*reasonembed\[docs\]"):
        signatures(["text"])
