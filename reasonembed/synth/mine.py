"""Candidates of each query from the whole corpus, its source and everything equal or nearly equal to it left out (paper.md 1.3).

Left out **before** the cut, so that a query has its `top` candidates. Queries are searched in blocks of `QUERY_BLOCK`. Memory: for a
dense miner the corpus' vectors, 4 bytes x dim a document (1.5 GB for a million at 384), which come from the cache of embeddings; for
BM25 about 100 bytes a word; with near-duplicates 512 bytes a document. Texts are read from the run as they are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reasonembed.corpus.duplicates import WIDTH, Signatures, signatures
from reasonembed.encode.cache import cached_encode
from reasonembed.errors import DataError
from reasonembed.progress import progress_bar
from reasonembed.search.bm25 import BM25Searcher, Variant
from reasonembed.search.exact import ExactSearcher
from reasonembed.search.fusion import fuse
from reasonembed.search.views import DenseView, View
from reasonembed.synth.checks import normalised
from reasonembed.synth.config import DEFAULT_MODEL, MineConfig, MinerConfig
from reasonembed.synth.documents import Documents
from reasonembed.types import Document, Hit, SynthQuery

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

QUERY_BLOCK = 1024
_WORDS_BLOCK = 4096


class Pool(Sequence[Document]):
    """The documents that can be candidates: of those with equal texts the first.

    Args:
        documents: The corpus.
        near: Jaccard similarity with the source from which a document is left out; None goes by equality alone. Takes 512
            bytes a document, and for every source a look at all of them (20 ms for 100,000).

    Raises:
        MissingExtraError: datasketch is not installed, and `near` is given.
    """

    def __init__(self, documents: Documents, *, near: float | None) -> None:
        self._documents, self._near = documents, near
        texts = np.fromiter((hash(normalised(document.text)) for document in documents), np.int64, len(documents))
        _, first, group = np.unique(texts, return_index=True, return_inverse=True)
        self._first = first[group]  # (n_documents,) place of the first document with this text
        self._places = np.unique(first)  # (n_pool,)
        self.ids = [documents.ids[place] for place in self._places]
        self._signed: Signatures | None = None
        if near is not None:
            self._signed = signatures(document.text for document in self)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return self._documents.at(self._places[place].tolist())
        return self._documents[int(self._places[place])]

    def like(self, source: str) -> frozenset[str]:
        """Ids in the pool that are the source, equal to it, or nearly so."""
        row = int(np.searchsorted(self._places, self._first[self._documents.place_of(source)]))
        if self._signed is None or self._near is None:
            return frozenset((self.ids[row],))
        alike = np.count_nonzero(self._signed == self._signed[row], axis=1)
        return frozenset(self.ids[other] for other in np.flatnonzero(alike >= self._near * WIDTH))


def mine_candidates(
    documents: Documents,
    queries: Iterable[SynthQuery],
    config: MineConfig,
    *,
    instruction: str,
    embedder: Embedder | None = None,
    total: int | None = None,
    described: dict[str, Any] | None = None,
    progress: bool = False,
) -> Iterator[tuple[SynthQuery, list[Hit]]]:
    """Find the candidates of queries.

    Lists of several miners, each of `top` documents, are united by reciprocal rank (`search.fusion`): scores of different miners
    cannot be compared, and a document that several find goes to the front.

    Args:
        documents: The corpus.
        queries: Taken in blocks.
        config: See `MineConfig`.
        instruction: Of the queries, for models that take one.
        embedder: In place of the model of the first dense miner.
        total: Number of queries.
        described: Gets what each miner is, and the size of the pool.
        progress: Show bars.

    Yields:
        (query, at most `top` hits, best first), in order.

    Raises:
        DataError: An embedder is given and no miner is dense.
        ModelError: A model cannot be opened.
    """
    pool = Pool(documents, near=config.near_duplicates)
    said: dict[str, Any] = {} if described is None else described
    said |= {"pool": len(pool), "equal_texts": len(documents) - len(pool)}
    views = _views(pool, config.miners, instruction, embedder, said, progress)
    rows = iter(queries)
    with progress_bar("queries mined", total, unit="queries", show=progress) as tick:
        while block := list(islice(rows, QUERY_BLOCK)):
            texts = [query.text for query in block]
            exclude = [pool.like(query.source) for query in block]
            lists = {name: view.search(texts, config.top, exclude) for name, view in views.items()}
            for number, query in enumerate(block):
                yield query, _united({name: found[number] for name, found in lists.items()}, config.top)
            tick(len(block))


def _united(lists: dict[str, list[Hit]], top: int) -> list[Hit]:
    if len(lists) == 1:
        return next(iter(lists.values()))
    return fuse(lists, method="rrf", k=top)


def _views(
    pool: Pool,
    miners: Sequence[MinerConfig],
    instruction: str,
    embedder: Embedder | None,
    said: dict[str, Any],
    progress: bool,
) -> dict[str, View]:
    views: dict[str, View] = {}
    view: View
    for number, miner in enumerate(miners, start=1):
        if miner.bm25 is not None:
            searcher = _bm25(pool, miner.bm25, progress)
            view, what = searcher, searcher.describe()
        else:
            model, embedder = embedder or _open(miner), None
            view, what = (
                _dense(pool, model, instruction, progress),
                {**model.describe(), "fingerprint": model.fingerprint},
            )
        views[f"{number} {miner.bm25 or what['model']}"] = view
        said[f"miner {number}"] = what
    if embedder is not None:
        raise DataError("an embedder is given, and every miner is BM25", fix="add `- model: default` to mine.miners")
    return views


def _open(miner: MinerConfig) -> Embedder:
    from reasonembed.encode.embedder import Embedder

    return Embedder(None if miner.model == DEFAULT_MODEL else miner.model)


def _bm25(pool: Pool, variant: Variant, progress: bool) -> BM25Searcher:
    searcher = BM25Searcher(variant)
    with progress_bar("words", len(pool), show=progress) as tick:
        for start in range(0, len(pool), _WORDS_BLOCK):
            block: list[Document] = pool[start : start + _WORDS_BLOCK]
            searcher.add([document.id for document in block], [document.content for document in block])
            tick(len(block))
    return searcher


def _dense(pool: Pool, embedder: Embedder, instruction: str, progress: bool) -> DenseView:
    searcher = ExactSearcher()
    searcher.add(pool.ids, cached_encode(embedder, _Contents(pool), kind="document", progress=progress))
    told = instruction if embedder.takes_instructions else None

    def encode(queries: Sequence[str]) -> npt.NDArray[np.float32]:
        return cached_encode(embedder, queries, kind="query", instruction=told)

    return DenseView(encode, searcher)


class _Contents(Sequence[str]):
    """What is embedded of each document of the pool, read block by block."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [document.content for document in self._pool[place]]
        return self._pool[place].content
