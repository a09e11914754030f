"""Published figures of BRIGHT and R2MED as data, to stand beside ours: nDCG@10 x 100.

Source: paper.md sections 3.1 and 3.2 (arXiv:2510.08252); tags as there: IMG read off the official result
tables, 2nd a secondary source, REPO the authors' repository.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from reasonembed.errors import DataError
from reasonembed.protocols import canonical, task_names


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a published table.

    Attributes:
        model: Name in the table.
        benchmark: `bright` or `r2med`.
        queries: `examples` (original), or `gpt4_reason`.
        average: Mean over the tasks as published, nDCG@10 x 100.
        scores: task -> nDCG@10 x 100; empty where only the average is known.
        source: Tag of paper.md.
        aliases: Other names of the model, such as the last part of its Hub id.
    """

    model: str
    benchmark: str
    average: float
    scores: dict[str, float]
    source: str
    queries: str = "examples"
    aliases: tuple[str, ...] = ()


# Average, then the tasks in the order of BRIGHT_TASKS.
_BRIGHT_IMG = {
    "BM25": "14.5 18.9 27.2 14.9 12.5 13.6 18.4 15.0 24.4 7.9 6.2 10.4 4.9",
    "OpenAI-3-Large": "17.9 23.3 26.7 19.5 27.6 12.8 14.3 20.5 23.6 2.4 8.5 23.5 11.7",
    "Google-Gecko-1B-768": "20.0 22.7 34.8 19.6 27.8 15.7 20.1 17.1 29.6 3.6 9.3 23.8 15.9",
    "GritLM-7B": "21.0 24.8 32.3 18.9 19.8 17.1 13.6 17.8 29.9 22.0 8.8 25.2 21.2",
    "gte-Qwen2-7B": "23.5 34.1 42.6 18.2 27.4 13.2 17.3 20.9 30.4 2.2 13.3 30.6 32.6",
    "Qwen3-Embedding-4B": "21.8 17.8 34.7 16.9 23.3 12.5 16.2 16.8 35.7 1.4 9.8 35.5 41.5",
    "Qwen3-Embedding-8B": "22.8 21.0 33.0 18.4 26.1 15.7 19.4 17.3 33.8 1.2 9.4 39.2 39.3",
    "Qwen3-4B-ms": "19.4 16.8 34.9 16.0 19.4 20.1 18.8 11.1 33.3 9.1 8.7 27.0 18.0",
    "Qwen3-8B-ms": "18.7 15.9 35.6 16.1 19.1 20.5 19.2 11.7 29.2 9.5 8.4 22.2 17.0",
    "Llama-3.1-8B-ms": "16.1 12.2 29.3 14.3 16.7 14.7 14.4 11.6 28.9 3.5 8.7 23.7 14.9",
    "ReasonIR-8B": "24.4 26.2 31.4 23.3 30.0 18.0 23.9 20.5 35.0 10.5 14.7 31.9 27.2",
    "RaDeR-gte-Qwen2-7B": "25.5 34.6 38.9 22.1 33.0 14.8 22.5 23.7 37.3 5.0 10.2 28.4 35.1",
    "Seed-1.5-Embedding": "27.2 34.8 46.9 23.4 31.6 19.1 25.4 21.0 43.2 4.9 12.2 33.3 30.5",
    "DIVER-Retriever-4B": "28.9 41.8 43.7 21.7 35.3 21.0 21.2 25.1 37.6 13.2 10.7 38.4 37.3",
    "ReasonEmbed-Basic-Qwen3-4B": "35.3 51.8 53.3 34.1 42.6 31.1 32.1 35.6 32.7 11.6 13.0 40.8 45.2",
    "ReasonEmbed-Basic-Qwen3-8B": "37.1 54.4 55.4 33.8 45.2 32.0 34.3 37.3 32.3 18.7 13.3 41.2 47.6",
    "ReasonEmbed-Basic-Llama-3.1-8B": "34.9 55.5 53.8 36.4 45.6 29.8 35.1 38.6 29.4 12.5 9.5 36.7 35.7",
    "ReasonEmbed-Qwen3-4B": "37.1 55.4 54.5 34.9 46.9 34.0 36.1 37.4 34.5 13.6 11.3 41.4 45.1",
    "ReasonEmbed-Qwen3-8B": "38.1 55.5 56.6 36.2 47.4 35.3 36.6 39.1 33.6 16.4 12.5 41.4 47.2",
    "ReasonEmbed-Llama-3.1-8B": "36.2 55.4 56.2 35.2 48.5 32.1 37.3 41.1 28.8 16.8 9.1 37.9 36.6",
}
# Independent reproduction (Pyserini 2026): all tasks of one model, averages of others.
_BRIGHT_2ND = {
    "ReasonEmbed-Qwen3-4B (Pyserini)": "36.8 54.1 53.8 33.9 45.9 34.5 35.8 37.2 37.1 11.8 11.5 40.9 45.2",
    "DIVER-Retriever-4B (Pyserini)": "28.93",
    "BM25 query-side (Pyserini)": "14.79",
    "BM25 (Pyserini)": "13.69",
    "SPLADE-v3 (Pyserini)": "15.56",
    "bge-large (Pyserini)": "13.84",
}
# BRIGHT's `gpt4_reason` queries.
_BRIGHT_GPT4 = {
    "ReasonEmbed-Basic-Qwen3-8B": "39.7 62.4 62.3 35.3 49.8 34.4 39.2 40.3 28.3 31.6 12.3 39.4 41.5",
    "DIVER-Retriever-4B": "32.1",
    "ReasonIR-8B": "29.9",
    "RaDeR-gte-Qwen2-7B": "29.2",
    "BM25": "27.0",
    "Qwen3-Embedding-8B": "24.8",
}
# Average, then the tasks in the order of R2MED_TASKS.
_R2MED_IMG = {
    "ReasonEmbed-Basic-Qwen3-4B": "39.94 49.50 62.59 60.26 20.43 24.75 49.27 30.40 22.32",
    "ReasonEmbed-Basic-Qwen3-8B": "42.36 51.65 65.17 65.89 20.67 27.98 51.71 33.79 22.01",
    "ReasonEmbed-Basic-Llama-3.1-8B": "41.98 53.04 63.24 63.89 22.20 29.43 51.90 32.90 19.20",
    "ReasonEmbed-Qwen3-4B": "41.16 52.45 64.28 62.58 20.83 26.21 48.03 32.50 22.38",
    "ReasonEmbed-Qwen3-8B": "43.18 54.01 66.33 67.64 20.93 27.96 51.38 33.76 23.43",
    "ReasonEmbed-Llama-3.1-8B": "42.76 53.52 64.37 63.82 20.40 29.67 51.86 34.55 23.88",
    "BM25": "15.13",
    "OpenAI-3-Large": "28.57",
    "GritLM-7B": "31.12",
    "NV-Embed-v2": "31.43",
    "gte-Qwen2-7B": "32.56",
    "Qwen3-Embedding-4B": "31.75",
    "Qwen3-Embedding-8B": "34.22",
    "Qwen3-4B-ms": "23.09",
    "Qwen3-8B-ms": "24.15",
    "Llama-3.1-8B-ms": "22.34",
    "ReasonIR-8B": "27.94",
    "RaDeR-gte-Qwen2-7B": "35.19",
    "DIVER-Retriever-4B": "32.23",
}
# Names of the same weights elsewhere: last parts of Hub ids (paper.md 4 and 5), and of our own BM25 runs.
_ALIASES = {
    "BM25": ("bm25-lucene", "bm25-bright"),
    "ReasonEmbed-Qwen3-8B": ("reason-embed-qwen3-8b-0928",),
    "ReasonEmbed-Qwen3-4B": ("reason-embed-qwen3-4b-0928",),
    "ReasonEmbed-Llama-3.1-8B": ("reason-embed-llama-3.1-8b-0928",),
    "ReasonEmbed-Basic-Qwen3-8B": ("reason-embed-basic-qwen3-8b-0928", "bge-reasoner-embed-qwen3-8b-0923"),
    "ReasonEmbed-Basic-Qwen3-4B": ("reason-embed-basic-qwen3-4b-0928",),
    "ReasonEmbed-Basic-Llama-3.1-8B": ("reason-embed-basic-llama-3.1-8b-0928",),
    "gte-Qwen2-7B": ("gte-qwen2-7b-instruct",),
    "Qwen3-8B-ms": ("qwen3-8b-ft-msmarco",),
}


