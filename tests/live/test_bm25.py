"""BRIGHT's BM25 on the real bright_leetcode against its formula in NumPy, over a dense matrix of counts, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from reasonembed.io.bright import bright_tasks, read_bright
from reasonembed.search.bm25 import BM25Searcher, tokenize

pytestmark = pytest.mark.live


def weights(counts, lengths, df, n, mean_length, k1=0.9, b=0.4):
    """w(t, d) of BM25Searcher's docstring for a block of texts: counts (n_texts, n_words), lengths (n_texts,)."""
    idf = np.log(1 + (n - df + 0.5) / (df + 0.5))
    return idf * counts / (counts + k1 * (1 - b + b * lengths[:, None] / mean_length))


def counted(texts, vocabulary):
    counts = np.zeros((len(texts), len(vocabulary)), np.float64)
    for row, words in enumerate(texts):
        for word in words:
            if word in vocabulary:
                counts[row, vocabulary[word]] += 1
    return counts


def test_bright_leetcode_equals_the_formula(data):
    source = str(data / "bright_leetcode")
    (name,) = bright_tasks(source, ())
    task = read_bright(source, name)
    documents = tokenize([document.content for document in task.documents], "bright")
    queries = tokenize([query.text for query in task.queries], "bright")
    vocabulary = {word: place for place, word in enumerate(sorted({word for words in queries for word in words}))}
    counts, asked = counted(documents, vocabulary), counted(queries, vocabulary)
    df = (counts > 0).sum(0)
    lengths = np.array([len(words) for words in documents], float)
    known = asked * (df > 0)  # words that no document has count neither as words nor for the length
    right = weights(counts, lengths, df, len(documents), lengths.mean())
    left = weights(known, known.sum(1), df, len(documents), lengths.mean())
    expected = left @ right.T  # (142, 2612)
    searcher = BM25Searcher("bright")
    ids = [document.id for document in task.documents]
    searcher.add(ids, [document.content for document in task.documents])
    excluded = [task.excluded.get(query.id, frozenset()) for query in task.queries]
    place = {identifier: number for number, identifier in enumerate(ids)}
    for row, hits in enumerate(searcher.search([query.text for query in task.queries], 1000, excluded)):
        allowed = expected[row].copy()
        allowed[[place[identifier] for identifier in excluded[row] if identifier in place]] = 0
        best = np.sort(allowed)[::-1][:1000]
        np.testing.assert_allclose([hit.score for hit in hits], best[best > 0], rtol=1e-5)
        np.testing.assert_allclose([allowed[place[hit.id]] for hit in hits], best[best > 0], rtol=1e-5)
