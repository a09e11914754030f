"""BM25, the lexical baseline: texts in, hits by shared words out; Lucene's variant and BRIGHT's own.

bm25s tokenises and weighs the documents; the sum over a query's words is ours, since BRIGHT weighs the query.
"""

from __future__ import annotations

import importlib.metadata
import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError
from reasonembed.search.ranking import check_exclude, check_k, check_new_ids, ranked
from reasonembed.types import Hit

Variant = Literal["lucene", "bright"]
K1 = 0.9
B = 0.4
"""k1 and b of BRIGHT's own evaluation (xlang-ai/BRIGHT, retrievers.py), which are Anserini's defaults."""

_MARKS = "\u0300-\u036f"
_STANDARD_TOKEN = re.compile(
    rf"[\w{_MARKS}]+(?:(?:(?<=[^\W\d_])[:.'’·](?=[^\W\d_])|(?<=\d)[,;.'’](?=\d))[\w{_MARKS}]+)*"
)
"""Words as in Unicode's UAX 29, like Lucene's StandardTokenizer: inner . ' : join letters, . , ; ' digits."""
_TOKENIZERS = {
    "lucene": r"bm25s: lower case, \b\w\w+\b, 33 English stop words, Snowball English stemmer",
    "bright": "Lucene English: UAX 29 words, no possessive 's, lower case, 33 stop words, Porter stemmer",
}


