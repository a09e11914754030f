"""`reasonembed index` and `reasonembed search` end to end, in processes of their own where imports matter."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
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
        (["index", str(tmp_path), "-o", str(tmp_path / "i")], DataError, r"corpus\.jsonl"),
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


HEAVY = {"torch", "transformers", "datasets", "scipy", "bm25s", "pytrec_eval", "pandas"}


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
