"""Which weight of the dense view serves hybrid search best? nDCG@10 by weight on development queries, with the shipped model.

Reads BEIR folders and judgements that are no test set, prints a table, for each method the mean over the sets with its standard
error, and the choice: the weight nearest the published 0.75 (paper.md 5.1) among those within one standard error of the best
(the rule of Breiman et al., Classification and Regression Trees, 1984, 3.4.3: near the top the curve is flat, and what sets differ
in should not decide). The weights of `recipes/hybrid.yaml` come from here; those of `recipes/bge-reasoner.yaml` are the published ones.

    python scripts/tune_hybrid.py data/strategyqa_facts:dev data/scifact:train data/stacks:all:stacks-train-ids.txt

Where one file of judgements holds several sets, a file of query ids (one a line) picks the development queries.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reasonembed import Embedder
from reasonembed.evaluation.metrics import score_run
from reasonembed.evaluation.plan import Wanted
from reasonembed.evaluation.retrievers import BM25Retriever, DenseRetriever
from reasonembed.io.beir import read_beir, read_ids
from reasonembed.search.bm25 import Variant
from reasonembed.search.fusion import Method, fuse
from reasonembed.types import RetrievalTask, Run

WEIGHTS = [number / 20 for number in range(21)]
PUBLISHED = 0.75
DEPTH = 1000


def runs(task: RetrievalTask, dense: DenseRetriever, variant: Variant) -> tuple[Run, Run]:
    """The first 1,000 hits of every query, dense and BM25."""
    found = []
    for retriever in (dense, BM25Retriever(variant)):
        plan = retriever.plan(task, Wanted(depth=DEPTH))
        found.append(retriever.retrieve(task, plan).run)
    return found[0], found[1]


def ndcg(
    task: RetrievalTask, dense: Run, words: Run, method: Method, weight: float, depth: int
) -> npt.NDArray[np.float64]:
    """nDCG@10 x 100 of a fusion of the first `depth` hits, (n_queries,)."""
    weights = {"dense": weight, "bm25": 1 - weight}
    fused = {}
    for query in dense.hits:
        lists = {"dense": dense.hits[query][:depth], "bm25": words.hits[query][:depth]}
        fused[query] = tuple(fuse(lists, method=method, weights=weights, k=100))
    scores = score_run(Run("hybrid", fused), task.qrels).per_query["ndcg@10"]
    return 100 * np.array(list(scores.values()))


def choose(means: npt.NDArray[np.float64], errors: npt.NDArray[np.float64]) -> int:
    """Row of the weight nearest the published one within one standard error of the best mean."""
    best = int(means.argmax())
    near = np.flatnonzero(means >= means[best] - errors[best])
    return int(near[np.abs(np.array(WEIGHTS)[near] - PUBLISHED).argmin()])


def read_task(place: str) -> RetrievalTask:
    """FOLDER:SPLIT or FOLDER:SPLIT:IDS, never a test set."""
    folder, split, *ids = place.split(":")
    if split == "test" or (split == "all" and not ids):
        raise SystemExit(f"{place}: weights are not chosen on a test set")
    return read_beir(Path(folder), split=split, keep=read_ids(Path(ids[0])).__contains__ if ids else None)


def main() -> None:
    """Print the table and the choice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+", metavar="FOLDER:SPLIT[:IDS]", help="BEIR folders with a development split")
    parser.add_argument("--bm25", default="lucene", choices=("lucene", "bright"))
    parser.add_argument("--method", nargs="+", default=["min-max", "rrf"], choices=("min-max", "rrf"))
    parser.add_argument("--depth", type=int, default=DEPTH, help=f"hits of each view, at most {DEPTH}")
    arguments = parser.parse_args()
    retriever = DenseRetriever(Embedder())
    tasks = [read_task(place) for place in arguments.tasks]
    found = [runs(task, retriever, arguments.bm25) for task in tasks]
    for method in arguments.method:
        scores = [
            [ndcg(task, *pair, method, weight, arguments.depth) for weight in WEIGHTS]
            for task, pair in zip(tasks, found, strict=True)
        ]
        table = np.array([[row.mean() for row in rows] for rows in scores])  # (n_tasks, n_weights)
        variances = np.array([[row.var(ddof=1) / len(row) for row in rows] for rows in scores])
        means, errors = table.mean(axis=0), np.sqrt(variances.sum(axis=0)) / len(tasks)
        print(f"\nBM25 {arguments.bm25}, {method}, depth {arguments.depth}\n")
        print(
            "| dense weight | "
            + " | ".join(f"{task.name} {task.split}" for task in tasks)
            + " | mean | standard error |"
        )
        print("|---|" + "---:|" * (len(tasks) + 2))
        for row, weight in enumerate(WEIGHTS):
            cells = " | ".join(f"{value:.2f}" for value in (*table[:, row], means[row], errors[row]))
            print(f"| {weight:.2f} | {cells} |")
        print(f"\nbest {WEIGHTS[int(means.argmax())]:.2f}, chosen {WEIGHTS[choose(means, errors)]:.2f}", flush=True)


if __name__ == "__main__":
    main()