class BM25Searcher:
    """BM25 over texts held as a sparse matrix of word weights.

    A word t of a document d weighs `w(t, d) = idf(t) * tf / (tf + k1 * (1 - b + b * len(d) / avgdl))` with
    `idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))` (Robertson and Zaragoza 2009, as Lucene 8 computes it).

    * `lucene`: the score is the sum of w(t, d) over the query's words, repeated words counted each time.
      Tokeniser: bm25s' (words of two characters and more, lower case, Lucene's 33 English stop words),
      Snowball's English stemmer.
    * `bright`: the query q is weighed like a document, the score is the sum of w(t, q) * w(t, d) over
      distinct words (BRIGHT's retrievers.py with gensim's LuceneBM25Model; len(q) counts the words that some
      document has). Tokeniser: Lucene's English analyzer: Unicode words, possessive 's removed, lower case,
      the same stop words, Porter stemmer. Differences from the Java original: runs of ideographs are one
      word, and Snowball's Porter replaces Lucene's.

    Args:
        variant: `lucene` or `bright`.
        k1: Saturation of the term frequency, at least 0.
        b: Share of the length normalisation, in [0, 1].

    Raises:
        DataError: An unknown variant, or k1 or b out of range.
    """

    def __init__(self, variant: Variant = "lucene", k1: float = K1, b: float = B) -> None:
        if variant not in _TOKENIZERS:
            raise DataError(f"BM25 variant {variant!r} is unknown", fix=f"one of {', '.join(_TOKENIZERS)}")
        if not k1 >= 0:
            raise DataError(f"k1 is {k1}, it must be at least 0", fix=f"use {K1}")
        if not 0 <= b <= 1:
            raise DataError(f"b is {b}, it must lie in [0, 1]", fix=f"use {B}")
        self.variant: Variant = variant
        self.k1 = k1
        self.b = b
        self._ids: list[str] = []
        self._position: dict[str, int] = {}
        self._tokens: list[list[str]] = []
        self._index: _Weights | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def describe(self) -> dict[str, Any]:
        """What made the scores: variant, constants, tokeniser, package versions; goes into score files."""
        packages = {name: importlib.metadata.version(name) for name in ("bm25s", "PyStemmer")}
        return {
            "model": f"bm25-{self.variant}",
            "variant": self.variant,
            "k1": self.k1,
            "b": self.b,
            "tokenizer": _TOKENIZERS[self.variant],
            "packages": packages,
        }

    def add(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Tokenise and add documents.

        Args:
            ids: One unique id a text.
            texts: Documents (title, a space, text).

        Raises:
            DataError: An id occurs twice, or counts differ.
        """
        check_new_ids(ids, self._position, len(texts))
        self._tokens.extend(tokenize(texts, self.variant))
        self._position.update((identifier, len(self._ids) + place) for place, identifier in enumerate(ids))
        self._ids.extend(ids)
        self._index = None

    def search(
        self, queries: Sequence[str] | str, k: int, exclude: Sequence[Collection[str]] | None = None
    ) -> list[list[Hit]]:
        """Find the k documents of each query that share the most telling words.

        Args:
            queries: Texts.
            k: Hits a query.
            exclude: Ids that must not be found, one collection a query; unknown ids are ignored.

        Returns:
            One list a query, score descending, equal scores by id ascending; only documents with a score
            above 0, so a query of stop words alone has none.

        Raises:
            DataError: k below 1, or a wrong number of exclusions.
        """
        check_k(k)
        texts = [queries] if isinstance(queries, str) else list(queries)
        check_exclude(exclude, len(texts))
        if self._index is None:
            self._index = _Weights(self._tokens, self.k1, self.b)
        hits: list[list[Hit]] = []
        for number, words in enumerate(tokenize(texts, self.variant)):
            scores = self._index.scores(words, weigh_query=self.variant == "bright")
            left_out = exclude[number] if exclude else ()
            scores[[self._position[i] for i in left_out if i in self._position]] = 0
            found = np.flatnonzero(scores > 0)
            if len(found) > k:
                cut = np.partition(scores[found], len(found) - k)[len(found) - k]
                found = found[scores[found] >= cut]
            hits.append(ranked(((self._ids[place], float(scores[place])) for place in found.tolist()), k))
        return hits


class _Weights:
    """bm25s' matrix of word weights w(t, d), read one word at a time."""

    def __init__(self, tokens: list[list[str]], k1: float, b: float) -> None:
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG when imported
        self._k1, self._b = k1, b
        self._n_docs = len(tokens)
        self._vocabulary: dict[str, int] = {}
        if any(tokens):
            matrix = bm25s.BM25(k1=k1, b=b, method="lucene")
            matrix.index(tokens, show_progress=False, create_empty_token=False)
            self._vocabulary = matrix.vocab_dict
            self._data, self._places, self._starts = (matrix.scores[name] for name in ("data", "indices", "indptr"))
            self._mean_length = sum(map(len, tokens)) / len(tokens)

    def scores(self, words: list[str], *, weigh_query: bool) -> npt.NDArray[np.float32]:
        """Scores of all documents for a query's words, (n_docs,) float32."""
        counts = Counter(word for word in words if word in self._vocabulary)
        length = counts.total()
        scores = np.zeros(self._n_docs, np.float32)
        for word, count in counts.items():
            term = self._vocabulary[word]
            span = slice(self._starts[term], self._starts[term + 1])
            weight = self._query_weight(count, length, span.stop - span.start) if weigh_query else float(count)
            scores[self._places[span]] += self._data[span] * np.float32(weight)
        return scores

    def _query_weight(self, count: int, length: int, n_documents: int) -> float:
        idf = float(np.log((self._n_docs + 1) / (n_documents + 0.5)))
        return idf * count / (count + self._k1 * (1 - self._b + self._b * length / self._mean_length))


def tokenize(texts: Sequence[str], variant: Variant) -> list[list[str]]:
    """Texts as lists of stemmed words, with the tokeniser of a BM25 variant.

    Args:
        texts: Any texts; one without words gives an empty list.
        variant: `lucene` or `bright`, see `BM25Searcher`.
    """
    import bm25s
    import Stemmer

    if variant == "lucene":
        tokens: list[list[str]] = bm25s.tokenize(
            list(texts),
            stopwords="en",
            stemmer=Stemmer.Stemmer("english"),
            return_ids=False,
            show_progress=False,
        )
        return tokens
    from bm25s.stopwords import STOPWORDS_EN

    stop_words = frozenset(STOPWORDS_EN)
    stemmer = Stemmer.Stemmer("porter")
    return [stemmer.stemWords(_lucene_words(text, stop_words)) for text in texts]


def _lucene_words(text: str, stop_words: frozenset[str]) -> list[str]:
    """Words before stemming, as Lucene's English analyzer gives them."""
    words = (re.sub("['’][sS]$", "", token).lower() for token in _STANDARD_TOKEN.findall(text))
    return [word for word in words if word not in stop_words]
