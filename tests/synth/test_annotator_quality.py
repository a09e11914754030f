"""scripts/annotator_quality.py over a small set, with a judge that knows the answers and one that knows nothing."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
from llm_server import Act, LlmServer

SCRIPT = Path(__file__).parents[2] / "scripts" / "annotator_quality.py"
WORDS = ("copper", "tide", "prime", "enzyme", "orbit", "tariff")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("annotator_quality", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path):
    """Six questions with one gold fact each, and facts that share words with every question."""
    folder = tmp_path / "data" / "strategyqa_facts"
    (folder / "qrels").mkdir(parents=True)
    facts = [{"_id": f"g{n}", "title": "", "text": f"gold fact of {word} what is"} for n, word in enumerate(WORDS)]
    facts += [{"_id": f"o{n}", "title": "", "text": f"other fact number {n} what is asked"} for n in range(12)]
    queries = [{"_id": f"q{n}", "text": f"what fact is asked of {word}"} for n, word in enumerate(WORDS)]
    for name, rows in (("corpus", facts), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{n}\tg{n}\t1\n" for n in range(len(WORDS)))
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return tmp_path / "data"


def knowing(asked) -> Act:
    word = re.search(r"asked of (\w+)", asked.prompt)[1]
    listed = re.findall(r"^\[(\d+)\]\n(.*)$", asked.prompt, re.MULTILINE)
    if listed:
        rows = [f"[{number}] so <score>{5 if word in text else 1}</score>" for number, text in listed]
        return Act(text="\n".join(rows))
    text = re.search(r"\[begin of document\]\n(.*)", asked.prompt)[1]
    return Act(text=f"so <score>{5 if word in text else 1}</score>")


def run(script, monkeypatch, server, data, out, *options):
    command = [
        "x",
        "--llm",
        server.url,
        "--data",
        data,
        "-o",
        out,
        "--sets",
        "strategyqa",
        "--negatives",
        "3",
        *options,
    ]
    monkeypatch.setattr("sys.argv", [str(part) for part in command])
    script.main()
    return json.loads((out / "quality.json").read_text())["sets"]["strategyqa"]


def test_a_judge_that_knows_is_perfect_and_a_mode_is_judged_once(script, data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with LlmServer(knowing) as server:
        first = run(script, monkeypatch, server, data, out, "--modes", "brief", "grouped-brief", "--reference", "brief")
        requests = sum(server.asked.values())
        second = run(script, monkeypatch, server, data, out, "--modes", "brief", "full", "--reference", "brief")
        assert sum(server.asked.values()) == requests + 6 * 4  # `full` alone
    assert requests == 6 * 4 + 6
    assert set(second) == {"brief", "grouped-brief", "full"}
    for row in (*first.values(), *second.values()):
        assert (row["auc"], row["within"], row["pairs"], row["lost"]) == (1.0, 1.0, 24, {})
        assert (row["gold_labelled_positive"], row["others_labelled_negative"]) == (1.0, 1.0)
        assert (row["agreement"]["exact"], row["agreement"]["kappa"]) == (1.0, 1.0)
    assert "| grouped-brief | 1.000 ± 0.000 |" in (out / "quality.md").read_text()


def test_a_judge_that_knows_nothing_has_half(script, data, tmp_path, monkeypatch):
    with LlmServer(lambda asked: Act(text="<score>3</score>")) as server:
        row = run(script, monkeypatch, server, data, tmp_path / "out", "--modes", "score")["score"]
    assert row["auc"] == 0.5
    assert (row["gold_labelled_positive"], row["others_labelled_negative"]) == (1.0, 0.0)


def test_other_pairs_need_another_folder(script, data, tmp_path, monkeypatch):
    with LlmServer(knowing) as server:
        run(script, monkeypatch, server, data, tmp_path / "out", "--modes", "score", "--queries", "2")
        with pytest.raises(SystemExit, match="another folder"):
            run(script, monkeypatch, server, data, tmp_path / "out", "--modes", "score", "--queries", "3")
