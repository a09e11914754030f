from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from reasonembed.adaptation.budget import (
    DEV_PASSAGES,
    EPOCHS,
    HELD_OUT_SHARE,
    LEAST_TEST,
    LLM_SHARE,
    MOST_QUESTIONS,
    SAMPLE,
    Cost,
    Rates,
    Wanted,
    batch_queries,
    forecast_rows,
    plan_sources,
    plan_steps,
    training_seconds,
)
from reasonembed.adaptation.config import AdaptConfig, parse_adapt_config, synthesis, training, with_sources
from reasonembed.errors import DataError

RATES = Rates(Cost(1.5, 900, 120, 0.01), Cost(14, 9000, 600, 0.1), 400, 0.5)


def test_without_a_budget_the_recipe_decides():
    assert plan_sources(AdaptConfig(), most=500, dev=Wanted(100, 1000), test=Wanted(200, 1000)).train == 500
    assert plan_sources(AdaptConfig(), most=None, dev=Wanted(100, 1000), test=Wanted(200, 1000)).train is None


@pytest.mark.parametrize(("told", "unit", "allowed"), [
    ({"budget_requests": 3000}, "requests", 3000), ({"hours": 20}, "hours", LLM_SHARE * 20),
])  # fmt: skip
def test_a_budget_is_spent_and_not_overspent(told, unit, allowed):
    plan = plan_sources(AdaptConfig(**told), most=500, dev=Wanted(100, 1000), test=Wanted(200, 1000), rates=RATES)
    held = (plan.dev + plan.test) * RATES.question.of(unit)
    spent = held + plan.train * RATES.sample.of(unit)
    assert spent <= allowed < spent + RATES.sample.of(unit)
    assert held <= HELD_OUT_SHARE * allowed
    assert f"{plan.train:,} of 400" in plan.why


def test_a_small_budget_divides_what_there_is_between_dev_and_test():
    plan = plan_sources(
        AdaptConfig(budget_requests=400), most=500, dev=Wanted(100, 1000), test=Wanted(200, 1000), rates=RATES
    )
    assert plan.test == pytest.approx(2 * plan.dev, abs=2)
    assert plan.test + plan.dev == pytest.approx(HELD_OUT_SHARE * 400 / 1.5, abs=2)


def test_the_least_is_asked_even_where_the_budget_does_not_reach():
    plan = plan_sources(AdaptConfig(hours=0.1), most=500, dev=Wanted(100, 1000), test=Wanted(200, 1000), rates=RATES)
    assert (plan.test, plan.dev, plan.train) == (LEAST_TEST, LEAST_TEST, SAMPLE["source"])


def test_more_than_all_is_not_asked_and_no_more_questions_than_wanted():
    plan = plan_sources(AdaptConfig(hours=9999), most=500, dev=Wanted(3, 1000), test=Wanted(0, 1000), rates=RATES)
    assert (plan.dev, plan.test, plan.train) == (3, 0, 400)


def test_where_passages_are_few_each_gets_several_held_out_questions():
    told = {"most": 500, "dev": Wanted(100, 40), "test": Wanted(200, 40)}
    plan = plan_sources(AdaptConfig(budget_requests=20_000), rates=RATES, **told)
    assert (plan.dev, plan.test, plan.heldout_each) == (20, 40, 5)
    assert "60 passages for held-out questions, 5 times, 400 of 400" in plan.why
    plan = plan_sources(AdaptConfig(), **told)
    assert (plan.dev, plan.test, plan.heldout_each) == (20, 40, 5)
    few = plan_sources(AdaptConfig(), most=500, dev=Wanted(100, 3), test=Wanted(200, 3))
    assert (few.dev, few.test, few.heldout_each) == (3, 3, MOST_QUESTIONS)
    none = plan_sources(AdaptConfig(), most=500, dev=Wanted(0, 3), test=Wanted(0, 3))
    assert (none.dev, none.test, none.heldout_each) == (0, 0, 1)


def test_what_is_left_of_a_budget_goes_to_more_questions_of_every_passage():
    config = AdaptConfig(budget_requests=20_000)
    plan = plan_sources(config, most=500, dev=Wanted(100, 1000), test=Wanted(200, 1000), rates=RATES)
    assert (plan.train, plan.each) == (400, 3)
    assert "400 of 400 for training samples" in plan.why
    assert plan.why.endswith("each, 3 times")
    assert (
        plan_sources(AdaptConfig(hours=9999), most=500, dev=Wanted(0, 1000), test=Wanted(0, 1000), rates=RATES).each
        == MOST_QUESTIONS
    )
    assert (
        plan_sources(
            AdaptConfig(budget_requests=3000), most=500, dev=Wanted(100, 1000), test=Wanted(200, 1000), rates=RATES
        ).each
        == 1
    )
    sources = with_sources(synthesis(config, Path("docs"), miner="default"), plan.train, times=plan.each).sources
    assert (sources.n, sources.per_document) == (400, 3)


