"""A cross-encoder reads query and document together and gives one score; any that Sentence Transformers opens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError, MissingExtraError, ModelError
from reasonembed.progress import progress_bar
from reasonembed.search.rerank.judged import Judged, Reranking, check_candidates, reranking
from reasonembed.types import Document

BATCH = 32
"""Pairs that run together; Sentence Transformers' own default."""


class CrossEncoderReranker:
    """Scores of a cross-encoder.

    Args:
        name_or_path: A local directory or a name on the hub.
        depth: Documents of each query that are judged.
        device: Such as `cpu`, `cuda:0`; None takes the best there is.
        max_length: Tokens of query and document together, the rest is cut; None takes the checkpoint's own.
        revision: Branch, tag or commit on the hub.

    Raises:
        ModelError: The model cannot be opened, or gives more than one number a pair.
        MissingExtraError: sentence-transformers is not installed.
    """

    def __init__(
        self,
        name_or_path: Path | str,
        *,
        depth: int = 100,
        device: str | None = None,
        max_length: int | None = None,
        revision: str | None = None,
    ) -> None:
        if depth < 1:
            raise DataError(f"depth is {depth}, at least 1 document must be judged", fix="such as depth=100")
        self.name = str(name_or_path)
        self.depth = depth
        self.revision = revision
        self._model = _opened(self.name, device=device, max_length=max_length, revision=revision)

    def rerank(
        self, queries: Sequence[str], candidates: Sequence[Sequence[Document]], *, progress: bool = False
    ) -> list[Reranking]:
        """Rerank; see `Reranker`. A score that is no finite number counts as none.

        Raises:
            DataError: Not one list of documents a query, or a document occurs twice in a list.
        """
        check_candidates(queries, candidates)
        heads = [documents[: self.depth] for documents in candidates]
        results = []
        with progress_bar("cross-encoder", sum(map(len, heads)), unit="pairs", show=progress) as advance:
            for query, documents, head in zip(queries, candidates, heads, strict=True):
                scores = self._scores(query, head)
                judged = [
                    Judged(document.id, score, () if score is None else (score,), "", rank)
                    for rank, (document, score) in enumerate(zip(head, scores, strict=True), start=1)
                ]
                results.append(reranking(documents, judged, unparsed=scores.count(None)))
                advance(len(head))
        return results

    def describe(self) -> dict[str, Any]:
        """Everything that decides the result."""
        return {
            "kind": "cross-encoder",
            "model": self.name,
            "revision": self.revision,
            "depth": self.depth,
            "max_length": self._model.max_seq_length,
            "activation": type(self._model.activation_fn).__name__,
            "dtype": str(next(self._model.parameters()).dtype).removeprefix("torch."),
            "device": str(self._model.device),
        }

    def _scores(self, query: str, documents: Sequence[Document]) -> list[float | None]:
        if not documents:
            return []
        pairs = [(query, document.content) for document in documents]
        found = self._model.predict(pairs, batch_size=BATCH, show_progress_bar=False).tolist()
        return [score if math.isfinite(score) else None for score in found]


def _opened(name: str, *, device: str | None, max_length: int | None, revision: str | None) -> Any:
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingExtraError(error.name or "sentence_transformers", "rerank", "a cross-encoder") from error
    try:
        model = CrossEncoder(name, device=device, max_length=max_length, revision=revision)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{name}: cannot be opened as a cross-encoder: {error}. Fix: a directory or hub name of a model for sequence "
            "classification with one label"
        ) from error
    if model.num_labels != 1:
        raise ModelError(
            f"{name}: gives {model.num_labels} numbers for a pair, a reranker needs 1. Fix: take a model with one label"
        )
    return model
