"""The same vectors and BRIGHT-layout data through FlagEmbedding 1.4's evaluation and ours: the same scores.

One case differs on purpose: FlagEmbedding drops excluded documents after the cut, we drop them before.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from reasonembed import Embedder
from reasonembed.evaluation.retrievers import DenseRetriever
from reasonembed.evaluation.runner import evaluate
from reasonembed.io.bright import read_bright

pytest.importorskip("faiss")
SUBJECTS = [
    "matrix",
    "graph",
    "field",
    "prime",
    "circle",
    "vector",
    "measure",
    "lattice",
    "tensor",
    "group",
    "kernel",
    "module",
    "sheaf",
]


@pytest.fixture(scope="module")
def flag():
    """FlagEmbedding's classes; importing it warns about its own dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("FlagEmbedding")
        from FlagEmbedding.abc.evaluation import AbsEvaluator
        from FlagEmbedding.evaluation.bright import BrightEvalDenseRetriever, BrightShortEvalDataLoader
    return AbsEvaluator, BrightEvalDenseRetriever, BrightShortEvalDataLoader


@pytest.fixture(scope="module")
def embedder(tiny_qwen3):
    return Embedder(tiny_qwen3, engine="torch", device="cpu", dtype="float32")


def _rows(embedder, n_documents=240, n_queries=24, n_excluded=8):
    """Documents and queries of random words; relevant and excluded are among a query's 40 nearest."""
    rng = np.random.default_rng(7)
    texts = [" ".join(rng.choice(SUBJECTS, rng.integers(4, 12))) + f" {number}" for number in range(n_documents)]
    questions = [" ".join(rng.choice(SUBJECTS, 6)) for _ in range(n_queries)]
    nearest = np.argsort(-embedder.encode_queries(questions) @ embedder.encode_corpus(texts).T, axis=1)[:, :40]
    examples = []
    for number, question in enumerate(questions):
        chosen = [f"page {document}.txt" for document in rng.permutation(nearest[number])]
        row = {"query": question, "id": str(number), "gold_ids": chosen[: rng.integers(1, 6)]}
        row |= {
            "gold_ids_long": ["N/A"],
            "excluded_ids": chosen[10 : 10 + n_excluded] if number % 3 else ["N/A"],
        }
        examples.append(row)
    return [{"id": f"page {number}.txt", "content": text} for number, text in enumerate(texts)], examples


@pytest.fixture
def copy(tmp_path, embedder):
    """A local copy of the Hub layout with one task."""
    root, head = tmp_path / "BRIGHT", ["---", "configs:"]
    for config, rows in zip(("documents", "examples"), _rows(embedder), strict=True):
        (root / config).mkdir(parents=True)
        (root / config / "aops.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        head += [
            f"- config_name: {config}",
            "  data_files:",
            "  - split: aops",
            f"    path: {config}/aops.jsonl",
        ]
    (root / "README.md").write_text("\n".join([*head, "---", ""]))
    return root


class _SameVectors:
    """What FlagEmbedding's searcher asks of an embedder, answered by ours."""

    def __init__(self, embedder, plan):
        self._embedder, self._plan = embedder, plan

    def encode_corpus(self, corpus):
        return self._embedder.encode_corpus(corpus, max_length=self._plan.document_max_length)

    def encode_queries(self, queries):
        plan = self._plan
        return self._embedder.encode_queries(queries, instruction=plan.instruction, max_length=plan.query_max_length)


def _theirs(flag, embedder, plan, copy, tmp_path, monkeypatch, top_k):
    """Metrics of FlagEmbedding's loader, searcher and evaluator on the local copy."""
    import datasets

    evaluator, searcher, loader = flag
    real = datasets.load_dataset
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda name, config, cache_dir, download_mode: real(str(copy), config, cache_dir=cache_dir),
    )  # the name of the Hub repository is written in its code
    data = loader("bright", cache_dir=str(tmp_path / "flag"))
    corpus = dict(data.load_corpus(dataset_name="aops"))
    queries = dict(data.load_queries(dataset_name="aops", split="examples"))
    qrels = {query: dict(grades) for query, grades in data.load_qrels(dataset_name="aops", split="examples").items()}
    found = searcher(_SameVectors(embedder, plan), search_top_k=top_k)(corpus, queries, retriever_qrels=qrels)
    return evaluator.compute_metrics(qrels, found, k_values=[1, 10, 100]), found


def _ours(embedder, copy, depth):
    task = read_bright(copy, "aops")
    return task, evaluate(task, DenseRetriever(embedder, cache=False), depth=depth)


NAMES = {
    f"{ours}@{cutoff}": f"{theirs}_at_{cutoff}"
    for ours, theirs in (("ndcg", "ndcg"), ("recall", "recall"), ("map", "map"), ("mrr", "mrr"))
    for cutoff in (1, 10, 100)
}


@pytest.fixture(autouse=True)
def _datasets_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.mark.filterwarnings("ignore")
def test_scores_agree_to_five_decimals(flag, embedder, copy, tmp_path, monkeypatch):
    task, ours = _ours(embedder, copy, 240)
    plan = DenseRetriever(embedder).plan(task, _wanted())
    theirs, found = _theirs(flag, embedder, plan, copy, tmp_path, monkeypatch, 240)
    assert {name: round(ours.scores.means[name], 5) for name in NAMES} == {
        name: theirs[key] for name, key in NAMES.items()
    }
    assert 0.05 < ours.headline < 0.95
    for query, hits in ours.run.hits.items():
        assert [hit.id for hit in hits[:50]] == list(found[f"examples-{query}"])[:50]


@pytest.mark.filterwarnings("ignore")
def test_they_differ_where_excluded_documents_fill_the_cut(flag, embedder, copy, tmp_path, monkeypatch):
    """The 20 nearest documents of query 0 are excluded and the 21st is its answer; the depth is 20."""
    task, plain = _ours(embedder, copy, 240)
    examples = [json.loads(line) for line in (copy / "examples/aops.jsonl").read_text().splitlines()]
    ranking = [hit.id for hit in plain.run.hits["0"]]
    examples[0] |= {"excluded_ids": ranking[:20], "gold_ids": [ranking[20]]}
    (copy / "examples/aops.jsonl").write_text("".join(json.dumps(row) + "\n" for row in examples))
    task, ours = _ours(embedder, copy, 20)
    plan = DenseRetriever(embedder).plan(task, _wanted())
    theirs, found = _theirs(flag, embedder, plan, copy, tmp_path, monkeypatch, 20)
    assert found["examples-0"] == {}  # nothing is left of their 20 hits
    assert ours.run.hits["0"][0].id == ranking[20]
    assert ours.scores.per_query["ndcg@10"]["0"] == 1.0
    assert ours.scores.means["mrr@10"] > theirs["mrr_at_10"]


def _wanted():
    from reasonembed.evaluation.plan import Wanted

    return Wanted()
