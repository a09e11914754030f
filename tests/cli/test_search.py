"""`reasonembed index` and `reasonembed search` end to end, in processes of their own where imports matter."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from llm_server import Act, LlmServer
from typer.testing import CliRunner

from reasonembed.cli import app
from reasonembed.errors import DataError, ModelError

ROWS = [
    {
        "id": "code",
        "title": "Linear [bold]code",
        "text": "A code of minimum distance d corrects (d-1)/2 errors. " * 20,
    },
    {"id": "eigen", "text": "An eigenvector keeps its direction under a matrix."},
    {"id": "rain", "text": "Rain falls when\n\n clouds \x1b]0;cool."},
]
runner = CliRunner()


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    result = runner.invoke(app, ["index", str(folder / "docs.jsonl"), "-o", str(folder / "index")])
    assert result.exit_code == 0, result.output
    assert "3 documents" in result.stdout
    return folder / "index"


def test_json_is_alone_on_standard_output(index):
    result = runner.invoke(app, ["search", str(index), "errors of a code", "-k", "2", "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2]
    assert answer["hits"][0]["id"] == "code"
    assert answer["hits"][0]["text"] == ROWS[0]["text"]
    assert answer["model"]["engine"] == "openvino"
    assert answer["question"] == "errors of a code"


def test_text_output_is_short_and_fits_the_terminal(index):
    result = runner.invoke(app, ["search", str(index), "errors of a code"], env={"COLUMNS": "60"})
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert all(len(line) <= 60 and line == line.rstrip() for line in lines)
    assert lines[0].startswith("  1  0.")
    assert "code  Linear [bold]code" in lines[0]
    assert result.stdout.count("A code of minimum") < 6, "a text of 1,000 characters is cut near 200"
    assert "…" in result.stdout
    assert "Rain falls when clouds ]0;cool." in result.stdout
    assert "\x1b" not in result.stdout, "no document may send control codes to the terminal"


def test_instruction_changes_the_scores(index):
    def best(*more):
        result = runner.invoke(app, ["search", str(index), "errors of a code", "-k", "1", "--json", *more])
        return json.loads(result.stdout)["hits"][0]["score"]

    assert best() != best("--instruction", "Find poems about the sea")


def test_errors_name_the_fix(index, tmp_path):
    for arguments, error, message in (
        (["search", str(tmp_path / "none"), "x"], DataError, "reasonembed index"),
        (["search", str(index), " "], DataError, "question 0 is empty"),
    ):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 1
        assert isinstance(result.exception, error)
        with pytest.raises(error, match=message):
            raise result.exception
    assert runner.invoke(app, ["search", str(index)]).exit_code == 2
    assert runner.invoke(app, ["search", str(index), "x", "-k", "0"]).exit_code == 2


def test_another_model_is_refused(index, tiny_qwen3):
    result = runner.invoke(app, ["search", str(index), "x", "--model", str(tiny_qwen3)])
    assert result.exit_code == 1
    with pytest.raises(ModelError, match="openvino"):
        raise result.exception


def test_main_prints_one_line_and_leaves_with_1(tmp_path):
    code = "import sys; from reasonembed.cli import main; sys.argv[1:] = ['search', sys.argv[1], 'x']; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "none")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def thinker(asked):
    """The scripted model: a rewrite of the question, or a score and a reason for a document."""
    if "<score>" not in asked.prompt:
        return Act(text="<think>An eigenvector keeps its direction.</think><response>eigenvector matrix</response>")
    score = 90 if "eigenvector keeps" in asked.prompt.split("[begin of document]")[1] else 10
    return Act(text=f"It is about [b]{score}[/b] things. \x1b]0; <score>{score}</score>")


def test_all_stages_by_flags_and_why(index):
    flags = ("--hybrid", "--rewrite", "--rerank", "--explain")
    with LlmServer(thinker) as server:
        command = ["search", str(index), "vectors that keep their way", *flags, "--llm", server.url]
        result = runner.invoke(app, command, env={"COLUMNS": "80"})
        assert result.exit_code == 0, result.output
        asked = sum(server.asked.values())
        answer = json.loads(runner.invoke(app, [*command, "--json"]).stdout)
        assert sum(server.asked.values()) == asked, "the second time everything comes from the cache"
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines), result.stdout
    rewrite = "rewrite 1: vectors that keep their way An eigenvector keeps its direction. eigenvector matrix"
    assert rewrite in " ".join(result.stdout.split())
    assert "\x1b" not in result.stdout
    best = next(line for line in lines if line.startswith("  1  "))
    assert "eigen" in best
    for word in ("dense", "bm25", "hybrid", "judge", "was #", "[b]90[/b] things", "tokens in", "seconds"):
        assert word in result.stdout, word
    first = answer["hits"][0]
    assert first["id"] == "eigen"
    assert first["lists"]["bm25"]["rank"] == 1
    assert first["rerank"]["judge"]["score"] == 90
    assert first["rerank"]["judge"]["before"] == first["lists"]["hybrid"]["rank"]
    assert len(answer["rewrites"]) == 2
    assert answer["stages"]["judge"]["requests"] == answer["stages"]["judge"]["cached"] == 3
    assert answer["pipeline"]["config"]["rewrite"]["n"] == 2
    assert answer["model"]["engine"] == "openvino"
    assert (index / "bm25-bright/bm25.json").is_file()


def test_a_pipeline_of_ones_own_equals_the_flags(index, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "views: {dense: {kind: dense}, bm25: {kind: bm25}}\nfusion: {method: rrf}\nk: 2\n"
    )
    command = ["search", str(index), "errors of a code", "--json", "--pipeline"]
    answer = json.loads(runner.invoke(app, [*command, str(tmp_path / "mine.yaml")]).stdout)
    assert [hit["id"] for hit in answer["hits"]] == ["code", answer["hits"][1]["id"]]
    assert answer["hits"][0]["score"] == pytest.approx(1 / 61)
    assert answer["pipeline"]["name"] == "mine"
    by_name = json.loads(runner.invoke(app, [*command, "hybrid"]).stdout)
    by_flag = json.loads(runner.invoke(app, [*command[:-1], "--hybrid"]).stdout)
    assert by_name["hits"] == by_flag["hits"]
    assert len(by_name["hits"]) == 3


def test_words_alone_open_no_model(index, tmp_path):
    (tmp_path / "words.yaml").write_text("views: {bm25: {kind: bm25, variant: bright}}\n")
    command = ["search", str(index), "errors of a code", "--pipeline", str(tmp_path / "words.yaml")]
    answer = json.loads(runner.invoke(app, [*command, "--json", "-m", str(tmp_path / "nowhere")]).stdout)
    assert answer["hits"][0]["id"] == "code"
    assert answer["model"] is None
    shown = runner.invoke(app, [*command, "-k", "1"]).stdout
    assert shown.startswith("  1  ")
    assert "code  Linear" in shown


def test_wrong_usage_of_stages_has_exit_code_2(index):
    for arguments in (
        ["--rewrite"], ["--rerank"], ["--llm", "http://localhost:1/v1"], ["--pipeline", "hybrid", "--hybrid"],
    ):  # fmt: skip
        assert runner.invoke(app, ["search", str(index), "x", *arguments]).exit_code == 2, arguments
    missing = runner.invoke(app, ["search", str(index), "x", "--pipeline", "bge-reasoner"])
    with pytest.raises(DataError, match="add --llm"):
        raise missing.exception


HEAVY = {"torch", "transformers", "datasets", "scipy", "bm25s", "pytrec_eval", "pandas", "yaml", "openai"}


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], HEAVY | {"openvino", "numpy", "tokenizers"}),
        (["search", "INDEX", "eigenvalue", "--json"], HEAVY),
    ],
)
def test_no_heavy_import(index, arguments, forbidden):
    code = """
import sys
from reasonembed.cli import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print("MODULES", *sorted({name.partition(".")[0] for name in sys.modules}))
"""
    arguments = [str(index) if argument == "INDEX" else argument for argument in arguments]
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    modules = set(result.stdout.rpartition("MODULES")[2].split())
    assert "typer" in modules
    assert not modules & forbidden