def _rows(table: dict[str, str], benchmark: str, source: str, queries: str = "examples") -> list[Published]:
    tasks = task_names(benchmark)
    rows = []
    for model, figures in table.items():
        average, *scores = (float(figure) for figure in figures.split())
        by_task = dict(zip(tasks, scores, strict=True)) if scores else {}
        rows.append(Published(model, benchmark, average, by_task, source, queries, _ALIASES.get(model, ())))
    return rows


PUBLISHED: tuple[Published, ...] = (
    *_rows(_BRIGHT_IMG, "bright", "IMG"),
    *_rows(_BRIGHT_2ND, "bright", "2nd"),
    *_rows(_BRIGHT_GPT4, "bright", "REPO", "gpt4_reason"),
    *_rows(_R2MED_IMG, "r2med", "IMG"),
)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rstrip("/").rsplit("/", 1)[-1].lower())


def find_published(name: str, benchmark: str, *, queries: str = "examples") -> Published:
    """The published row of a model.

    Args:
        name: Name in the table, or a Hub id or path that ends in the model's name; case and punctuation do
            not matter.
        benchmark: `bright` or `r2med`.
        queries: BRIGHT's wording of the queries.

    Raises:
        DataError: No such row; the message lists those there are.
    """
    wording = queries if canonical(benchmark) == "bright" else "examples"
    rows = [row for row in PUBLISHED if row.benchmark == canonical(benchmark) and row.queries == wording]
    for row in rows:
        if _plain(name) in (_plain(row.model), *map(_plain, row.aliases)):
            return row
    there = "; ".join(row.model for row in rows)
    raise DataError(
        f"no published {benchmark} row of {name!r} ({queries})",
        fix=f"name one of: {there}" if there else "bright and r2med have published rows",
    )


def published_score(row: Published, task: str) -> float | None:
    """The row's figure for a task, nDCG@10 x 100; None where it is not known."""
    return {canonical(name): score for name, score in row.scores.items()}.get(canonical(task))
