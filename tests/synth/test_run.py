"""A whole run against the scripted server: faults and kill -9 change no byte, nothing is asked twice, changes invalidate what follows."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from llm_server import CUT_JSON, Act, LlmServer
from synth_small import corpus, play, settings

from reasonembed.dataset.samples import read_samples
from reasonembed.errors import DataError, LlmError
from reasonembed.llm.open import open_llm
from reasonembed.synth.config import parse_synth_config
from reasonembed.synth.folder import Run
from reasonembed.synth.run import STAGES, plan, synthesize
from reasonembed.synth.stages import pairs_of, write_queries

FAULTS = (
    Act(status=500),
    Act(drop=True),
    CUT_JSON,
    Act(status=429, headers={"Retry-After": "0"}),
    Act(text="cut", cut=True),
)


def honest(asked):
    return Act(text=play(asked.prompt))


def with_faults(asked):
    """Every fifth request fails once or twice, each in its own way."""
    number = len(asked.prompt)
    failing = number % 5 == 0 and asked.attempt <= 1 + number % 2
    return FAULTS[(number + asked.attempt) % len(FAULTS)] if failing else honest(asked)


def files(folder: Path) -> dict[str, bytes]:
    """What the stages wrote."""
    paths = [*sorted(folder.glob("[1-5]_*.jsonl")), *sorted(folder.glob("5_samples/*")), folder / "failures.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def make(docs, out, script, **more):
    with LlmServer(script) as server:
        config = parse_synth_config(settings(docs, llm={"place": server.url}, **more))
        run = synthesize(config, out, progress=False)
    return run, server


@pytest.fixture(scope="module")
def docs(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def plain(docs, tmp_path_factory):
    """A run without faults."""
    return make(docs, tmp_path_factory.mktemp("plain") / "run", honest)


def test_the_files_agree_with_each_other(plain, docs):
    run, _ = plain
    config = run.config
    sources, queries, samples = list(run.sources()), list(run.queries()), list(read_samples(run.path("samples")))
    assert len(sources) == 30
    assert sources == sorted(sources, key=run.documents.place_of)
    assert {query.source for query in queries} <= set(sources)
    assert 20 < len(queries) < 30
    assert run.report("queries").losses == {"too short": 30 - len(queries)}
    for query, (identifier, candidates) in zip(queries, run.candidates(), strict=True):
        assert identifier == query.id
        assert len(candidates) == len(dict(candidates)) <= 8
        assert query.source not in dict(candidates)
    wanted = [(query.id, document.id, rank) for query, document, rank in pairs_of(run)]
    judged = [(one.query, one.document, one.rank) for one in run.annotations()]
    unreadable = [tuple(failure.id.split()) for failure in run.failures() if failure.stage == "annotate"]
    assert sorted([*judged, *((q, d, dict(((a, b), r) for a, b, r in wanted)[q, d]) for q, d in unreadable)]) == sorted(
        wanted
    )
    assert all(sum(q == query.id for q, _, _ in wanted) == 6 for query in queries)
    scores = {}
    for one in run.annotations():
        scores.setdefault(one.query, []).append(one.score)
    both = [query for query in queries if {s >= 3 for s in scores[query.id]} == {True, False}]
    assert [sample.query for sample in samples] == [query.text for query in both]
    for sample, query in zip(samples, both, strict=True):
        assert len(sample.pos) == sum(score >= config.samples.positive for score in scores[query.id])
        assert len(sample.neg) == sum(score <= config.samples.negative for score in scores[query.id])
        assert sample.reasoning_query.startswith(query.text + "\n\n")
        assert sample.prompt
    report = run.report("annotate")
    assert report.requests >= len(wanted)
    assert report.prompt_tokens > 0
    assert report.llm["model"] == "scripted"


def test_faults_change_no_byte(plain, docs, tmp_path):
    faulty, server = make(docs, tmp_path / "run", with_faults)
    assert files(faulty.folder) == files(plain[0].folder)
    assert sum(server.asked.values()) > 1.1 * sum(plain[1].asked.values())  # there were faults


CHILD = """
import sys
from pathlib import Path
from reasonembed.synth.config import parse_synth_config
from reasonembed.synth.run import synthesize
import json
synthesize(parse_synth_config(json.loads(sys.argv[1])), sys.argv[2], progress=False)
"""


def test_kill_nine_loses_nothing_and_pays_for_nothing_twice(plain, docs, tmp_path):
    concurrency, kills = 4, 0

    def slow(asked):
        return replace(honest(asked), seconds=0.01)

    with LlmServer(slow) as server:
        config = settings(docs, llm={"place": server.url, "concurrency": concurrency})
        command = [sys.executable, "-c", CHILD, json.dumps(config), str(tmp_path / "run")]
        root = str(Path(__file__).parents[2])
        for stop_at in (12, 140, None):
            process = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": root})
            while process.poll() is None and (stop_at is None or sum(server.paid.values()) < stop_at):
                time.sleep(0.005)
            if stop_at is not None:
                assert process.poll() is None, "it was finished before it could be killed"
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.wait()
        assert process.returncode == 0
    assert files(tmp_path / "run") == files(plain[0].folder)
    assert not list((tmp_path / "run").rglob(".*.tmp"))
    twice = sum(server.paid.values()) - sum(plain[1].paid.values())
    assert 0 <= twice <= kills * 2 * concurrency  # what was under way or not yet in the cache


def test_a_run_stopped_before_its_first_stage_goes_on(docs, tmp_path):
    config = parse_synth_config(settings(docs, llm=None))
    Run(tmp_path / "run", config).store_corpus()
    assert Run(tmp_path / "run", config).corpus_fingerprint()
    assert Run(tmp_path / "run").config == config


def test_a_finished_run_asks_nothing(plain, docs):
    run = plain[0]
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()}
    assert [step.state for step in plan(run)] == ["done"] * len(STAGES)
    synthesize(run.config, run.folder, progress=False)  # the server is gone
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()} == before


def test_a_dead_server_ends_the_run_and_what_was_answered_stays(plain, docs, tmp_path):
    def dying(asked):
        dead = sum(server.paid.values()) >= 20
        return Act(status=401, error="key withdrawn") if dead else honest(asked)

    with LlmServer(dying) as server:
        config = parse_synth_config(settings(docs, llm={"place": server.url, "concurrency": 2}))
        with pytest.raises(LlmError):
            synthesize(config, tmp_path / "run", progress=False)
        paid = sum(server.paid.values())
        assert not (tmp_path / "run" / "2_queries.jsonl").exists()
        server.script = honest
        synthesize(config, tmp_path / "run", progress=False)
    assert files(tmp_path / "run") == files(plain[0].folder)
    assert paid >= 20
    assert sum(server.paid.values()) == sum(plain[1].paid.values())


@pytest.mark.parametrize(("section", "value", "states"), [
    ("samples", {"positive": 4}, "done done done done changed changed"),
    ("reasoning", {"enabled": True, "temperature": 0.1}, "done done done done changed follows"),
    ("annotate", {"top": 3, "reasoning": "brief"}, "done done done changed follows follows"),
    ("queries", {"lengths": [[10, 20, 1]]}, "done changed follows follows follows follows"),
    ("sources", {"min_chars": 10, "n": 30, "per_document": 2}, "done changed follows follows follows follows"),
    ("sources", {"min_chars": 10, "n": 20}, "changed follows follows follows follows follows"),
    ("reasoning", {}, "done done done done off changed"),
])  # fmt: skip
def test_the_plan_says_what_a_change_makes_stale(plain, docs, section, value, states):
    run = plain[0]
    changed = parse_synth_config({**settings(docs, llm={"place": run.config.llm.place}), section: value})
    steps = plan(Run(run.folder, changed))
    assert [step.state for step in steps] == states.split()
    first = next(step for step in steps if step.state == "changed")
    assert first.why
    assert first.records == run.report(first.stage).counts["written"]


def test_a_change_is_told_and_only_what_it_concerns_is_made_again(docs, tmp_path, caplog):
    run, _ = make(docs, tmp_path / "run", honest)
    before = files(run.folder)
    with caplog.at_level(logging.WARNING), LlmServer(honest) as server:
        config = parse_synth_config(settings(docs, llm={"place": server.url}, samples={"positive": 4}))
        synthesize(config, run.folder, progress=False)
    assert "stage samples is made again (changed: samples.positive" in caplog.text
    after = files(run.folder)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"5_reasoning.jsonl", "5_samples/small.jsonl", "failures.jsonl"}
    assert not server.asked  # fewer samples: their analyses were in the cache
    assert all(min(sample.pos_scores) >= 4 for sample in read_samples(run.path("samples")))


def test_the_same_output_of_a_stage_made_again_keeps_what_follows(docs, tmp_path):
    run, _ = make(docs, tmp_path / "run", honest)
    made = run.path("mine").stat().st_mtime_ns
    with LlmServer(honest) as server:  # nothing is above 40 words with either tolerance
        queries = {"lengths": [[10, 20, 1], [21, 40, 2]], "overlap": 0.3}
        run = synthesize(
            parse_synth_config(settings(docs, llm={"place": server.url}, queries=queries)), run.folder, progress=False
        )
    assert not server.asked
    assert run.report("queries").cached == run.report("queries").requests > 0
    assert run.path("mine").stat().st_mtime_ns == made


def test_what_the_server_failed_to_give_is_asked_again_by_the_next_run(plain, docs, tmp_path):
    def overloaded(asked):
        bad = "Content" in asked.prompt and len(asked.prompt) % 4 == 0
        return Act(status=503) if bad else honest(asked)

    config = parse_synth_config(settings(docs))
    with LlmServer(overloaded) as server:
        from reasonembed.llm.client import Llm
        from reasonembed.llm.server import ServerBackend

        with Llm(ServerBackend(server.url), cache=tmp_path / "run" / "cache.sqlite", retries=0) as llm:
            run = Run(tmp_path / "other", config)
            synthesize(config, run.folder, llm=llm, stages=["sources", "queries"], progress=False)
            run = Run(run.folder)
            lost = run.report("queries").unanswered
            assert lost > 0
            assert plan(run, llm=llm)[1].state == "incomplete"
            assert run.report("queries").losses["server"] == lost
            server.script = honest
            synthesize(config, run.folder, llm=llm, progress=False)
    assert files(run.folder) == files(plain[0].folder)


def test_leaks_are_dropped_and_named(plain, docs, tmp_path):
    test_set = tmp_path / "test.jsonl"
    stolen = next(iter(read_samples(plain[0].path("samples")))).query
    test_set.write_text(json.dumps({"query": stolen.upper()}) + "\n")
    run, _ = make(docs, tmp_path / "run", honest, samples={"leaks": [str(test_set)]})
    kept = [sample.query for sample in read_samples(run.path("samples"))]
    assert kept == [sample.query for sample in read_samples(plain[0].path("samples")) if sample.query != stolen]
    (leak,) = [failure for failure in run.failures() if failure.reason.startswith("leak")]
    assert leak.detail.startswith(f"test.jsonl line 1: {stolen.upper()[:100]}")
    assert leak.id in {query.id for query in run.queries() if query.text == stolen}


def test_equal_queries_count_once(docs, tmp_path):
    said = "one two three four five six seven eight nine ten eleven twelve"
    run, _ = make(
        docs, tmp_path / "run", lambda asked: Act(text=said if "[Begin" in asked.prompt else play(asked.prompt))
    )
    assert [query.text for query in run.queries()] == [said]
    assert run.report("queries").losses["equal query"] > 0


def test_wrong_use(docs, tmp_path):
    config = parse_synth_config(settings(docs))
    with pytest.raises(DataError, match="unknown stages cook"):
        synthesize(config, tmp_path / "a", stages=["cook"])
    with pytest.raises(DataError, match="needs a language model"):
        synthesize(config, tmp_path / "b", progress=False)
    with pytest.raises(DataError, match="'queries' has not run"):
        synthesize(config, tmp_path / "c", stages=["sources", "mine"], progress=False)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match="is no synthesis"):
        Run(tmp_path / "d", config)
    with pytest.raises(DataError, match=r"manifest\.json is missing"):
        Run(tmp_path / "e")


def test_stage_functions_alone_are_the_same_as_the_run(plain, docs, tmp_path):
    with LlmServer(honest) as server, open_llm(server.url, cache=None) as llm:
        config = parse_synth_config(settings(docs, llm={"place": server.url}))
        run = synthesize(config, tmp_path / "run", stages=["sources"], progress=False)
        report = write_queries(run, llm)
    assert report.counts["written"] == plain[0].report("queries").counts["written"]
    assert run.path("queries").read_bytes() == plain[0].path("queries").read_bytes()
    assert plan(run)[1].state == "done"


def test_a_run_with_log_probabilities(plain, docs, tmp_path):
    """The server gives none here: the written scores count, and that is told; any other judgement is the same."""
    run, _ = plain
    annotate = {**settings(docs)["annotate"], "logprobs": True}
    other, server = make(docs, tmp_path / "run", honest, annotate=annotate)
    assert other.report("annotate").details["answers"]["without_logprobs"] == len(list(other.annotations()))
    assert list(other.annotations()) == list(run.annotations())
    assert any(body.get("top_logprobs") == 20 for body in server.bodies)
