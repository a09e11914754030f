"""Two sets of results -> comparisons per dataset and over datasets, on the queries they share."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

from reasonembed.errors import DataError, MismatchError
from reasonembed.evaluation.runner import Result
from reasonembed.evaluation.significance import RESAMPLES, Comparison, compare_datasets, compare_queries

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """System A against system B.

    Attributes:
        metric: What is compared.
        names: Models of A and B.
        datasets: Comparison by dataset.
        overall: Over the datasets; None where there is only one.
        left_out: Datasets that only one of the two has.
    """

    metric: str
    names: tuple[str, str]
    datasets: dict[str, Comparison]
    overall: Comparison | None
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare_results(
    a: dict[str, Result],
    b: dict[str, Result],
    *,
    metric: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ComparedRuns:
    """Compare two systems on the datasets that both were evaluated on.

    Args:
        a: Results of A by label, as `runner.read_results` gives them.
        b: Results of B.
        metric: One with per-query values; None takes the headline metric.
        resamples: See `significance`.
        seed: See `significance`.

    Raises:
        DataError: No dataset in common, or a metric without per-query values.
        MismatchError: The two were scored on different queries, or have different headline metrics and none
            is named.
    """
    shared = [label for label in a if label in b]
    if not shared:
        raise DataError(
            f"no dataset in common: A has {', '.join(a)}; B has {', '.join(b)}",
            fix="evaluate both on the same data",
        )
    chosen = metric or _headline([*(a[label] for label in shared), *(b[label] for label in shared)])
    values = {}
    for label in shared:
        _warn_of_differences(label, a[label], b[label])
        left, right = _per_query(label, a[label], chosen), _per_query(label, b[label], chosen)
        if left.keys() != right.keys():
            different = len(left.keys() ^ right.keys())
            raise MismatchError(
                f"{label}: A and B differ in {different} queries. Fix: evaluate both on the same queries"
            )
        values[label] = (list(left.values()), [right[query] for query in left])
    datasets = {label: compare_queries(*pair, resamples=resamples, seed=seed) for label, pair in values.items()}
    overall = compare_datasets(values, resamples=resamples, seed=seed) if len(values) > 1 else None
    names = (str(a[shared[0]].made_by.get("model")), str(b[shared[0]].made_by.get("model")))
    left_out = tuple(sorted((a.keys() | b.keys()) - set(shared)))
    return ComparedRuns(chosen, names, datasets, overall, left_out)


def _headline(results: list[Result]) -> str:
    metrics = sorted({result.metric for result in results})
    if len(metrics) > 1:
        raise MismatchError(
            f"the results have different headline metrics: {', '.join(metrics)}. Fix: name one with --metric"
        )
    return metrics[0]


def _per_query(label: str, result: Result, metric: str) -> dict[str, float]:
    if metric not in result.scores.per_query:
        there = ", ".join(result.scores.per_query)
        raise DataError(f"{label}: no per-query values of {metric!r}", fix=f"one of {there}")
    return result.scores.per_query[metric]


def _warn_of_differences(label: str, a: Result, b: Result) -> None:
    for name in ("protocol", "depth"):
        if a.made_by.get(name) != b.made_by.get(name):
            logger.warning(
                "%s: A was made with %s %s, B with %s", label, name, a.made_by.get(name), b.made_by.get(name)
            )
