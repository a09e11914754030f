"""BM25Searcher against the formulas in plain Python, and at its edges."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonembed.errors import DataError
from reasonembed.search.bm25 import BM25Searcher, tokenize

WORDS = ["theorem", "graph", "proof", "number", "prime", "colour", "space", "norm", "zebra", "the"]
texts = st.lists(st.lists(st.sampled_from(WORDS), min_size=0, max_size=12).map(" ".join), min_size=1, max_size=12)


def oracle(documents, query, *, k1, b, variant):
    """Scores of all documents: the formulas written out over word lists, in float64."""
    docs = tokenize(documents, variant)
    words = tokenize([query], variant)[0]
    n, mean_length = len(docs), sum(map(len, docs)) / len(docs)
    df = Counter(word for doc in docs for word in set(doc))
    known = [word for word in words if df[word]]

    def weight(word, bag):
        tf = bag.count(word)
        idf = math.log(1 + (n - df[word] + 0.5) / (df[word] + 0.5))
        return tf and idf * tf / (tf + k1 * (1 - b + b * len(bag) / mean_length))

    if variant == "lucene":
        return [sum(weight(word, doc) for word in known) for doc in docs]
    return [sum(weight(word, known) * weight(word, doc) for word in set(known)) for doc in docs]


@settings(max_examples=40, deadline=None)
@given(
    documents=texts,
    query=st.lists(st.sampled_from([*WORDS, "unseen"]), min_size=1, max_size=8).map(" ".join),
    variant=st.sampled_from(["lucene", "bright"]),
    k1=st.sampled_from([0.9, 0.0, 1.5]),
    b=st.sampled_from([0.4, 0.0, 1.0]),
    k=st.integers(1, 13),
    banned=st.sets(st.integers(0, 11)),
)
def test_equals_the_formula(documents, query, variant, k1, b, k, banned):
    ids = [f"d{number}" for number in range(len(documents))]
    searcher = BM25Searcher(variant, k1=k1, b=b)
    half = len(ids) // 2
    searcher.add(ids[:half], documents[:half])
    searcher.search(["theorem"], 1)  # an index built early must be renewed by the next add
    searcher.add(ids[half:], documents[half:])
    exclude = {f"d{number}" for number in banned}
    hits = searcher.search([query], k, [exclude])[0]
    scores = (
        oracle(documents, query, k1=k1, b=b, variant=variant) if any(tokenize(documents, variant)) else [0.0] * len(ids)
    )
    left = {i: s for i, s in zip(ids, scores, strict=True) if s > 0 and i not in exclude}
    best = sorted(left.values(), reverse=True)[:k]
    np.testing.assert_allclose([hit.score for hit in hits], best, rtol=2e-6)
    np.testing.assert_allclose([left[hit.id] for hit in hits], best, rtol=2e-6)
    for first, second in pairwise(hits):
        assert (-first.score, first.id) < (-second.score, second.id)


def test_ties_at_the_cut_are_ordered_by_id():
    searcher = BM25Searcher()
    searcher.add(["z", "a", "m", "other"], ["prime number"] * 3 + ["zebra"])
    assert [hit.id for hit in searcher.search(["prime"], 2)[0]] == ["a", "m"]


@pytest.mark.parametrize("variant", ["lucene", "bright"])
@pytest.mark.parametrize("query", ["", "   ", "the and of", "The", "?!", "unseen", "x"])
def test_a_query_without_known_words_finds_nothing(variant, query):
    searcher = BM25Searcher(variant)
    searcher.add(["a", "b"], ["graph theory of the plane", "number"])
    assert searcher.search([query, "graph"], 5)[0] == []
    assert [hit.id for hit in searcher.search([query, "graph"], 5)[1]] == ["a"]


@pytest.mark.parametrize("variant", ["lucene", "bright"])
def test_documents_without_words(variant):
    searcher = BM25Searcher(variant)
    assert searcher.search(["graph"], 5) == [[]]
    searcher.add(["a", "b"], ["", "the of"])
    assert searcher.search(["graph", "the"], 5) == [[], []]


def test_lucene_analyzer():
    text = "Green's theorem, isn't U.S.A. or 3,000.5 wi-fi: running ponies' x_1 the AND don’t"
    assert tokenize([text], "bright")[0] == [
        "green", "theorem", "isn't", "u.s.a", "3,000.5", "wi", "fi", "run", "poni", "x_1", "don’t",
    ]  # fmt: skip


def test_lucene_variant_uses_the_tokeniser_of_the_data_card():
    assert tokenize(["The x is RUNNING on generously café"], "lucene")[0] == ["run", "generous", "café"]


def test_describe_names_everything():
    described = BM25Searcher("bright").describe()
    assert described["k1"] == 0.9
    assert described["b"] == 0.4
    assert "Porter" in described["tokenizer"]
    assert set(described["packages"]) == {"bm25s", "PyStemmer"}


def test_refusals():
    with pytest.raises(DataError, match="variant 'okapi' is unknown"):
        BM25Searcher("okapi")
    for bad in ({"k1": -1}, {"k1": math.nan}, {"b": 1.2}):
        with pytest.raises(DataError, match="must"):
            BM25Searcher(**bad)
    searcher = BM25Searcher()
    searcher.add(["a"], ["graph"])
    with pytest.raises(DataError, match="'a' was added before"):
        searcher.add(["a"], ["x"])
    with pytest.raises(DataError, match="1 ids for 2"):
        searcher.add(["b"], ["x", "y"])
    with pytest.raises(DataError, match="k is 0"):
        searcher.search(["graph"], 0)
    with pytest.raises(DataError, match="exclude has 1 entries for 2"):
        searcher.search(["graph", "x"], 1, [set()])
