"""`reasonembed adapt`: an estimate, a run, and what it says; over real HTTP with a tiny model."""

from __future__ import annotations

import json

import pytest
from adaptation_small import SYNTH, documents, pairs
from llm_server import Act, LlmServer
from synth_small import corpus, play
from typer.testing import CliRunner

from reasonembed.cli import app

runner = CliRunner()
QUICK = {"train.batch.queries": 8, "train.batch.group": 4, "train.dtype": "float32", "train.optimiser.steps": 2}


def run(*arguments, code=0):
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def changes(values):
    return [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def test_an_estimate_then_the_run(tmp_path, tiny):
    docs = corpus(tmp_path / "docs", 150, words=30).parent
    told = changes({**QUICK, **{f"synth.{key}": value for key, value in SYNTH.items()}, "synth.sources.n": 40})
    with LlmServer(lambda asked: Act(text=play(asked.prompt))) as server:
        base = ("adapt", docs, "-o", tmp_path / "run", "--model", tiny("bert"), "--llm", server.url, *told)
        made = json.loads(run(*base, "--estimate", "--json").stdout)
        sample = sum(server.paid.values())
        shown = run(*base, "--estimate").stdout
        assert sum(server.paid.values()) == sample
        done = run(*base)
        paid = sum(server.paid.values())
        again = json.loads(run(*base, "--json").stdout)
    assert made["sources"]["train"] == 40
    assert made["rows"][-1]["requests"] > sample
    assert "held-out questions" in shown
    assert "150 passages: train " in shown.replace("\n", " ")
    assert "sources: no budget was named" in done.stderr
    assert "training: done in" in done.stderr
    first, *places = done.stdout.splitlines()
    assert first == again["sentence"]
    assert places[-1] == f"report: {tmp_path}/run/report.html"
    assert again["report"] == f"{tmp_path}/run/report.html"
    assert isinstance(again["better"], bool)
    assert sum(server.paid.values()) == paid
    steps = json.loads((tmp_path / "run/manifest.json").read_text())["steps"]
    assert (
        steps["synth"]["requests"] + steps["heldout"]["requests"] == paid
    )  # what the sample asked was not asked again


def test_pairs_alone(tmp_path, tiny):
    docs, table = documents(tmp_path / "docs"), pairs(tmp_path / "pairs.csv")
    made = json.loads(
        run(
            "adapt",
            docs,
            "-o",
            tmp_path / "run",
            "-m",
            tiny("bert"),
            "--pairs",
            table,
            *changes(QUICK),
            "--seed",
            7,
            "--json",
        ).stdout
    )
    assert made["sentence"]
    assert json.loads((tmp_path / "run/training/manifest.json").read_text())["settings"]["seed"] == 7


@pytest.mark.parametrize(("arguments", "said"), [
    ((), "nothing to learn from"),
    (("--llm", "http://x/v1", "--hours", "1", "--budget-requests", "500"), "either `budget_requests` or `hours`"),
    (("--llm", "http://x/v1", "--set", "batch.group=4"), "is no synth.KEY=VALUE or train.KEY=VALUE"),
    (("--pairs", "missing.csv"), "no such file"),
])  # fmt: skip
def test_what_is_refused(tmp_path, arguments, said):
    refused = run("adapt", documents(tmp_path / "docs"), "-o", tmp_path / "run", *arguments, code=1)
    assert said in str(refused.exception)
    assert not (tmp_path / "run").exists()
