"""A run and its judgements -> nDCG, recall, MAP and MRR, per query and as means, computed by pytrec_eval.

The mean is over all judged queries: a query without hits counts 0, where pytrec_eval alone would leave it
out.
"""

from __future__ import annotations

from dataclasses import dataclass

from reasonembed.errors import DataError
from reasonembed.types import Qrels, Run

CUTOFFS = (1, 5, 10, 100)
"""Ranks at which every metric is taken."""

_TREC_NAMES = {"ndcg": "ndcg_cut", "recall": "recall", "map": "map_cut"}
METRICS = (*(f"{name}@{cutoff}" for name in (*_TREC_NAMES, "mrr") for cutoff in CUTOFFS), "mrr")
"""All names: `ndcg@10`, `recall@100`, `map@10`, `mrr@10`, ... and `mrr` over the whole run."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Values of all metrics, in [0, 1].

    Attributes:
        per_query: metric -> query id -> value, queries in the order of the judgements.
        means: metric -> mean over all judged queries.
    """

    per_query: dict[str, dict[str, float]]
    means: dict[str, float]


def score_run(run: Run, qrels: Qrels) -> Scores:
    """Score a run.

    nDCG has TREC's linear gains; grades above 0 are relevant for recall, MAP and MRR. Documents with equal
    scores are ordered as trec_eval does (by id, last first), so that numbers equal those of other tools
    whatever the order of the file.

    Args:
        run: Hits of each query. Queries that are not judged are ignored.
        qrels: Judgements; every judged query is scored.

    Raises:
        DataError: There are no judgements.
    """
    import pytrec_eval

    if not qrels.relevance:
        raise DataError("there is no judged query to score", fix="check the qrels and the split")
    cuts = ",".join(map(str, CUTOFFS))
    relevance = {query: dict(grades) for query, grades in qrels.relevance.items()}
    evaluator = pytrec_eval.RelevanceEvaluator(
        relevance, {*(f"{name}.{cuts}" for name in _TREC_NAMES.values()), "recip_rank"}
    )
    hits = {query: found for query, found in run.scores().items() if query in relevance and found}
    measured: dict[str, dict[str, float]] = evaluator.evaluate(hits) if hits else {}
    per_query = {metric: {query: _value(metric, measured.get(query)) for query in relevance} for metric in METRICS}
    means = {metric: sum(values.values()) / len(values) for metric, values in per_query.items()}
    return Scores(per_query, means)


def _value(metric: str, measured: dict[str, float] | None) -> float:
    """One metric of one query out of pytrec_eval's measures; 0 for a query without hits."""
    if measured is None:
        return 0.0
    name, _, cutoff = metric.partition("@")
    if name != "mrr":
        return float(measured[f"{_TREC_NAMES[name]}_{cutoff}"])
    reciprocal = float(measured["recip_rank"])
    # pytrec_eval has no cut for the reciprocal rank: a rank r counts if r <= cutoff, up to the rounding of 1
    # / r.
    return reciprocal if not cutoff or reciprocal * int(cutoff) > 1 - 1e-9 else 0.0
