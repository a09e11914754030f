"""Metrics against a plain loop and against pytrec_eval's own averages; queries without hits count 0."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reasonembed.errors import DataError
from reasonembed.evaluation.metrics import CUTOFFS, METRICS, score_run
from reasonembed.types import Hit, Qrels, Run


def _random_case(seed, n_queries=30, n_documents=150):
    """A run with 120 hits a query (some queries have none) and graded judgements."""
    rng = np.random.default_rng(seed)
    documents = [f"d{number:03}" for number in range(n_documents)]
    hits, relevance = {}, {}
    for number in range(n_queries):
        order = rng.permutation(n_documents)[:120]
        scores = np.sort(rng.random(120))[::-1]
        hits[f"q{number}"] = tuple(Hit(documents[d], float(s)) for d, s in zip(order, scores, strict=True))
        judged = rng.choice(n_documents, 12, replace=False)
        relevance[f"q{number}"] = {
            documents[d]: int(grade) for d, grade in zip(judged, rng.integers(0, 4, 12), strict=True)
        }
    hits["q3"] = ()
    del hits["q4"]
    hits["unjudged"] = (Hit("d000", 1.0),)
    return Run("random", hits), Qrels(relevance)


def _by_hand(metric, ranking, grades):
    """One metric of one ranking, from its definition."""
    name, _, cutoff = metric.partition("@")
    top = ranking[: int(cutoff)] if cutoff else ranking
    relevant = [document for document, grade in grades.items() if grade > 0]
    found = [rank for rank, document in enumerate(top, start=1) if grades.get(document, 0) > 0]
    if not relevant:
        return 0.0
    if name == "recall":
        return len(found) / len(relevant)
    if name == "mrr":
        return 1 / found[0] if found else 0.0
    if name == "map":
        return sum(count / rank for count, rank in enumerate(found, start=1)) / len(relevant)
    gain = sum(grades.get(document, 0) / math.log2(rank + 1) for rank, document in enumerate(top, start=1))
    ideal = sorted(grades.values(), reverse=True)[: int(cutoff)]
    return gain / sum(grade / math.log2(rank + 1) for rank, grade in enumerate(ideal, start=1))


@pytest.mark.parametrize("seed", [0, 1])
def test_every_metric_is_its_definition_and_the_mean_is_over_all_queries(seed):
    run, qrels = _random_case(seed)
    scores = score_run(run, qrels)
    assert set(scores.means) == set(METRICS)
    for metric in METRICS:
        expected = {
            query: _by_hand(metric, [hit.id for hit in run.hits.get(query, ())], grades)
            for query, grades in qrels.relevance.items()
        }
        assert list(scores.per_query[metric]) == list(qrels.relevance)
        assert scores.per_query[metric] == pytest.approx(expected, abs=1e-9)
        assert scores.means[metric] == pytest.approx(sum(expected.values()) / 30, abs=1e-9)


def test_a_query_without_hits_counts_zero():
    qrels = Qrels({"q1": {"d": 1}, "q2": {"d": 1}, "q3": {"d": 1}})
    scores = score_run(Run("x", {"q1": (Hit("d", 1.0),), "q2": ()}), qrels)
    assert scores.per_query["ndcg@10"] == {"q1": 1.0, "q2": 0.0, "q3": 0.0}
    assert scores.means["ndcg@10"] == pytest.approx(1 / 3)
    assert set(score_run(Run("nothing", {}), qrels).means.values()) == {0.0}


@pytest.mark.parametrize("rank", [1, 2, 3, 5, 6, 7, 10, 11, 49, 100, 101])
def test_the_cut_of_the_reciprocal_rank_is_sharp(rank):
    hits = tuple(Hit(f"d{number:03}", 1000.0 - number) for number in range(1, 150))
    scores = score_run(Run("x", {"q": hits}), Qrels({"q": {f"d{rank:03}": 1}})).means
    for cutoff in CUTOFFS:
        assert scores[f"mrr@{cutoff}"] == pytest.approx(1 / rank if rank <= cutoff else 0.0)
    assert scores["mrr"] == pytest.approx(1 / rank)


def test_no_judgements_are_refused():
    with pytest.raises(DataError, match="no judged query"):
        score_run(Run("x", {}), Qrels({}))
