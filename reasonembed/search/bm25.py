"""BM25, the lexical baseline: texts in, hits by shared words out; Lucene's variant and BRIGHT's own.

bm25s tokenises and weighs the documents; the sum over a query's words is ours, since BRIGHT weighs the query.
A searcher can be kept in a folder and opened again, memory-mapped:

    bm25.json       constants, tokeniser, packages, what it was made from, words in the order of `starts`
    starts.npy      (n_words + 1,) int64, where the documents of each word begin
    places.npy      (n_entries,) int32, documents by position
    weights.npy     (n_entries,) float32, w(t, d)
"""

from __future__ import annotations

import importlib.metadata
import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError
from reasonembed.io.atomic import atomic_folder
from reasonembed.io.manifest import read_json, write_json
from reasonembed.io.vectors import open_array, write_blocks
from reasonembed.search.ranking import check_exclude, check_k, check_new_ids, ranked
from reasonembed.types import Hit

Variant = Literal["lucene", "bright"]
K1 = 0.9
B = 0.4
"""k1 and b of BRIGHT's own evaluation (xlang-ai/BRIGHT, retrievers.py), which are Anserini's defaults."""

FORMAT = 1
META = "bm25.json"
_ARRAYS = (("starts", "int64"), ("places", "int32"), ("weights", "float32"))

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
        self._opened = False

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
            DataError: An id occurs twice, counts differ, or the searcher was opened from a folder.
        """
        if self._opened:
            raise DataError("a BM25 searcher opened from a folder takes no documents", fix="make a new one")
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
        index = self._weighed()
        hits: list[list[Hit]] = []
        for number, words in enumerate(tokenize(texts, self.variant)):
            scores = index.scores(words, weigh_query=self.variant == "bright")
            left_out = exclude[number] if exclude else ()
            scores[[self._position[i] for i in left_out if i in self._position]] = 0
            found = np.flatnonzero(scores > 0)
            if len(found) > k:
                cut = np.partition(scores[found], len(found) - k)[len(found) - k]
                found = found[scores[found] >= cut]
            hits.append(ranked(((self._ids[place], float(scores[place])) for place in found.tolist()), k))
        return hits

    def _weighed(self) -> _Weights:
        if self._index is None:
            self._index = _Weights.of(self._tokens, self.k1, self.b)
        return self._index

    def save(self, folder: Path | str, *, made_from: str) -> None:
        """Write the word statistics into a folder, whole or not at all; ids are not among them.

        Args:
            folder: Replaced if it is there.
            made_from: Fingerprint of the documents that were added; `load` asks for the same.

        Raises:
            StorageError: The folder could not be written whole.
        """
        index = self._weighed()
        with atomic_folder(folder) as fresh:
            for name, dtype in _ARRAYS:
                array = getattr(index, name)
                with (fresh / f"{name}.npy").open("wb") as file:
                    write_blocks(file, [array], array.shape, dtype)
            write_json(fresh / META, {
                "format": FORMAT, "made_from": made_from, "made_by": self.describe(), "count": len(self),
                "mean_length": index.mean_length, "words": sorted(index.vocabulary, key=index.vocabulary.__getitem__),
            })  # fmt: skip

    @classmethod
    def load(
        cls, folder: Path | str, ids: Sequence[str], *, variant: Variant = "lucene", made_from: str
    ) -> BM25Searcher:  # fmt: skip
        """Open what `save` wrote, memory-mapped; it takes no further documents.

        Args:
            folder: As `save` wrote it.
            ids: Of the documents, in the order they were added.
            variant: What it must be; k1 and b are the usual ones.
            made_from: Fingerprint of the documents.

        Raises:
            DataError: A file is missing or damaged, or it was made from other documents or by another tokeniser.
        """
        folder = Path(folder)
        searcher = cls(variant)
        stored = read_json(folder / META)
        wanted = {"format": FORMAT, "made_from": made_from, "made_by": searcher.describe(), "count": len(ids)}
        for name, value in wanted.items():
            if stored.get(name) != value:
                raise DataError(f"{name} is {stored.get(name)!r}, not {value!r}", path=folder / META)
        searcher._index = _Weights.stored(folder, stored, searcher.k1, searcher.b)
        searcher._ids = list(ids)
        searcher._position = {identifier: place for place, identifier in enumerate(ids)}
        searcher._opened = True
        return searcher


class _Weights:
    """bm25s' matrix of word weights w(t, d), read one word at a time.

    Attributes:
        vocabulary: Word -> its number.
        starts: (n_words + 1,) int64, where the documents of each word begin.
        places: (n_entries,) int32, positions of documents.
        weights: (n_entries,) float32.
        mean_length: Words a document.
    """

    def __init__(
        self, n_docs: int, vocabulary: dict[str, int], arrays: tuple[npt.NDArray[Any], ...], mean_length: float,
        k1: float, b: float,
    ) -> None:  # fmt: skip
        self._k1, self._b = k1, b
        self._n_docs = n_docs
        self.vocabulary = vocabulary
        self.starts, self.places, self.weights = arrays
        self.mean_length = mean_length

    @classmethod
    def of(cls, tokens: list[list[str]], k1: float, b: float) -> _Weights:
        """Weigh the words of documents."""
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG when imported
        if not any(tokens):
            empty = (np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
            return cls(len(tokens), {}, empty, 0.0, k1, b)
        matrix = bm25s.BM25(k1=k1, b=b, method="lucene")
        matrix.index(tokens, show_progress=False, create_empty_token=False)
        arrays = tuple(matrix.scores[name] for name in ("indptr", "indices", "data"))
        return cls(len(tokens), matrix.vocab_dict, arrays, sum(map(len, tokens)) / len(tokens), k1, b)

    @classmethod
    def stored(cls, folder: Path, meta: Mapping[str, Any], k1: float, b: float) -> _Weights:
        """Open the arrays that `BM25Searcher.save` wrote.

        Raises:
            DataError: A file is missing or damaged, or they do not belong together.
        """
        arrays = tuple(open_array(folder / f"{name}.npy", ndim=1, dtype=dtype) for name, dtype in _ARRAYS)
        starts, places, weights = arrays
        words, mean_length = meta.get("words"), meta.get("mean_length")
        if not (isinstance(words, list) and isinstance(mean_length, float)):
            raise DataError("words or mean_length are missing", path=folder / META, fix="delete the folder")
        if len(starts) != len(words) + 1 or not len(places) == len(weights) == starts[-1]:
            raise DataError("words and weights do not belong together", path=folder, fix="delete the folder")
        return cls(meta["count"], dict(zip(words, range(len(words)), strict=True)), arrays, mean_length, k1, b)

    def scores(self, words: list[str], *, weigh_query: bool) -> npt.NDArray[np.float32]:
        """Scores of all documents for a query's words, (n_docs,) float32."""
        counts = Counter(word for word in words if word in self.vocabulary)
        length = counts.total()
        scores = np.zeros(self._n_docs, np.float32)
        for word, count in counts.items():
            term = self.vocabulary[word]
            span = slice(self.starts[term], self.starts[term + 1])
            weight = self._query_weight(count, length, span.stop - span.start) if weigh_query else float(count)
            scores[self.places[span]] += self.weights[span] * np.float32(weight)
        return scores

    def _query_weight(self, count: int, length: int, n_documents: int) -> float:
        idf = float(np.log((self._n_docs + 1) / (n_documents + 0.5)))
        return idf * count / (count + self._k1 * (1 - self._b + self._b * length / self.mean_length))


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
