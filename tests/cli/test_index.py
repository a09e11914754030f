"""`reasonembed index`: what it writes and what it refuses."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from reasonembed.cli import app
from reasonembed.errors import DataError
from reasonembed.search.index import open_index

runner = CliRunner()


def test_beir_folder_and_file_together_as_json(tmp_path):
    (tmp_path / "beir").mkdir()
    (tmp_path / "beir/corpus.jsonl").write_text('{"_id": "a", "title": "T", "text": "a theorem"}\n')
    (tmp_path / "more.jsonl").write_text('{"id": "b", "text": "a lemma"}\n{"id": "c", "text": ""}\n')
    inputs = [str(tmp_path / "beir"), str(tmp_path / "more.jsonl")]
    out = str(tmp_path / "index")
    refused = runner.invoke(app, ["index", *inputs, "-o", out])
    assert refused.exit_code == 1
    assert "more.jsonl:2: document 'c' is empty" in str(refused.exception)
    result = runner.invoke(app, ["index", *inputs, "-o", out, "--skip-empty", "--max-length", "32", "--json"])
    assert result.exit_code == 0, result.output
    manifest = json.loads(result.stdout)
    assert (manifest["count"], manifest["n_empty"]) == (2, 1)
    assert manifest["model"]["document_max_length"] == 32
    opened = open_index(out)
    assert opened.search("theorem", 1)[0].document.id == "a"
    assert opened.embedder.checkpoint.document_max_length == 32


def test_another_model_by_relative_path(tmp_path, tiny_qwen3, monkeypatch):
    (tmp_path / "docs.jsonl").write_text('{"id": "a", "text": "a theorem"}\n{"id": "b", "text": "rain"}\n')
    monkeypatch.chdir(tiny_qwen3.parent)
    arguments = ["index", str(tmp_path / "docs.jsonl"), "-o", str(tmp_path / "index"), "-m", tiny_qwen3.name]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["search", "index", "a theorem", "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert {hit["id"] for hit in json.loads(result.stdout)["hits"]} == {"a", "b"}


def test_other_kinds_of_files_are_refused_clearly(tmp_path):
    (tmp_path / "paper.pdf").write_bytes(b"%PDF")
    result = runner.invoke(app, ["index", str(tmp_path / "paper.pdf"), "-o", str(tmp_path / "index")])
    assert result.exit_code == 1
    with pytest.raises(DataError, match="cannot be read yet"):
        raise result.exception
    assert not (tmp_path / "index").exists()
