"""The nouns of the project: what travels between the packages, as frozen dataclasses. It knows no files and no models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus.

    Attributes:
        id: Unique within its corpus.
        text: The body.
        title: May be empty.
    """

    id: str
    text: str
    title: str = ""

    @property
    def content(self) -> str:
        """What is embedded and indexed: title, a space, text (BEIR's convention), without surrounding blanks."""
        return f"{self.title} {self.text}".strip() if self.title else self.text


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a benchmark."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One retrieved document: its id and its score (higher is better; a cosine for dense search)."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Qrels:
    """Relevance judgements.

    Attributes:
        relevance: query id -> document id -> grade (0 is judged and not relevant).
    """

    relevance: Mapping[str, Mapping[str, int]]

    def __len__(self) -> int:
        return len(self.relevance)


@dataclass(frozen=True, slots=True)
class Run:
    """Ranked hits of one system over a set of queries.

    Attributes:
        name: Tag of the system, the last column of a TREC run.
        hits: query id -> hits, best first. A query without hits is present with an empty tuple.
    """

    name: str
    hits: Mapping[str, tuple[Hit, ...]]

    def scores(self) -> dict[str, dict[str, float]]:
        """Query id -> document id -> score, the form pytrec_eval takes."""
        return {query: {hit.id: hit.score for hit in hits} for query, hits in self.hits.items()}


@dataclass(frozen=True, slots=True)
class RetrievalTask:
    """One dataset of a benchmark, ready to be searched and scored.

    Attributes:
        name: Such as `biology` or `theoremqa`.
        benchmark: `bright`, `r2med` or `beir`; with `name` it selects the instruction in `protocols`.
        documents: The corpus, in file order.
        queries: The queries that are scored, in file order.
        qrels: Judgements of exactly these queries.
        excluded: query id -> ids of documents that must not be retrieved for it (BRIGHT's `excluded_ids`).
        split: `test`, `dev`, ... or BRIGHT's query variant (`examples`, `gpt4_reason`, ...).
    """

    name: str
    benchmark: str
    documents: tuple[Document, ...]
    queries: tuple[Query, ...]
    qrels: Qrels
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    split: str = "test"
