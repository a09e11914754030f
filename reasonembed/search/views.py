"""The ways to look at a corpus: by vectors and by words, behind one shape: `search(queries, k, exclude)` gives ranked hits.

A `BM25Searcher` is a view as it is. The word statistics of an index are made when they are first needed and kept inside
the index folder; those of another content are never used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from reasonembed.errors import DataError, StorageError
from reasonembed.io.manifest import fingerprint
from reasonembed.progress import progress_bar
from reasonembed.search.bm25 import BM25Searcher, Variant
from reasonembed.search.expanded_index import questions_of
from reasonembed.search.expansion import expanded_text, texts_by_source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from reasonembed.search.exact import ExactSearcher
    from reasonembed.search.index import Index
    from reasonembed.types import Hit

    Vectors = npt.NDArray[np.float32]

logger = logging.getLogger(__name__)

BLOCK = 4096
"""Documents of an index tokenised at a time."""


class View(Protocol):
    """Something that finds documents."""

    def search(
        self, queries: Sequence[str], k: int, exclude: Sequence[Collection[str]] | None = None
    ) -> list[list[Hit]]:
        """The k best documents of each query, best first, excluded ids left out before the cut."""
        ...


class DenseView:
    """Vectors of documents, and what makes vectors of queries.

    Args:
        encode: Queries to (n, dim) float32, unit norm; the instruction is in it.
        searcher: The documents' vectors.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Vectors], searcher: ExactSearcher) -> None:
        self._encode = encode
        self._searcher = searcher

    def search(
        self, queries: Sequence[str], k: int, exclude: Sequence[Collection[str]] | None = None
    ) -> list[list[Hit]]:
        """See `View`; scores are cosines.

        Raises:
            DataError: A query is empty, or k is below 1.
        """
        for number, query in enumerate(queries):
            if not query.strip():
                raise DataError(f"question {number} is empty", fix="ask something")
        return self._searcher.search(self._encode(queries), k, exclude)


def dense_view(index: Index, *, instruction: str | None = None) -> DenseView:
    """An index asked by its vectors.

    Args:
        index: The model opens with the first question.
        instruction: What the task is; None takes the model's own.
    """

    def encode(queries: Sequence[str]) -> Vectors:
        return index.embedder.encode_queries(list(queries), instruction=instruction)

    return DenseView(encode, index.searcher)


def bm25_view(index: Index, variant: Variant = "lucene", *, progress: bool = False) -> BM25Searcher:
    """An index asked by its words; opened from `INDEX/bm25-VARIANT/`, or made from its texts and kept there.

    Where the index was expanded, the words of a document's questions are indexed behind its own (`search.expansion`). Making it
    takes memory for all words of the corpus once (about 100 bytes a word); opening it maps the files.

    Args:
        index: Its `fingerprint`, and that of its questions, decide whether what is kept is still right.
        variant: `lucene` or `bright`.
        progress: Show a progress bar while it is made.

    Raises:
        DataError: An unknown variant, or the index is damaged.
    """
    searcher = BM25Searcher(variant)
    folder = index.folder / f"bm25-{variant}"
    expansion = index.manifest.get("expansion")
    made_from = fingerprint([index.fingerprint, expansion["fingerprint"]]) if expansion else index.fingerprint
    if folder.is_dir():
        try:
            return BM25Searcher.load(folder, index.ids, variant=variant, made_from=made_from)
        except DataError as error:
            logger.info("%s; it is made again", error)
    asked = texts_by_source(questions_of(index.folder) if expansion else [])
    documents = iter(index.texts())
    with progress_bar("words", len(index), show=progress) as tick:
        while block := list(islice(documents, BLOCK)):
            searcher.add([document.id for document in block], [expanded_text(document, asked) for document in block])
            tick(len(block))
    try:
        searcher.save(folder, made_from=made_from)
    except StorageError as error:
        logger.warning("the BM25 statistics are not kept: %s", error)
    return searcher
