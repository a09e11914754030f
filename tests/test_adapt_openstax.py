"""Books as folders of Markdown for `scripts/adapt_openstax.py`, read back as an index reads them."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from adapt_openstax import judge, pairs, write

from reasonembed.adaptation.pairs import read_pairs
from reasonembed.io.manifest import read_json, write_json
from reasonembed.types import Document


@pytest.fixture
def data(tmp_path):
    rows = [
        {"title": "Preface", "text": "Welcome.", "book": "stars", "module": "stars/m1"},
        {"title": "Light - Waves", "text": "Waves travel.", "book": "stars", "module": "stars/m2"},
        {"title": "Light - Waves", "text": "They interfere.", "book": "stars", "module": "stars/m2"},
        {"title": "Cells", "text": "Cells divide.", "book": "life", "module": "life/m3"},
    ]
    with gzip.open(tmp_path / "passages.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_module_is_a_file_and_a_section_a_heading(data, tmp_path):
    write(data, tmp_path / "out", ["stars"])
    files = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.md")}
    assert set(files) == {"stars/m1.md", "stars/m2.md"}
    assert files["stars/m2.md"].read_text() == "# Light\n\n## Waves\n\nWaves travel.\n\nThey interfere.\n"


def test_an_unknown_book_is_named(data, tmp_path):
    with pytest.raises(SystemExit, match="no such book: rocks"):
        write(data, tmp_path / "out", ["stars", "rocks"])


def test_written_questions_become_pairs_with_the_file_of_their_module(tmp_path):
    pairs(tmp_path / "pairs.csv", ["microbiology"])
    with (tmp_path / "pairs.csv").open(newline="", encoding="utf-8") as file:
        asked = list(csv.DictReader(file))
    assert len(asked) > 300
    assert all(row["query"].strip() and row["document"].startswith("microbiology/m") for row in asked)
    passages = [Document(f"{file}#L1", "Something about microbes.", "") for file in {row["document"] for row in asked}]
    read = read_pairs(tmp_path / "pairs.csv", passages)
    assert len(read.pairs) == len(asked)
    assert not read.skipped
    with pytest.raises(SystemExit, match="no such book: rocks"):
        pairs(tmp_path / "none.csv", ["rocks"])


def test_exercises_judge_the_models_of_a_run_and_their_expanded_documents(tiny, tmp_path, capsys):
    run, words = tmp_path / "run", ("kelvin", "mitosis", "quasar", "enzyme", "nebula", "virus")
    rows = [{"id": f"b/m{place}.md#L1", "title": "", "text": f"On the {word}."} for place, word in enumerate(words)]
    asked = [
        {"query": f"the {word}?", "documents": [rows[place]["id"]], "part": "train"} for place, word in enumerate(words)
    ]
    exercises = [{"module": f"b/m{place}", "text": f"the {word}!"} for place, word in enumerate(words)]
    run.mkdir()
    for name, lines in (("corpus", rows), ("pairs", asked)):
        (run / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with gzip.open(tmp_path / "exercises.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(line) + "\n" for line in [*exercises, {"module": "b/other", "text": "?"}]))
    write_json(run / "manifest.json", {"result": {"start": str(tiny("bert"))}})
    (run / "training").mkdir()
    (run / "training/model").symlink_to(tiny("bert"))
    judge(tmp_path, run)
    kept = read_json(run / "exercises.json")
    assert {"start", "tuned", "start, expanded", "tuned, expanded", "BM25", "p hit@1 tuned, expanded"} <= set(kept)
    assert kept["start"] == kept["tuned"]
    assert kept["BM25"]["hit@1"] == 1
    said = capsys.readouterr().out
    assert "6 questions of 6 passages" in said
    assert "6 exercises, 6 passages of 6 modules" in said
