"""`reasonembed synth`: the whole way over real HTTP, stage by stage, and what each command says."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest
from llm_server import Act, LlmServer
from synth_small import corpus, play, settings
from typer.testing import CliRunner

from reasonembed.cli.synth import app
from reasonembed.dataset.samples import read_samples
from reasonembed.synth.config import SynthConfig, parse_synth_config

runner = CliRunner()
STAGES = ("sources", "queries", "mine", "annotate", "reasoning", "samples")


@pytest.fixture
def server():
    with LlmServer(lambda asked: Act(text=play(asked.prompt))) as server:
        yield server


@pytest.fixture
def recipe(tmp_path):
    pytest.importorskip("yaml")
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(settings(corpus(tmp_path))))  # JSON is YAML
    return str(path)


def run(*arguments, code=0):
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_a_run_its_report_and_what_is_made_of_it(tmp_path, server, recipe):
    out = tmp_path / "run"
    shown = run("run", recipe, "-o", out, "--llm", server.url).stdout
    assert f"samples: {out}/5_samples/small.jsonl" in shown
    assert "annotate" in shown
    assert "<svg" in (out / "report.html").read_text()
    samples = list(read_samples(out / "5_samples/small.jsonl"))
    found = json.loads(run("report", out, "--json").stdout)
    assert found["samples"]["small"]["samples"] == len(samples) > 0
    assert [stage["stage"] for stage in found["stages"]] == list(STAGES)
    (out / "report.html").unlink()
    assert f"open {out}/report.html" in run("report", out).stdout
    paid = server.paid.total()
    again = json.loads(run("run", recipe, "-o", out, "--llm", server.url, "--json").stdout)
    assert again["stages"]["samples"]["counts"]["written"] == len(samples)
    assert server.paid.total() == paid

    same = json.loads(run("agreement", out, out / "4_annotations.jsonl", "--json").stdout)
    assert (same["agreement"]["exact"], same["only_teacher"]) == (1.0, 0)
    first = json.loads((out / "4_annotations.jsonl").read_text().splitlines()[0])
    (tmp_path / "known.jsonl").write_text(json.dumps({"query": first["query"], "documents": [first["document"]]}))
    assert "AUC of the second" in run("agreement", out, out, "--positives", tmp_path / "known.jsonl").stdout
    chats = json.loads(run("distill", out, "-o", tmp_path / "sft.jsonl", "--all", "--json").stdout)
    rows = [json.loads(line) for line in (tmp_path / "sft.jsonl").read_text().splitlines()]
    assert chats["written"] == len(rows) > 0
    assert rows[0]["messages"][-1]["content"].endswith("</score>")


def test_stage_by_stage_gives_the_same_file(tmp_path, server, recipe):
    run("run", recipe, "-o", tmp_path / "whole", "--llm", server.url)
    for stage in STAGES:
        made = json.loads(run(stage, recipe, "-o", tmp_path / "steps", "--llm", server.url, "--json").stdout)
        assert list(made["stages"]) == [stage]
    whole, steps = (tmp_path / name / "5_samples/small.jsonl" for name in ("whole", "steps"))
    assert whole.read_bytes() == steps.read_bytes()


def test_a_stage_before_its_time_says_what_to_run(tmp_path, server, recipe):
    refused = run("annotate", recipe, "-o", tmp_path / "run", "--llm", server.url, code=1)
    assert "Fix: run" in str(refused.exception)


def test_a_changed_configuration_is_named_before_it_is_done(tmp_path, server, recipe, caplog):
    run("run", recipe, "-o", tmp_path / "run", "--llm", server.url)
    changed = settings(tmp_path / "docs.jsonl", samples={"positive": 4.0})
    (tmp_path / "small.yaml").write_text(json.dumps(changed))
    paid = server.paid.total()
    with caplog.at_level(logging.WARNING):
        run("run", recipe, "-o", tmp_path / "run", "--llm", server.url)
    assert "stage samples is made again (changed: samples.positive" in caplog.text
    assert "stage queries" not in caplog.text
    assert server.paid.total() == paid  # analyses of fewer queries: all in the cache


def test_estimate_as_a_table_and_as_json(tmp_path, server, recipe):
    shown = run("run", recipe, "-o", tmp_path / "a", "--llm", server.url, "--estimate", "--sample", "8").stdout
    assert "in all" in shown
    assert "for 30 sources, from 8" in " ".join(shown.split())
    made = json.loads(
        run("run", recipe, "-o", tmp_path / "a", "--llm", server.url, "--estimate", "--sample", "8", "--json").stdout
    )
    assert made["sources"] == 30
    assert made["total"]["requests"]["mean"] > 100


def test_without_a_language_model(tmp_path, recipe):
    refused = run("run", recipe, "-o", tmp_path / "run", code=1)
    assert "needs a language model" in str(refused.exception)


def test_the_manual_lists_every_key_with_its_default():
    yaml = pytest.importorskip("yaml")
    manual = (Path(__file__).parents[2] / "docs/synth.md").read_text("utf-8")
    smallest, whole = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", manual, re.DOTALL))
    assert parse_synth_config(smallest).llm.place == smallest["llm"]
    defaults = SynthConfig(name="remix", corpus=(Path("docs/"),))
    assert parse_synth_config(whole) == defaults
    for section, value in defaults.model_dump().items():
        assert section in whole
        if isinstance(value, dict):
            assert set(value) == set(whole[section]), section
