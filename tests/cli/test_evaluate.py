"""`reasonembed eval` and `reasonembed compare` on tiny folders, with BM25 and a tiny model."""

from __future__ import annotations

import json
import logging

import pytest
from llm_server import Act, LlmServer
from typer.testing import CliRunner

from reasonembed.cli import app
from reasonembed.errors import DataError

WORDS = ["matrix", "eigenvalue", "theorem", "insect", "light", "group", "ring", "field", "prime", "graph"]


def _lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def beir(tmp_path):
    root = tmp_path / "words"
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text(
        _lines({"_id": word, "title": "", "text": f"All on the {word}."} for word in WORDS)
    )
    (root / "queries.jsonl").write_text(_lines({"_id": f"q-{word}", "text": f"Which {word}?"} for word in WORDS[:5]))
    (root / "qrels/test.tsv").write_text("".join(f"q-{word}\t{word}\t1\n" for word in WORDS[:5]))
    return root


@pytest.fixture
def bright(tmp_path):
    root = tmp_path / "bright_pony"
    root.mkdir()
    (root / "documents.jsonl").write_text(_lines({"id": word, "content": f"All on the {word}."} for word in WORDS))
    rows = [
        {
            "id": str(number),
            "query": f"Which {word}?",
            "gold_ids": [word],
            "gold_ids_long": ["N/A"],
            "excluded_ids": ["N/A"],
        }
        for number, word in enumerate(WORDS[:5])
    ]
    (root / "examples.jsonl").write_text(_lines(rows))
    return root


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "120"})


def test_beir_with_documents_expanded_by_questions(beir, tiny_qwen3, tmp_path):
    (tmp_path / "q.jsonl").write_text(_lines({"source": word, "text": f"Tell of the {word}."} for word in WORDS))
    command = ("eval", "beir", beir, "--model", tiny_qwen3, "--json")
    plain, moved = invoke(*command), invoke(*command, "--expansion", tmp_path / "q.jsonl")
    assert moved.exit_code == 0, moved.output
    facts, moved_by = (json.loads(moved.stdout)["results"][0]["made_by"][name] for name in ("expansion", "expanded_by"))
    assert (facts["texts"], facts["documents"], facts["unknown"]) == (10, 10, 0)
    assert "expansion" not in json.loads(plain.stdout)["results"][0]["made_by"]
    for system in (("--bm25", "lucene"), ("--pipeline", "hybrid", "--model", tiny_qwen3)):
        told = invoke("eval", "beir", beir, *system, "--json", "--expansion", tmp_path / "q.jsonl")
        assert told.exit_code == 0, told.output
        made_by = json.loads(told.stdout)["results"][0]["made_by"]
        assert (made_by["expansion"]["texts"], made_by["expanded_by"]) == (10, moved_by)
    own = tmp_path / "own.jsonl"
    own.write_text(_lines({"source": word, "text": f"Which {word}?"} for word in WORDS))
    refused = invoke("eval", "beir", beir, "--bm25", "lucene", "--expansion", own)
    assert "5 of 10 questions of the expansion are queries of words" in str(refused.exception)


