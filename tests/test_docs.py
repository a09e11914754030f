"""What README.md and docs/ show is right: Python snippets run, command lines parse, the pages build without a broken link.

The snippets run as they stand, in a folder that has the files they name. `INSTEAD` names what is put in the place of servers and
large models, `NOT_RUN` what cannot be run here and why.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import yaml
from llm_server import Act, LlmServer
from synth_small import corpus, play
from training_small import write_samples

from reasonembed import Embedder
from reasonembed.cli import app
from reasonembed.search.index import build_index

UsageError = typer.BadParameter.__base__  # of the click that typer brings
ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# In place of the names on the left a snippet gets: the folder of a tiny random model, or the address of a scripted server.
INSTEAD = {
    "hanhainebula/reason-embed-qwen3-8b-0928": "MODEL",
    "sentence-transformers/all-MiniLM-L6-v2": "MODEL",
    "http://localhost:8000/v1": "SERVER",
    "model.gguf": "SERVER",
}
# Words of a snippet -> why it is only compiled.
NOT_RUN = {
    "from reasonembed import adapt": "wants more documents than the folder has; tests/adaptation/test_run.py runs it",
    "mteb.get_tasks(": "reads BRIGHT from the hub; tests/test_mteb.py runs a task of local files through the same calls",
}


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def fences(page: Path) -> list[Fence]:
    text = page.read_text("utf-8")
    found = re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [Fence(page, text.count("\n", 0, match.start()) + 2, match[1], match[2]) for match in found]


FENCES = [fence for page in PAGES for fence in fences(page)]
SNIPPETS = [fence for fence in FENCES if fence.language == "python"]


# --- Python ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    with LlmServer(lambda asked: Act(text=play(asked.prompt)), models=("Qwen/Qwen3-8B",)) as running:
        yield running


@pytest.fixture(scope="module")
def world(tiny_qwen3, server, tmp_path_factory):
    """A folder with the files that the snippets name."""
    folder = tmp_path_factory.mktemp("world")
    corpus(folder / "docs", 12)
    (folder / "docs" / "apples.md").write_text("# Apples\n\nCut apples turn brown: polyphenol oxidase meets air.\n")
    for name in ("run/5_samples", "samples", "stacks"):
        (folder / name).mkdir(parents=True)
    write_samples(folder / "run/5_samples/theoremqa.jsonl")
    write_samples(folder / "samples/words.jsonl", 64)
    (folder / "questions.txt").write_text("What is an eigenvector?\nWhat is a code?\n")
    queries = "".join(json.dumps({"_id": f"{chapter}-0001", "text": "?"}) + "\n" for chapter in "abcdefghij")
    (folder / "stacks/queries.jsonl.gz").write_bytes(gzip.compress(queries.encode()))
    build_index([folder / "docs"], folder / "index", Embedder())
    Embedder(tiny_qwen3, dtype="float32", query_format="Instruct: {}\nQuery: {}").save(folder / "my-model")
    for page, name in (("synth.md", "remix.yaml"), ("train.md", "mine.yaml")):  # the smallest configuration of each
        smallest = next(fence for fence in FENCES if fence.page.name == page and fence.language == "yaml")
        (folder / name).write_text(replaced(smallest.text, folder, server))
    return folder


def replaced(text: str, folder: Path, server: LlmServer) -> str:
    places = {"MODEL": str(folder / "my-model"), "SERVER": server.url}
    for name, place in INSTEAD.items():
        text = text.replace(name, places[place])
    return text


def given(page: Path) -> dict[str, object]:
    """What the short snippets of the README take from the scripts in examples/ that they point to."""
    if page.name != "README.md":
        return {}
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["Find the eigenvalues.", "What is a code?"]
    return {
        "torch": torch,
        "tokenizer": AutoTokenizer.from_pretrained("my-model", padding_side="left"),
        "model": AutoModel.from_pretrained("my-model"),
        "instruction": "Find the theorem.",
        **dict.fromkeys(("queries", "documents", "texts"), texts),
    }


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_python_snippets_run(snippet, world, server, tmp_path, monkeypatch):
    code = compile(replaced(snippet.text, world, server), str(snippet), "exec")
    if any(words in snippet.text for words in NOT_RUN):
        return
    here = shutil.copytree(world, tmp_path / "here")
    monkeypatch.chdir(here)
    exec(code, {"__name__": "snippet", **given(snippet.page)})


def test_what_is_not_run_is_there():
    for words in NOT_RUN:
        assert any(words in snippet.text for snippet in SNIPPETS), words


# --- command lines ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A command line of a page; `whole` if it could be typed as it stands, else a command named in a sentence."""

    page: str
    line: int
    text: str
    whole: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def command_lines(page: Path) -> list[Line]:
    lines = []
    for fence in fences(page):
        if fence.language in ("", "bash", "console", "sh", "shell"):
            joined = re.sub(r"\\\n", lambda _: "  ", fence.text)
            found = re.findall(r"^(?:\$ |torchrun .*|accelerate launch .*)?reasonembed (.*)", joined, re.MULTILINE)
            # "[OPTIONS]" is typer's own usage line in docs/cli.md.
            lines += [Line(page.name, fence.line, text, whole=True) for text in found if "[OPTIONS]" not in text]
    for number, text in enumerate(page.read_text("utf-8").splitlines(), 1):
        lines += [Line(page.name, number, found, whole=False) for found in re.findall(r"`reasonembed ([^`]+)`", text)]
        if example := re.match(r"Example:\s+reasonembed (.*)", text):
            lines.append(Line(page.name, number, html.unescape(example[1]), whole=True))
    return lines