def test_analyses_need_judged_samples():
    told = {"llm": "x", "synth": {"reasoning.enabled": True}}
    with pytest.raises(DataError, match="labels: judged"):
        parse_adapt_config(told)
    assert parse_adapt_config({**told, "labels": "judged"}).labels == "judged"


def test_hours_need_a_rate():
    cached = Rates(Cost(1, 1, 1, None), Cost(1, 1, 1, None), 10, 1)
    with pytest.raises(DataError, match="answered from the cache, so hours are not known"):
        plan_sources(AdaptConfig(hours=1), most=500, dev=Wanted(1, 1000), test=Wanted(1, 1000), rates=cached)


def test_batches_are_powers_of_two_that_the_samples_fill():
    sizes = [batch_queries(n) for n in range(1, 300)]
    assert set(sizes[:7]) == {0}
    assert set(sizes[7:]) == {8, 16, 32, 64}
    assert all(a <= b for a, b in pairwise(sizes))
    assert all(size <= n for n, size in enumerate(sizes, start=1))


def test_steps_that_fit_into_the_hours():
    free = plan_steps(7, allowed=None)
    assert (free.steps, free.epochs) == (7 * EPOCHS, EPOCHS)
    allowed = training_seconds(0.5, asks=True)
    assert allowed == pytest.approx(0.2 * 1800)
    assert training_seconds(0.5, asks=False) == pytest.approx(0.9 * 1800)
    tight = plan_steps(7, allowed=allowed, step_seconds=10, dev_seconds=30)
    evaluations = tight.steps / tight.every
    assert tight.steps * 10 + (evaluations + 1) * 30 <= allowed + 30
    assert tight.steps > 15
    assert tight.epochs == -(-tight.steps // 7)
    assert plan_steps(7, allowed=1.0, step_seconds=10, dev_seconds=30).steps == 1
    assert plan_steps(7, allowed=1e9, step_seconds=10, dev_seconds=30) == free


def test_the_forecast_adds_up():
    rows = forecast_rows(
        {"train": 100, "dev": 10, "test": 20},
        RATES,
        samples=50,
        group=8,
        passages=1000,
        hours=None,
        passage_seconds=0.02,
    )
    by_name = {row.step: row for row in rows}
    assert by_name["held-out questions"].requests == 30 * 1.5
    assert by_name["training data"].hours == pytest.approx(10)
    total = rows[-1]
    assert total.requests == sum(row.requests for row in rows[:-1])
    assert total.hours == pytest.approx(sum(row.hours for row in rows[:-1]))
    # 32 queries with 8 passages, 4 forward passes, 10 steps; an evaluation of all passages after every second and at the start
    assert by_name["training"].hours * 3600 == pytest.approx(10 * 32 * 9 * 4 * 0.02 + 6 * 1000 * 0.02)


def test_an_evaluation_of_a_large_corpus_takes_no_longer_than_its_dev_passages():
    told = {"samples": 50, "group": 8, "hours": None, "passage_seconds": 0.02}
    large, larger = (
        {row.step: row.hours for row in forecast_rows({}, None, passages=passages, **told)}
        for passages in (DEV_PASSAGES, 10 * DEV_PASSAGES)
    )
    assert large["training"] == larger["training"]
    assert 10 * large["scores and index"] == pytest.approx(larger["scores and index"])


def test_the_recipes_with_values_of_ones_own(tmp_path):
    config = AdaptConfig(llm="http://x/v1", kind="math", seed=3, synth={"annotate.top": 4, "llm.model": "m"})
    made = synthesis(config, tmp_path / "docs.jsonl", miner="my/model")
    assert (made.kind, made.seed, made.annotate.top, made.annotate.spread) == ("math", 3, 4, 4)
    assert (made.llm.place, made.llm.model) == ("http://x/v1", "m")
    assert [(miner.model, miner.bm25) for miner in made.mine.miners] == [("my/model", None), (None, "lucene")]
    trained = training(AdaptConfig(train={"batch.group": 4}), tmp_path, {"batch.group": 6, "lengths.query": 64})
    assert (trained.batch.group, trained.lengths.query, trained.batch.queries) == (4, 64, 64)


@pytest.mark.parametrize(("told", "said"), [
    ({"hours": 1, "budget_requests": 500}, "either `budget_requests` or `hours`"),
    ({"hours": 0}, "hours is 0"),
    ({"budget_requests": 10}, "budget_requests is 10"),
    ({"ours": 1}, "remove or correct this key; docs/adapt.md"),
])  # fmt: skip
def test_wrong_values_are_told(told, said):
    with pytest.raises(DataError, match=said):
        parse_adapt_config(told)
