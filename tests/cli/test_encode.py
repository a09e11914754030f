"""`reasonembed encode`: shards, resuming, ranks, through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from reasonembed import Embedder
from reasonembed.cli import app
from reasonembed.errors import MismatchError
from reasonembed.io.shards import open_shards

runner = CliRunner()


@pytest.fixture
def docs(tmp_path):
    rows = [{"id": f"d{i}", "title": "Theorem", "text": f"number {i}"} for i in range(7)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "docs.jsonl"


def invoke(*arguments):
    result = runner.invoke(app, ["encode", *map(str, arguments), "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_two_ranks_and_a_second_run(docs, tmp_path):
    options = (docs, "-o", tmp_path / "out", "--shard-size", 3, "--world-size", 2)
    first = invoke(*options, "--rank", 0)
    assert (first["count"], first["encoded"], first["shards"], first["resumed"]) == (7, 4, 2, 0)
    assert invoke(*options, "--rank", 1)["encoded"] == 3
    assert invoke(*options, "--rank", 0)["encoded"] == 0
    vectors = np.concatenate([shard.vectors for shard in open_shards(tmp_path / "out", verify=True)])
    expected = Embedder().encode_corpus([f"Theorem number {i}" for i in range(7)])
    assert np.abs((vectors * expected).sum(axis=1) - 1).max() < 1e-5


def test_a_process_a_device(docs, tmp_path):
    report = invoke(docs, "-o", tmp_path / "out", "--shard-size", 3, "--device", "cpu, cpu")
    assert (report["encoded"], report["shards"], report["dim"]) == (7, 3, 384)
    assert report["model"]["model"] == Embedder().name
    invoke(docs, "-o", tmp_path / "alone", "--shard-size", 3, "--device", "cpu")
    for path in (tmp_path / "alone").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_other_settings_in_the_same_folder_are_refused(docs, tmp_path):
    invoke(docs, "-o", tmp_path / "out")
    result = runner.invoke(app, ["encode", str(docs), "-o", str(tmp_path / "out"), "--max-length", "16"])
    assert result.exit_code == 1
    with pytest.raises(MismatchError, match="model_fingerprint"):
        raise result.exception


def test_help_shows_an_example():
    for command in ("encode", "index", "search"):
        result = runner.invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert f"Example:  reasonembed {command}" in result.stdout
