"""Estimates: multiplied as closed forms say; a sample against the whole run that follows, which pays for nothing twice."""

from __future__ import annotations

from math import sqrt

import pytest
from llm_server import Act, LlmServer
from synth_small import corpus, play, settings

from reasonembed.errors import DataError
from reasonembed.llm.open import open_llm
from reasonembed.synth.config import parse_synth_config
from reasonembed.synth.estimate import PARTS, T, Z, estimate_from, estimate_run
from reasonembed.synth.folder import STAGES, Run, StageReport
from reasonembed.synth.run import synthesize


def config(tmp_path, n, **more):
    made = settings(corpus(tmp_path), **more)
    return parse_synth_config({**made, "sources": {"min_chars": 10, "n": n}})


def parts(*generated, left=90, written=10, **whole):
    """Quarters whose stage `queries` has generated so many tokens, cumulated; the whole sample last."""
    made = []
    for place, tokens in enumerate(generated, start=1):
        more = whole if place == len(generated) else {}
        made.append({
            "sources": StageReport("sources", {"written": written}, {"not drawn": left}, seconds=3.6),
            "queries": StageReport(
                "queries", {"written": place}, requests=2 * place, completion_tokens=tokens, cost=tokens / 100, **more
            ),
        })  # fmt: skip
    return made


def test_equal_quarters_are_multiplied_and_may_have_missed_what_is_rare(tmp_path):
    made = estimate_from(config(tmp_path, None), parts(5, 10, 15, 20, seconds=36.0))
    assert (made.sample, made.sources) == (10, 100)
    sources, queries = made.stages
    assert (queries.requests.mean, queries.completion_tokens.mean, queries.cost.mean) == (80, 200, pytest.approx(2.0))
    # 8 requests are a tenth of all; of the other 72, 3/8 may be asked again and none of them seen: 27, with 20/8 tokens each
    assert (queries.requests.spread, queries.completion_tokens.spread) == (27, pytest.approx(67.5))
    assert queries.cost.spread == pytest.approx(0.675)  # its quarters are equal but for rounding
    assert queries.hours.mean == pytest.approx(0.1)
    assert sources.hours.mean == pytest.approx(0.001)
    assert made.total.hours.mean == pytest.approx(0.101)
    assert made.total.completion_tokens.mean == 200


def test_the_spread_is_that_of_four_parts_of_a_finite_number(tmp_path):
    made = estimate_from(config(tmp_path, 50), parts(4, 10, 14, 24, seconds=1.0))  # steps of 4, 6, 4, 10
    deviation = sqrt(((4 - 6) ** 2 + 0 + (4 - 6) ** 2 + (10 - 6) ** 2) / 3)
    # the variance of a total of N parts estimated from n without return: N^2 (1 - n / N) s^2 / n, here n = 4, N = 20
    expected = T * sqrt(20**2 * (1 - PARTS / 20) * deviation**2 / PARTS)
    assert made.stages[1].completion_tokens.mean == 120
    assert made.stages[1].completion_tokens.spread == pytest.approx(expected)
    assert made.stages[1].hours.spread / made.stages[1].hours.mean == pytest.approx(expected / 120)


def test_a_sample_of_everything_is_known(tmp_path):
    made = estimate_from(config(tmp_path, 50), parts(4, 10, 14, 24, left=0))
    assert (made.sources, made.stages[1].completion_tokens.mean, made.stages[1].completion_tokens.spread) == (10, 24, 0)
    assert made.stages[1].requests.spread == 0


def test_what_the_cache_answered_has_no_rate(tmp_path):
    assert estimate_from(config(tmp_path, 50), parts(1, 2, 3, 4, cached=8, seconds=1.0)).total.hours is None
    half = estimate_from(config(tmp_path, 50), parts(1, 2, 3, 4, cached=4, seconds=36.0)).stages[1]
    assert half.hours.mean == pytest.approx(5 * 36 * 8 / 4 / 3600)


def test_questions_about_the_domain(tmp_path):
    made = parts(1, 2, 3, 4)
    # 64 asked: 32 refused, 10 kept, 22 welcome and not needed; 136 of 200 were not asked about
    made[-1]["sources"] = StageReport(
        "sources", {"written": 10}, {"not drawn": 22 + 136, "not of the domain": 32}, requests=64, prompt_tokens=640, seconds=1.0
    )  # fmt: skip
    found = estimate_from(config(tmp_path, None), made)
    assert found.sources == 100  # half of 200
    assert found.stages[0].requests.mean == pytest.approx(200)
    assert found.stages[0].prompt_tokens.mean == pytest.approx(2000)
    assert found.stages[0].requests.spread == pytest.approx(200 * Z * sqrt(0.5 / (0.5 * 64)))
    assert estimate_from(config(tmp_path, 16), made).stages[0].requests.mean == pytest.approx(32)


def test_an_estimate_is_near_what_the_run_takes_and_nothing_is_paid_twice(tmp_path):
    wanted = config(tmp_path, 30)
    with LlmServer(lambda asked: Act(text=play(asked.prompt))) as server:
        with open_llm(server.url, cache=tmp_path / "cache.sqlite") as llm:
            made = estimate_run(wanted, tmp_path / "run", sample=14, llm=llm, progress=False)
            assert (made.sample, made.sources) == (12, 30)
            assert Run(tmp_path / "run").report("sources").counts["written"] == 12
            paid = server.paid.total()
            again = estimate_run(wanted, tmp_path / "run", sample=14, llm=llm, progress=False)
            assert again == made
            assert server.paid.total() == paid
            run = synthesize(wanted, tmp_path / "run", llm=llm, progress=False)
        requests = sum(run.report(stage).requests for stage in STAGES)
        assert server.paid.total() == requests
    assert {row.stage for row in made.stages} == set(STAGES)
    for row in made.stages:
        report = run.report(row.stage)
        for guess, truth in (
            (row.requests, report.requests), (row.prompt_tokens, report.prompt_tokens),
            (row.completion_tokens, report.completion_tokens), (row.written, report.counts["written"]),
        ):  # fmt: skip
            assert abs(guess.mean - truth) <= 0.05 * truth + 1.5 * guess.spread, (row.stage, guess, truth)
    assert made.total.hours.mean > 0
    assert len(made.table().rows) == 7


def test_a_run_that_was_begun_in_earnest_is_not_replaced(tmp_path):
    wanted = config(tmp_path, 30)
    synthesize(wanted, tmp_path / "run", stages=["sources"], progress=False)
    with pytest.raises(DataError, match="holds a run of 30 sources"):
        estimate_run(wanted, tmp_path / "run", sample=12, progress=False)
    assert not (tmp_path / "run/estimate.json").exists()
    with pytest.raises(DataError, match="sample=3 has no spread"):
        estimate_run(wanted, tmp_path / "other", sample=3, progress=False)


def test_one_that_was_stopped_goes_on_with_another_size(tmp_path):
    wanted = config(tmp_path, 30)
    with pytest.raises(DataError, match="needs a language model"):
        estimate_run(wanted, tmp_path / "run", sample=12, progress=False)
    with LlmServer(lambda asked: Act(text=play(asked.prompt))) as server, open_llm(server.url, cache=None) as llm:
        assert estimate_run(wanted, tmp_path / "run", sample=8, llm=llm, progress=False).sample == 8
