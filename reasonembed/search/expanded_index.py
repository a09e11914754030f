"""The questions of an index folder: kept as they were given, and the expanded vectors that are searched in place of the plain ones.

    questions.jsonl   {source, text} a line; those of documents that are not in the index stand there too, they may come back
    expanded.npy      (count, dim) float32, the vectors of `vectors.npy` after `search.expansion`

Gets the folder of a new index with its plain vectors, gives the part of `index.json` that tells of the expansion. Memory: the questions
and their vectors, in float64 while they are summed; those of documents are read and written in blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonembed.encode.cache import cached_encode
from reasonembed.io.jsonl import write_jsonl
from reasonembed.io.vectors import open_vectors, write_vectors
from reasonembed.search.exact import VECTORS_FILE
from reasonembed.search.expansion import Question, expanded_blocks, identity, match_questions, read_questions
from reasonembed.search.index import EXPANDED, QUESTIONS

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

logger = logging.getLogger(__name__)


def questions_of(index: Path) -> list[Question]:
    """The questions of an index that is there; none where it was not expanded.

    Raises:
        DataError: Their file is damaged.
    """
    return read_questions([index / QUESTIONS]) if (index / QUESTIONS).is_file() else []


def write_expansion(
    folder: Path, embedder: Embedder, questions: Sequence[Question], ids: Sequence[str], *, progress: bool
) -> dict[str, Any] | None:
    """Write the questions and the expanded vectors into a folder that holds the plain ones.

    Args:
        folder: Of the index.
        embedder: That made the plain vectors; vectors of questions come from its cache.
        questions: None of them is no expansion.
        ids: Of the documents, in the order of the vectors.
        progress: Show a progress bar.

    Returns:
        How many questions of how many documents, and of how many that are not there; None without an expansion.

    Raises:
        DataError: No question is of a document that is there.
    """
    if not questions:
        return None
    matched = match_questions(questions, ids)
    if matched.unknown:
        logger.warning("%d questions are of documents that are not in the index", matched.unknown)
    texts = [question.text for question in matched.questions]
    vectors = cached_encode(embedder, texts, kind="query", progress=progress)  # (n_questions, dim)
    plain = open_vectors(folder / VECTORS_FILE)
    blocks = expanded_blocks(plain, vectors, matched.owners)
    write_vectors(folder / EXPANDED, blocks, count=len(ids), dim=embedder.dim)
    write_jsonl(folder / QUESTIONS, ({"source": one.source, "text": one.text} for one in questions))
    return {
        "questions": len(texts), "documents": len(set(matched.owners.tolist())), "unknown": matched.unknown,
        "fingerprint": identity(questions),
    }  # fmt: skip