def test_beir_with_bm25_writes_and_prints(beir, tmp_path):
    result = invoke("eval", "beir", beir, "--bm25", "lucene", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "beir/words" in result.stdout
    assert "100.00" in result.stdout
    assert (tmp_path / "out/beir/words.trec").is_file()
    assert json.loads((tmp_path / "out/beir/words.scores.json").read_text())["score"] == 1.0


def test_json_stands_alone_on_standard_output(beir):
    result = invoke("eval", "beir", beir, "--bm25", "bright", "--json", "--k", 3)
    value = json.loads(result.stdout)
    assert value["results"][0]["made_by"]["depth"] == 3
    assert "beir/words" in result.stderr


def thinker(asked):
    """The scripted model: the question's own word as its rewrite; for documents no score that can be read."""
    return Act(text="I cannot say." if "<score>" in asked.prompt else f"On the {asked.prompt.split('Which ')[1]}")


def test_a_pipeline_with_all_its_stages(beir, tmp_path):
    out = tmp_path / "out"
    command = ("eval", "beir", beir, "--pipeline", "hybrid-rewrite-rerank", "-o", out, "--sample", 3, "--seed", 7)
    with LlmServer(thinker) as server:
        result = invoke(*command, "--llm", server.url)
        assert result.exit_code == 0, result.output
        assert sum(server.asked.values()) == 3 * (2 + 10)
        again = invoke(*command, "--llm", server.url, "--json")
        assert sum(server.asked.values()) == 36, "read from the score file"
    assert "a sample of 3 of 5 queries, seed 7" in result.stdout
    assert "36 requests (0 from the cache, 0 failed)" in " ".join(result.stdout.split())
    assert "30 answers not readable" in " ".join(result.stdout.split())
    made = json.loads(again.stdout)["results"][0]["made_by"]
    assert made["sample"] == {"queries": 3, "of": 5, "seed": 7}
    assert made["pipeline"]["config"]["rerank"]["judge"]["depth"] == 10
    assert made["pipeline"]["rewriter"]["llm"]["model"] == "scripted"
    assert made["model"] == "hybrid-rewrite-rerank, reasonembed-mini"
    assert made["stages"]["judge"]["unparsed"] == 30
    assert made["stages"]["rewrite"]["completion_tokens"] > 0
    assert made["seconds_per_query"] > 0
    assert len(made["fingerprint"]) == 32
    assert (out / "beir/words-test-sample3-seed7.trec").is_file()
    assert "words (test-sample3-seed7)" in result.stdout


def test_cached_rewrites_instead_of_a_model(beir, tmp_path):
    rows = [{"id": f"q-{word}", "rewrites": [f"On the {word}.", "All."]} for word in WORDS[:5]]
    (tmp_path / "old.jsonl").write_text(_lines(rows))
    (tmp_path / "words.yaml").write_text("views: {bm25: {kind: bm25}}\n")
    command = ("eval", "beir", beir, "--pipeline", tmp_path / "words.yaml", "--json")
    result = invoke(*command, "--rewrites", tmp_path / "old.jsonl")
    assert result.exit_code == 0, result.output
    (value,) = json.loads(result.stdout)["results"]
    assert value["score"] == 1.0
    assert value["made_by"]["engine"] == "bm25s"
    assert value["made_by"]["pipeline"]["rewrites_file"]["digest"]
    assert value["made_by"]["pipeline"]["config"]["rewrite"] == {"file": str(tmp_path / "old.jsonl")}
    (tmp_path / "old.jsonl").write_text(_lines(rows[:3]))
    missing = invoke(*command, "--rewrites", tmp_path / "old.jsonl")
    assert isinstance(missing.exception, DataError)
    assert "q-light" in str(missing.exception)


def test_queries_file_and_split(beir, tmp_path):
    (beir / "qrels/test.tsv").rename(beir / "qrels/all.tsv")
    (tmp_path / "ids.txt").write_text("q-matrix\nq-light\n")
    result = invoke(
        "eval",
        "beir",
        beir,
        "--split",
        "all",
        "--queries-file",
        tmp_path / "ids.txt",
        "--bm25",
        "lucene",
        "--json",
    )
    (value,) = json.loads(result.stdout)["results"]
    assert value["made_by"]["queries"]["texts"] == 2
    assert value["split"] == "all"


def test_a_model_and_its_options(beir, tiny_qwen3):
    options = (
        "--model",
        tiny_qwen3,
        "--engine",
        "torch",
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "--max-length",
        16,
    )
    result = invoke("eval", "beir", beir, *options, "--instruction", "", "--no-cache", "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)["results"][0]["made_by"]
    assert (made["engine"], made["dtype"], made["document_max_length"], made["instruction"]) == (
        "torch",
        "float32",
        16,
        "",
    )


def test_bright_against_a_published_row(bright):
    result = invoke("eval", "bright", bright, "--bm25", "lucene", "--against", "paper", "--markdown")
    assert result.exit_code == 0, result.output
    assert "| bright/pony |" in result.stdout
    assert "| 7.9 | +92.1 |" in result.stdout
    missing = invoke("eval", "bright", bright, "--bm25", "lucene", "--against", "my-model")
    assert isinstance(missing.exception, DataError)


def test_an_interrupted_run_keeps_the_finished_tasks(tmp_path):
    for task, query in (("Biology", "Which drug?"), ("Bioinformatics", "")):
        folder = tmp_path / "R2MED" / task
        folder.mkdir(parents=True)
        (folder / "corpus.jsonl").write_text(_lines([{"id": "p", "text": "A drug."}, {"id": "r", "text": "A liver."}]))
        (folder / "query.jsonl").write_text(_lines([{"id": "q", "text": query}]))
        (folder / "qrels.jsonl").write_text(_lines([{"q_id": "q", "p_id": "p", "score": 1}]))
    result = invoke("eval", "r2med", tmp_path / "R2MED", "--bm25", "lucene", "-o", tmp_path / "out")
    assert isinstance(result.exception, DataError)
    assert "Bioinformatics" in str(result.exception)
    scores = tmp_path / "out/r2med/Biology.scores.json"
    before = scores.stat().st_mtime_ns
    (tmp_path / "R2MED/Bioinformatics/query.jsonl").write_text(_lines([{"id": "q", "text": "Which drug?"}]))
    again = invoke("eval", "r2med", tmp_path / "R2MED", "--bm25", "lucene", "-o", tmp_path / "out", "--json")
    assert [value["task"] for value in json.loads(again.stdout)["results"]] == [
        "r2med/Biology",
        "r2med/Bioinformatics",
    ]
    assert scores.stat().st_mtime_ns == before  # read, not made again
    one = invoke("eval", "r2med", tmp_path / "R2MED", "--tasks", "bioinformatics", "--bm25", "lucene", "--json")
    assert [value["task"] for value in json.loads(one.stdout)["results"]] == ["r2med/Bioinformatics"]


def test_empty_documents(beir, caplog):
    with (beir / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "void", "text": " "}\n')
    assert "corpus.jsonl:11: document 'void' is empty" in str(
        invoke("eval", "beir", beir, "--bm25", "lucene").exception
    )
    with caplog.at_level(logging.WARNING):
        assert invoke("eval", "beir", beir, "--bm25", "lucene", "--skip-empty").exit_code == 0
    assert "1 empty documents were left out" in caplog.text


def test_wrong_usage_has_exit_code_2(beir):
    assert invoke("eval", "beir", beir, "--bm25", "okapi").exit_code == 2
    assert invoke("eval", "beir", beir, "--bm25", "lucene", "--model", "x").exit_code == 2
    assert invoke("eval", "beir", beir, "--bm25", "lucene", "--pipeline", "hybrid").exit_code == 2
    assert invoke("eval", "beir", beir, "--llm", "http://localhost:1/v1").exit_code == 2
    assert invoke("eval", "beir").exit_code == 2


def test_compare(beir, tmp_path):
    for variant in ("lucene", "bright"):
        assert invoke("eval", "beir", beir, "--bm25", variant, "-o", tmp_path / variant).exit_code == 0
    table = invoke("compare", tmp_path / "lucene", tmp_path / "bright")
    assert table.exit_code == 0, table.output
    assert "beir/words" in table.stdout
    value = json.loads(invoke("compare", tmp_path / "lucene", tmp_path / "bright", "--json").stdout)
    assert value["names"] == ["bm25-lucene", "bm25-bright"]
    assert value["datasets"]["beir/words"]["n_queries"] == 5
    assert "| beir/words |" in invoke("compare", tmp_path / "lucene", tmp_path / "bright", "--markdown").stdout
    file = tmp_path / "lucene/beir/words.scores.json"
    assert json.loads(invoke("compare", file, file, "--metric", "recall@1", "--json").stdout)["metric"] == "recall@1"


@pytest.mark.parametrize("command", ["beir", "bright", "r2med"])
def test_help_has_an_example(command):
    assert f"reasonembed eval {command}" in " ".join(invoke("eval", command, "--help").stdout.split())
