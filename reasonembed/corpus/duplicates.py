"""Near-duplicates among passages: MinHash signatures of their words, and which passage repeats an earlier one.

Gets texts, gives a signature each (kept in an index, so that it is made once); gets signatures, gives for each
passage the earlier one that it repeats. It knows no files.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

from reasonembed.errors import MissingExtraError

WIDTH = 128
"""Numbers in a signature: the share of equal ones estimates the Jaccard similarity with a deviation of at most 0.044."""
WORDS = 5
"""Consecutive words that make one element of the set that is compared."""
THRESHOLD = 0.9
"""Jaccard similarity from which a passage is a repetition: one changed word in a hundred leaves it at 0.9."""
BAND = 8
"""Numbers in a band. Passages that share one of the 16 bands are compared; of pairs at 0.9, 0.9999 do (Leskovec, Rajaraman,
Ullman, Mining of Massive Datasets, 3.4: 1 - (1 - 0.9^8)^16)."""

Signatures = npt.NDArray[np.uint32]

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")
"""A word; in Chinese, Japanese and Korean, which set no blanks, a character."""


def signatures(texts: Iterable[str]) -> Signatures:
    """MinHash signatures (Broder 1997) of texts, through datasketch; the same text has the same signature everywhere.

    Args:
        texts: Passages.

    Returns:
        (n_texts, `WIDTH`) uint32.

    Raises:
        MissingExtraError: datasketch is not installed.
    """
    try:
        from datasketch import MinHash
    except ImportError as error:
        raise MissingExtraError("datasketch", "docs", "finding near-duplicates among passages") from error
    elements = (shingles(text) for text in texts)
    made = MinHash.generator(elements, num_perm=WIDTH, seed=1, hashfunc=zlib.crc32, scheme="affine32")
    rows = [minhash.hashvalues for minhash in made]
    return np.array(rows, np.uint32).reshape(len(rows), WIDTH)


def repeated(signed: Signatures) -> npt.NDArray[np.int64]:
    """For each passage the earlier one that it repeats.

    Passages are taken in order and compared with those kept so far, so the first of its kind is kept, and the
    result depends on nothing but the signatures and their order.

    Args:
        signed: (n, `WIDTH`) uint32, may be memory-mapped. Beside it, 64 bytes of memory a passage.

    Returns:
        (n,) int64: the position of the earlier passage, -1 for a passage that is kept.
    """
    found = np.full(len(signed), -1, np.int64)
    groups = _groups(signed)
    kept: dict[tuple[int, int], list[int]] = {}
    for place in np.flatnonzero((groups >= 0).any(axis=1)).tolist():
        keys = [(band, group) for band, group in enumerate(groups[place].tolist()) if group >= 0]
        others = np.array(sorted({other for key in keys for other in kept.get(key, ())}), np.int64)
        alike = others[(signed[others] == signed[place]).mean(axis=1) >= THRESHOLD] if len(others) else others
        if len(alike):
            found[place] = alike[0]
            continue
        for key in keys:
            kept.setdefault(key, []).append(place)
    return found


def shingles(text: str) -> Iterator[bytes]:
    """Every run of `WORDS` words, lower-cased; all words as one element where there are fewer."""
    words = [match.group() for match in _WORD.finditer(text.lower())] or [text]
    runs = zip(*(islice(words, start, None) for start in range(min(WORDS, len(words)))), strict=False)
    return (" ".join(run).encode("utf-8", "surrogatepass") for run in runs)


def _groups(signed: Signatures) -> npt.NDArray[np.int32]:
    """(n, bands) int32: passages with equal numbers in a band share a group; -1 where a passage is alone."""
    factors = np.random.default_rng(0).integers(1, 1 << 63, BAND, np.uint64) | np.uint64(1)
    groups = np.full((len(signed), WIDTH // BAND), -1, np.int32)
    for band in range(WIDTH // BAND):
        numbers = signed[:, band * BAND : (band + 1) * BAND].astype(np.uint64)  # (n, BAND)
        keys = (numbers * factors).sum(
            axis=1, dtype=np.uint64
        )  # equal bands have equal keys; a clash costs a comparison
        _, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        groups[:, band] = np.where(sizes[group] > 1, group, -1)
    return groups
