"""Tables say what the results say, in every form; comparisons pair by query."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from reasonembed.errors import DataError, MismatchError
from reasonembed.evaluation.compare import compare_results
from reasonembed.evaluation.metrics import METRICS, Scores
from reasonembed.evaluation.published import find_published
from reasonembed.evaluation.report import comparison_table, mean_score, result_table, results_json
from reasonembed.evaluation.runner import Result
from reasonembed.evaluation.significance import compare_datasets, compare_queries
from reasonembed.protocols import BRIGHT_TASKS


def _result(task, value, *, metric="ndcg@10", queries=40, seed=0, model="my-model", cut=0, **made):
    values = np.clip(np.random.default_rng(seed).normal(value, 0.1, queries), 0, 1)
    per_query = {name: {f"q{number}": float(v) for number, v in enumerate(values)} for name in METRICS}
    means = {name: float(values.mean()) for name in METRICS}
    facts = {"documents": {"texts": 10, "cut": cut}, "queries": {"texts": queries, "cut": 0}}
    return Result(
        task,
        "test",
        metric,
        Scores(per_query, means),
        {"model": model, "protocol": "reasonembed", **facts, **made},
    )


def _shown(table):
    console = Console(file=io.StringIO(), width=100)
    console.print(table.rich())
    return console.file.getvalue()


def test_rows_and_their_mean():
    results = [_result("beir/a", 0.3), _result("beir/b", 0.7, seed=1)]
    table = result_table(results)
    assert [row[0] for row in table.rows] == ["beir/a", "beir/b", "mean"]
    assert table.rows[0][1] == f"{100 * results[0].headline:.2f}"
    assert table.rows[2][1] == f"{50 * (results[0].headline + results[1].headline):.2f}"
    assert table.columns[:2] == ("task", "nDCG@10")
    assert len(result_table(results[:1]).rows) == 1
    for text in (_shown(table), table.markdown()):
        assert all(cell in text for row in table.rows for cell in row)


def test_against_a_published_row():
    row = find_published("ReasonEmbed-Qwen3-8B", "bright")
    result = _result("bright/biology", 0.5)
    table = result_table([result], against=row)
    assert table.rows[0][-2:] == ("55.5", f"{100 * result.headline - 55.5:+.1f}")
    assert any("ReasonEmbed-Qwen3-8B" in note for note in table.notes)
    every = [_result(f"bright/{task}", 0.4, seed=seed) for seed, task in enumerate(BRIGHT_TASKS)]
    assert result_table(every, against=row).rows[-1][-2] == "38.1"  # as published
    some = result_table(every[:2], against=row).rows[-1]
    assert some[-2] == f"{(55.5 + 56.6) / 2:.1f}"
    assert result_table(every, against=find_published("BM25", "r2med")).rows[-1][-2:] == ("-", "-")


def test_plain_values():
    row = find_published("BM25", "bright")
    result = _result("bright/pony", 0.2)
    value = json.loads(json.dumps(results_json([result], against=row)))
    (task,) = value["results"]
    assert task["published"] == 7.9
    assert task["difference"] == pytest.approx(100 * result.headline - 7.9)
    assert "per_query" not in task
    assert value["published"]["source"] == "IMG"
    assert value["mean"] == pytest.approx(result.headline)


def test_cut_texts_and_notes_stand_below():
    table = result_table([_result("beir/a", 0.3, cut=7, protocol_note="mind this | that")])
    assert "7 of 10 documents were cut to the length limit" in table.notes
    assert "mind this \\| that" in table.markdown()


def test_the_mean_is_over_tasks_not_queries():
    assert mean_score([_result("a/a", 0.2, queries=10), _result("a/b", 0.6, queries=1000)]) == pytest.approx(
        0.4, abs=0.05
    )


def _by_label(*results):
    return {result.label: result for result in results}


def test_comparison_pairs_by_query_not_by_place():
    a, b = _result("beir/a", 0.5), _result("beir/a", 0.4, seed=1, model="other")
    turned = {metric: dict(reversed(values.items())) for metric, values in b.scores.per_query.items()}
    shuffled = Result("beir/a", "test", "ndcg@10", Scores(turned, b.scores.means), b.made_by)
    found = compare_results(_by_label(a), _by_label(shuffled))
    values = [list(result.scores.per_query["ndcg@10"].values()) for result in (a, b)]
    assert found.datasets["beir/a"] == compare_queries(*values)
    assert found.overall is None
    assert found.names == ("my-model", "other")


def test_comparison_over_datasets():
    a = _by_label(_result("beir/a", 0.5), _result("beir/b", 0.6, seed=2), _result("beir/only-a", 0.1))
    b = _by_label(_result("beir/a", 0.4, seed=1), _result("beir/b", 0.6, seed=3))
    found = compare_results(a, b)
    pairs = {
        label: tuple(list(side[label].scores.per_query["ndcg@10"].values()) for side in (a, b))
        for label in ("beir/a", "beir/b")
    }
    assert found.overall == compare_datasets(pairs)
    assert found.left_out == ("beir/only-a",)
    table = comparison_table(found.datasets, found.overall, names=("A", "B"), metric=found.metric)
    assert [row[0] for row in table.rows] == ["beir/a", "beir/b", "mean"]
    shown = _shown(table)
    assert all(cell in shown for row in table.rows for cell in row)
    json.dumps(found.to_json())


def test_what_cannot_be_compared(caplog):
    a, b = _result("beir/a", 0.5), _result("beir/b", 0.5)
    with pytest.raises(DataError, match="no dataset in common: A has beir/a; B has beir/b"):
        compare_results(_by_label(a), _by_label(b))
    with pytest.raises(MismatchError, match="beir/a: A and B differ in 10 queries"):
        compare_results(_by_label(a), _by_label(_result("beir/a", 0.5, queries=30)))
    with pytest.raises(MismatchError, match="different headline metrics: ndcg@10, recall@1"):
        compare_results(_by_label(a), _by_label(_result("beir/a", 0.5, metric="recall@1")))
    with pytest.raises(DataError, match="no per-query values of 'accuracy'"):
        compare_results(_by_label(a), _by_label(a), metric="accuracy")
    compare_results(_by_label(a), _by_label(_result("beir/a", 0.5, protocol="mteb")))
    assert "A was made with protocol reasonembed, B with mteb" in caplog.text
