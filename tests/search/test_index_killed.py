"""kill -9 at every step of a build: the index opens as the old or the new one, and what was embedded is not embedded again."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

KILLED_EVERYWHERE = """
    import json, os, pathlib, shutil, signal, sys
    from tiny_embedder import Tiny
    import ctypes, reasonembed.corpus.readers.text, reasonembed.corpus.readers.markdown, reasonembed.corpus.readers.guarded
    from reasonembed.search import indexing
    from reasonembed.search.index import build_index, open_index

    os.fsync = lambda handle: None  # a killed process loses nothing that the system has; this saves half of the time
    base = pathlib.Path(sys.argv[1])
    docs, work, swap = base / "docs", base / "work", sys.argv[2] == "one step"
    index = work / "index"
    indexing.BLOCK = 2
    if not swap:
        import reasonembed.io.atomic as atomic
        atomic._exchange = lambda one, other: False

    def write(state):
        shutil.rmtree(docs, ignore_errors=True)
        docs.mkdir()
        for number in range(5):
            text = f"file {number} of state {state if number > 1 else 'any'}"
            (docs / f"{number}.txt").write_text(text)
        if state == "new":
            (docs / "0.txt").unlink()

    def content(folder):
        found = open_index(folder)
        rows = [(document.id, document.text) for document in found.texts()]
        vectors = Tiny().encode_corpus([text for _, text in rows])
        assert [found.searcher.search(v, 1)[0][0].id for v in vectors] == list(found.ids), "vectors of other texts"
        return found.fingerprint

    expected = {}
    for state in ("old", "new"):
        write(state)
        build_index([docs], base / state, Tiny())
        expected[state] = content(base / state)
    embedded = base / "embedded"

    class Counting(Tiny):
        def encode_corpus(self, texts):
            vectors = super().encode_corpus(texts)
            with embedded.open("a") as file:
                file.writelines(text + "\\n" for text in texts)
            return vectors

    def child(kill_at):
        process = os.fork()
        if process:
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        seen = 0

        def hook(event, arguments):
            nonlocal seen
            if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree") \\
                    and str(work) in str(arguments[0]) or event == "ctypes.dlsym":
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        build_index([docs], index, Counting())
        os._exit(0)

    kills, states = 0, []
    while True:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(base / "old", index)
        write("new")
        embedded.write_text("")
        if child(kills + 1) == 0:
            break  # the run ended before the step at which it should have been killed: all steps were tried
        kills += 1
        if swap:
            states.append(next(state for state, print in expected.items() if print == content(index)))
        before = embedded.read_text().splitlines()
        run = build_index([docs], index, Counting())["run"]
        after = embedded.read_text().splitlines()
        assert content(index) == expected["new"], kills
        again = len(after) - len(set(after))
        assert again <= indexing.BLOCK, (kills, before, after)
        assert sorted(path.name for path in work.iterdir()) == ["index"], (kills, sorted(work.iterdir()))
    print(kills, states.count("old"), states.count("new"))
"""


@pytest.mark.parametrize("swap", ["one step", "two renames"])
def test_killed_at_every_step(tmp_path, swap):
    """SIGKILL before every opening, renaming and removing of a file, then the run is started again.

    Where the system cannot swap folders in one step, the next run brings the old index back.
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED_EVERYWHERE), str(tmp_path), swap],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    kills, old, new = map(int, result.stdout.split())
    assert kills > 30
    if swap == "one step":
        assert old > 20
        assert new > 5
