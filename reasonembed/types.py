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


@dataclass(frozen=True, slots=True)
class SynthQuery:
    """A query written from a document of the corpus (ReMixer, paper.md 1.2).

    Attributes:
        id: Unique within its run.
        text: The query.
        source: Id of the document it was written from; never a candidate of this query.
        length: Drawn length in words: (least, most).
        level: Drawn education level, such as `college`.
        reasoning: The query with its analysis (`reasoning_query`); empty until that stage has run.
    """

    id: str
    text: str
    source: str
    length: tuple[int, int]
    level: str
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Annotation:
    """A judged pair.

    Attributes:
        query: Id of the query.
        document: Id of the document.
        score: Mean of the samples, in [1, 5] (paper.md 1.4).
        samples: The scores of the samples that could be read.
        reason: The judge's reasoning, of the sample nearest the mean (of equally near ones the first).
        rank: Of the candidate.
    """

    query: str
    document: str
    score: float
    samples: tuple[float, ...]
    reason: str
    rank: int


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """A query with its positives and hard negatives, as FlagEmbedding and the authors' released data write it.

    Attributes:
        query: Text.
        pos: Texts of relevant documents, at least one.
        neg: Texts of hard negatives.
        prompt: Instruction of the query; None is the trainer's own.
        reasoning_query: The query with its analysis; None where there is none.
        pos_scores: Judgements of `pos`, one each; None where nobody judged.
        neg_scores: Judgements of `neg`, one each.
        train_group_size: Passages a query in training; None is the recipe's.
        batch_size: Queries a device and batch; None is the recipe's.
    """

    query: str
    pos: tuple[str, ...]
    neg: tuple[str, ...]
    prompt: str | None = None
    reasoning_query: str | None = None
    pos_scores: tuple[float, ...] | None = None
    neg_scores: tuple[float, ...] | None = None
    train_group_size: int | None = None
    batch_size: int | None = None
