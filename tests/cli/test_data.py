"""`reasonembed data`: what each command says, writes and answers as exit code."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from reasonembed.cli.data import app
from reasonembed.dataset.samples import read_samples
from reasonembed.errors import DataError

runner = CliRunner()
GOOD = {"query": "What is the rank of a matrix?", "pos": ["Rank."], "neg": ["Rain."], "pos_scores": [4.0]}


def put(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(*arguments, code=0):
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_check_names_every_wrong_line(tmp_path):
    good = put(tmp_path / "good.jsonl", GOOD, {**GOOD, "id": 7})
    result = run("check", good)
    assert "2 samples are good, 0 lines are not" in result.stdout
    assert "id (1)" in result.stdout
    bad = put(
        tmp_path / "bad.jsonl", {"query": "q", "pos": "text", "neg": []}, GOOD, {"query": "", "pos": ["a"], "neg": []}
    )
    found = json.loads(run("check", good, bad, "--json", code=1).stdout)
    assert found["samples"] == 3
    assert [problem.split(": ")[0] for problem in found["problems"]] == [f"{bad}:1", f"{bad}:3"]


def test_check_goes_on_after_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "a.jsonl").write_text("{broken\n")
    put(tmp_path / "b.jsonl", GOOD)
    found = json.loads(run("check", tmp_path, "--json", code=1).stdout)
    assert found["samples"] == 1
    assert "a.jsonl:1: broken JSON" in found["problems"][0]


def test_stats_as_a_table_and_as_json(tmp_path):
    put(tmp_path / "biology-formatted.jsonl", GOOD, GOOD)
    found = json.loads(run("stats", tmp_path, "--json").stdout)["files"]
    (values,) = found.values()
    assert (values["name"], values["samples"], values["repeated_queries"]) == ("biology", 2, 1)
    assert values["scores"] == {"4": 2}
    shown = run("stats", tmp_path).stdout
    assert "biology" in shown
    assert "repeated queries" in shown


def test_leaks_are_named_and_taken_out(tmp_path):
    samples = put(tmp_path / "in/a.jsonl", GOOD, {**GOOD, "query": "Why does it rain?"})
    test = put(tmp_path / "test.jsonl", {"query": "what is the RANK of a matrix"}, {"query": "Who?"})
    shown = run("leaks", samples, "--against", test, code=1).stdout
    assert f"{samples}:1: query normalised 1.00 test.jsonl line 1" in shown
    found = json.loads(run("leaks", samples, "-a", test, "-o", tmp_path / "out", "--json").stdout)
    assert (found["test_texts"], found["kept"], len(found["leaks"])) == (2, 1, 1)
    assert (found["leaks"][0]["line"], found["leaks"][0]["kind"]) == (1, "normalised")
    assert [sample.query for sample in read_samples(tmp_path / "out/a.jsonl")] == ["Why does it rain?"]
    assert "0 leaks of 2 test texts; 1 samples stay" in run("leaks", tmp_path / "out", "-a", test).stdout


def test_inputs_are_never_replaced(tmp_path):
    samples = put(tmp_path / "a.jsonl", GOOD)
    test = put(tmp_path / "t/test.jsonl", {"query": "Who?"})
    for arguments in (("leaks", samples, "-a", test, "-o", tmp_path), ("convert", samples, "-o", samples)):
        with pytest.raises(DataError, match="would replace its own input"):
            raise run(*arguments, code=1).exception


def test_convert_there_and_back(tmp_path):
    samples = put(tmp_path / "a.jsonl", GOOD)
    assert "1 rows" in run("convert", samples, "-o", tmp_path / "t.jsonl", "--to", "triplets").stdout
    back = json.loads(
        run("convert", tmp_path / "t.jsonl", "-o", tmp_path / "b.jsonl", "--from", "triplets", "--json").stdout
    )
    assert back["written"] == 1
    (sample,) = read_samples(tmp_path / "b.jsonl")
    assert (sample.query, sample.pos, sample.neg) == (GOOD["query"], ("Rank.",), ("Rain.",))
    run("convert", samples, "-o", tmp_path / "beir", "--to", "beir")
    assert sorted(path.name for path in (tmp_path / "beir").iterdir()) == ["corpus.jsonl", "qrels", "queries.jsonl"]
