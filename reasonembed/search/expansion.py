"""Document expansion by questions: the vector of a document is moved towards the questions that it answers, its words are joined by theirs.

Gets unit vectors of documents and of questions, and which document answers each; gives unit vectors of the documents, so that
search stays what it is: one vector a document. The idea is that of doc2query (Nogueira et al. 2019, arXiv:1904.08375), which
appends such questions to the text for BM25 (`expanded_text`); here their vectors are added too. Nothing is trained but a linear map,
in closed form.

A document `d` with `n` questions, whose vectors sum to `s`, becomes

    unit(d + (s + PRIOR * f(d)) / (n + PRIOR))

where `f` is the ridge regression from documents to the mean vectors of their questions. Questions lie nearer to questions than
documents do, so if only some documents had questions added, these would come before all others; `f` stands for those that others
lack. Constants and what they bring: docs/lab.md, section 12.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError
from reasonembed.io.jsonl import read_jsonl, text_field
from reasonembed.io.manifest import fingerprint
from reasonembed.types import Document

PRIOR = 1.0
"""Questions that the predicted one counts as."""
RIDGE = 1.0
"""Penalty on the squared weights of the map, beside sums of squares over documents of unit vectors."""
BLOCK = 4096
"""Documents moved at a time."""

Vectors = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the document that answers it.

    Attributes:
        source: Id of the document.
        text: Of the question.
    """

    source: str
    text: str


def read_questions(files: Sequence[Path | str]) -> list[Question]:
    """Questions with the documents that answer them, from JSON lines: `source`, and `text` or `query`.

    That is what `reasonembed synth run` writes as `2_queries.jsonl`. A question that stands twice with one source is one.

    Raises:
        DataError: A file or a line is wrong, or there is none.
    """
    questions: dict[Question, None] = {}
    for path in files:
        for line, row in read_jsonl(path):
            name = "query" if "query" in row and "text" not in row else "text"
            question = Question(
                text_field(row, "source", path=path, line=line), text_field(row, name, path=path, line=line)
            )
            if not question.text.strip():
                raise DataError(f"field {name!r} is empty", path=path, line=line, fix="leave the line out")
            questions[question] = None
    if not questions:
        raise DataError("no questions", path=", ".join(map(str, files)), fix="one JSON object a line: source, text")
    return list(questions)


def identity(questions: Sequence[Question]) -> str | None:
    """32 hex digits over the questions in order; None where there are none."""
    return fingerprint([part for one in questions for part in (one.source, one.text)]) if questions else None