def check(line: Line) -> None:
    """Fails unless the command and its options exist; of a whole line also arguments and the form of every value."""
    command, arguments = typer.main.get_command(app), shlex.split(line.text, comments=True)
    while isinstance(command, typer.core.TyperGroup) and arguments and not arguments[0].startswith("-"):
        assert arguments[0] in command.commands, f"no command {arguments[0]!r} in: reasonembed {line.text}"
        command, arguments = command.commands[arguments[0]], arguments[1:]
    if line.whole:
        try:
            command.make_context("reasonembed", arguments)
        except UsageError as error:
            pytest.fail(f"reasonembed {line.text}: {error.format_message()}")
        return
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in arguments if re.match(r"--?\w", word) and word.partition("=")[0] not in known]
    assert not unknown, f"no option {unknown} in: reasonembed {line.text}"


LINES = [line for page in PAGES for line in command_lines(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_are_known(page):
    for line in LINES:
        if line.page == page.name:
            check(line)


def test_every_command_is_shown():
    """The README or a page other than the generated reference shows every command; so the lines above are found at all."""
    shown = {line.text.split()[0] for line in LINES if line.page != "cli.md"}
    assert set(typer.main.get_command(app).commands) <= shown


WRONG = (
    "serch index/ 'what'",
    "search index/ 'what' --hybird",
    "search index/ 'what' -k many",
    "index docs/",
    "search index/ 'what' 'more'",
)


@pytest.mark.parametrize("text", WRONG)
def test_wrong_command_lines_are_found(text):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(Line("page", 1, text, whole=True))


# --- pages ------------------------------------------------------------------------------------------------------------------


def test_every_page_has_its_place():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    listed = [page for entry in settings["nav"] for page in entry.values()]
    assert sorted(listed) == [page.name for page in PAGES[1:]], "list the pages of docs/ in mkdocs.yml"


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_pages_build_and_a_broken_link_is_found(tmp_path):
    pytest.importorskip("zensical", reason="zensical is not installed: pip install 'reasonembed[dev]'")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    done = build(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<h1" in (tmp_path / "site/index.html").read_text("utf-8")
    (tmp_path / "docs/llm.md").write_text("# Models\n\nSee [nothing](nothing.md).\n")
    assert build(tmp_path).returncode
