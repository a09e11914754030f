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


def test_files_that_cannot_be_read_are_refused_clearly(tmp_path):
    (tmp_path / "paper.pdf").write_bytes(b"%PDF")
    (tmp_path / "photo.png").write_bytes(b"png")
    for name, message in (("paper.pdf", "cannot be read"), ("photo.png", r"files of kind '\.png' cannot be read")):
        result = runner.invoke(app, ["index", str(tmp_path / name), "-o", str(tmp_path / "index")])
        assert result.exit_code == 1
        with pytest.raises(DataError, match=message):
            raise result.exception
    assert not (tmp_path / "index").exists()


@pytest.fixture
def folder(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    text = "A code with minimum distance d corrects every pattern of fewer than d half errors. "
    (docs / "code.md").write_text(f"# Codes\n\n{text}\n\n## Bounds\n\nNo code exceeds the Singleton bound.\n")
    (docs / "again.md").write_text(f"# Codes\n\n{text}\n")
    (docs / "page.html").write_text("<html><body><h1>Rain</h1><p>Rain falls when clouds cool.</p></body></html>")
    for name in ("a", "b", "c", "d"):
        (docs / f"{name}.png").write_bytes(b"png")
    return docs


def test_a_folder_is_read_reported_and_brought_up_to_date(folder, tmp_path):
    out = tmp_path / "index"
    result = runner.invoke(app, ["index", str(folder), "-o", str(out)])
    assert result.exit_code == 0, (result.output, result.exception)
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{out}: 3 documents, 384 dimensions")
    assert lines[1].startswith("3 files read, 0 unchanged, 0 gone; 3 passages embedded")
    assert [line.split()[:5] for line in lines[2:4]] == [
        ["markdown", "2", "files", "3", "passages"],
        ["html", "1", "files", "1", "passages"],
    ]
    assert lines[4] == f"Left out (all in {out / 'report.json'}):"
    assert "docs/a.png, docs/b.png, docs/c.png, ..." in lines[5]
    assert lines[5].split()[0] == "4"
    assert "near-duplicate of an earlier passage: docs/code.md#L3 (as docs/again.md#L3)" in lines[6]
    found = json.loads(runner.invoke(app, ["search", str(out), "rain", "-k", "1", "--json"]).stdout)["hits"][0]
    assert (found["id"].split("#")[0], found["title"]) == ("docs/page.html", "Rain")
    (folder / "new.txt").write_text("A lemma is a small theorem.")
    (folder / "again.md").unlink()
    result = runner.invoke(app, ["index", str(folder), "-o", str(out), "--json"])
    report = json.loads(result.stdout)
    assert report["run"] | {"seconds": 0} == {
        "changed": True, "files_read": 1, "files_unchanged": 2, "files_removed": 1, "passages_embedded": 1, "rebuilt": None,
        "seconds": 0,
    }  # fmt: skip
    assert (report["count"], report["duplicates"]) == (4, [])
    assert {"place", "reason"} == report["skipped"][0].keys()
    assert len(report["skipped"]) == 4


def test_limit_and_full(folder, tmp_path):
    (folder / "long.txt").write_text(
        "A theorem follows from its axioms. " * 5 + "So does each of its consequences. " * 5
    )
    out = str(tmp_path / "index")
    result = runner.invoke(app, ["index", str(folder), "-o", out, "--max-tokens", "24", "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    small = json.loads(result.stdout)
    assert small["max_tokens"] == 24
    assert small["count"] > 5
    result = runner.invoke(app, ["index", str(folder), "-o", out])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "everything was read again: changed: max_tokens" in result.stderr
    result = runner.invoke(app, ["index", str(folder), "-o", out, "--full", "--json"])
    report = json.loads(result.stdout)
    assert (report["count"], report["run"]["passages_embedded"], report["max_tokens"]) == (4, 4, 256)
    assert "--full" in result.stderr
    result = runner.invoke(app, ["index", str(folder), "-o", out, "--max-tokens", "9999"])
    assert "max_tokens is 9999" in str(result.exception)


def test_documents_are_expanded_by_questions(tmp_path, tiny_qwen3):
    words = ("apple", "river", "engine")
    rows = "".join(json.dumps({"id": word, "text": f"All about the {word}."}) + "\n" for word in words)
    (tmp_path / "docs.jsonl").write_text(rows)
    asked = [{"source": word, "text": f"Where is one {word}?"} for word in (*words[:2], "gone")]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    command = ["index", str(tmp_path / "docs.jsonl"), "-o", str(tmp_path / "index"), "-m", str(tiny_qwen3)]
    made = runner.invoke(app, [*command, "--expansion", str(tmp_path / "q.jsonl")])
    assert made.exit_code == 0, made.output
    said = "expanded by 2 questions of 2 documents; 1 are of documents that are not there"
    assert said in made.output
    assert said in runner.invoke(app, command).output  # they are kept
    assert "expanded by" not in runner.invoke(app, [*command, "--full"]).output
    manifest = json.loads((tmp_path / "index/index.json").read_text())
    manifest.pop("expansion")  # as an earlier version wrote it
    (tmp_path / "index/index.json").write_text(json.dumps(manifest))
    again = runner.invoke(app, command)
    assert again.exit_code == 0, again.output
    assert "1 unchanged" in again.output
    (tmp_path / "q.jsonl").write_text('{"source": "apple"}\n')
    refused = runner.invoke(app, [*command, "--expansion", str(tmp_path / "q.jsonl")])
    assert "q.jsonl:1: field 'text' is missing" in str(refused.exception)