def texts_by_source(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Id of a document -> the texts of its questions, in order."""
    texts: dict[str, list[str]] = {}
    for question in questions:
        texts.setdefault(question.source, []).append(question.text)
    return texts


def expanded_text(document: Document, asked: Mapping[str, Sequence[str]]) -> str:
    r"""What BM25 indexes of a document: its content and its questions behind it (doc2query).

    Args:
        document: With its id.
        asked: As `texts_by_source` gives it.

    >>> expanded_text(Document("a", "Enzymes brown fruit."), {"a": ["Why does a pear go dark?"]})
    'Enzymes brown fruit.\nWhy does a pear go dark?'
    """
    return "\n".join([document.content, *asked.get(document.id, ())])


@dataclass(frozen=True, slots=True)
class Matched:
    """Questions of the documents that are there.

    Attributes:
        questions: Those whose document is there.
        owners: (n_questions,) int64, the place of the document of each.
        unknown: Questions of other documents.
    """

    questions: list[Question]
    owners: Places
    unknown: int


def match_questions(questions: Sequence[Question], ids: Sequence[str] | Mapping[str, int]) -> Matched:
    """Find the documents of questions.

    Args:
        questions: To be matched by `source`.
        ids: Of the documents in order, or their places.

    Raises:
        DataError: Not one is of a document that is there.
    """
    places = ids if isinstance(ids, Mapping) else {identifier: place for place, identifier in enumerate(ids)}
    kept = [question for question in questions if question.source in places]
    if questions and not kept:
        raise DataError(
            f"none of the {len(questions):,} questions has the id of a document as its source: the first has {questions[0].source!r}, "
            f"a document is {next(iter(places), 'missing')!r}",
            fix="`source` must be the id of a document of this corpus; an index forgets questions that it keeps with --full",
        )
    owners = np.array([places[question.source] for question in kept], np.int64)
    return Matched(kept, owners, len(questions) - len(kept))


def expanded(documents: Vectors, questions: Vectors, owners: npt.ArrayLike) -> Vectors:
    """Vectors of documents, moved towards the questions that they answer.

    Args:
        documents: (n_documents, dim) float32, unit norm; memory-mapped ones are read in blocks.
        questions: (n_questions, dim) float32, unit norm.
        owners: (n_questions,) the place of the document that answers each.

    Returns:
        (n_documents, dim) float32, unit norm. The order of the questions does not matter but for rounding.

    Raises:
        DataError: There is no question, a width or a count differs, or a place is not there.
    """
    return np.concatenate(list(expanded_blocks(documents, questions, owners)))


def expanded_blocks(documents: Vectors, questions: Vectors, owners: npt.ArrayLike) -> Iterator[Vectors]:
    """`expanded`, `BLOCK` documents at a time."""
    owners = np.asarray(owners, np.int64)
    _check(documents, questions, owners)
    order = np.argsort(owners, kind="stable")
    places, starts, counts = np.unique(owners[order], return_index=True, return_counts=True)
    sums = np.add.reduceat(questions[order].astype(np.float64), starts, axis=0)  # (n_places, dim)
    weights, centre, mean = _ridge(documents, places, sums / counts[:, None])
    return _blocks(documents, places, sums, counts, (weights, centre, mean))


def _blocks(
    documents: Vectors, places: Places, sums: Wide, counts: Places, fitted: tuple[Wide, Wide, Wide]
) -> Iterator[Vectors]:
    weights, centre, mean = fitted
    for start in range(0, len(documents), BLOCK):
        block = documents[start : start + BLOCK].astype(np.float64)  # (b, dim)
        predicted = (block - centre) @ weights + mean
        total, n = PRIOR * predicted, np.full((len(block), 1), PRIOR)
        first, last = np.searchsorted(places, (start, start + len(block)))
        rows = places[first:last] - start
        total[rows] += sums[first:last]
        n[rows, 0] += counts[first:last]
        moved = block + total / n
        yield (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


def _ridge(documents: Vectors, places: Places, means: Wide) -> tuple[Wide, Wide, Wide]:
    """The map from documents to the mean of their questions: weights (dim, dim), centre (dim,), and its value there (dim,)."""
    n, dim = len(places), documents.shape[1]
    centre: Wide = np.zeros(dim)
    mean: Wide = means.mean(0)
    for start in range(0, n, BLOCK):
        centre += documents[places[start : start + BLOCK]].sum(0, dtype=np.float64) / n
    squares, products = RIDGE * np.eye(dim), np.zeros((dim, dim))
    for start in range(0, n, BLOCK):
        block = documents[places[start : start + BLOCK]].astype(np.float64) - centre  # (b, dim)
        squares += block.T @ block
        products += block.T @ (means[start : start + BLOCK] - mean)
    weights = np.linalg.solve(squares, products).astype(np.float64, copy=False)
    return weights, centre, mean


def _check(documents: Vectors, questions: Vectors, owners: Places) -> None:
    if not len(questions):
        raise DataError("there is no question to expand documents by", fix="name at least one")
    if questions.shape[1] != documents.shape[1]:
        raise DataError(
            f"questions have {questions.shape[1]} dimensions, documents {documents.shape[1]}",
            fix="embed both by one model",
        )
    if owners.shape != (len(questions),):
        raise DataError(f"{owners.shape} owners of {len(questions)} questions", fix="one a question")
    if owners.min() < 0 or owners.max() >= len(documents):
        raise DataError(
            f"owners are from {owners.min()} to {owners.max()}, documents from 0 to {len(documents) - 1}",
            fix="places of documents",
        )
