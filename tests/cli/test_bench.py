"""`reasonembed bench` as a user runs it: a model that ships, a tiny one, ways that cannot run."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from reasonembed.cli.bench import bench
from reasonembed.errors import DataError, ModelError

app = typer.Typer()
app.command()(bench)
runner = CliRunner()


def invoke(*arguments):
    result = runner.invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_json_alone_on_standard_output_and_figures_that_fit_together():
    printed = invoke("-n", 5, "--rounds", 3, "--max-length", 16, "--run", "openvino:float32")
    (row,) = printed["results"]
    assert (printed["texts"], printed["source"], row["engine"], row["dtype"]) == (5, "TheoremQA", "openvino", "float32")
    assert row["seconds"] == sorted(row["runs"])[1]
    assert row["texts_per_s"] == pytest.approx(5 / row["seconds"])
    assert row["tokens_per_s"] == pytest.approx(5 * 16 / row["seconds"])  # every theorem is longer than 16 tokens
    assert row["lowest_cosine"] == pytest.approx(1, abs=1e-6)
    assert 50 < row["peak_mb"] < 4000


def test_texts_from_a_file_and_a_way_that_cannot_run(tiny_qwen3, tmp_path):
    docs = tmp_path / "docs.jsonl"
    docs.write_text("".join(json.dumps({"id": str(i), "text": f"eigenvalue {i}"}) + "\n" for i in range(4)))
    printed = invoke(
        "-m", tiny_qwen3, "--texts", docs, "-n", 3, "--rounds", 1, "--run", "openvino:float32", "--run", "torch:float32"
    )
    missing, ran = printed["results"]
    assert printed["texts"] == 3
    assert "no OpenVINO graph" in missing["problem"]
    assert ran["problem"] == ""
    assert ran["lowest_cosine"] == pytest.approx(1, abs=1e-6)


def test_nothing_that_runs_is_exit_code_1(tiny_qwen3):
    result = runner.invoke(app, ["-m", str(tiny_qwen3), "-n", "2", "--run", "openvino:float32"])
    assert result.exit_code == 1
    assert "no OpenVINO graph" in result.stderr


def test_a_wrong_way_or_number_is_refused_before_anything_runs():
    for arguments, error in (
        (["--run", "torch:int3"], ModelError),
        (["--run", "tensorflow:float32"], ModelError),
        (["-n", "100000"], DataError),
    ):
        with pytest.raises(error, match="Fix"):
            raise runner.invoke(app, arguments).exception


def test_the_table_and_the_help():
    result = runner.invoke(app, ["-n", "2", "--rounds", "1", "--run", "openvino:float32"])
    assert result.exit_code == 0, result.output
    assert "openvino float32 cpu" in result.stdout
    assert "tokens/s" in result.stdout
    assert "Example:  reasonembed bench" in runner.invoke(app, ["--help"]).stdout
