"""BRIGHT: a folder of one task, and a local copy of the Hub dataset read through `datasets`."""

from __future__ import annotations

import gzip
import json
import sys

import pytest

from reasonembed.errors import DataError, MissingExtraError
from reasonembed.io.bright import bright_tasks, read_bright

DOCUMENTS = [{"id": f"Some page/{number}.txt", "content": f"Passage {number} about insects."} for number in range(4)]
LONG = [{"id": "Some page.txt", "content": "All passages about insects."}]


def _example(key="0", gold=("Some page/0.txt",), excluded=("N/A",), **more):
    return {
        "query": f"Why are insects drawn to light? ({key})", "id": key, "gold_ids": list(gold),
        "reasoning": "N/A",
        "gold_ids_long": ["Some page.txt"], "excluded_ids": list(excluded), "gold_answer": "N/A", **more,
    }  # fmt: skip


EXAMPLES = [
    _example(),
    _example(
        "1",
        gold=["Some page/1.txt", "Some page/1.txt", "Some page/2.txt"],
        excluded=["Some page/3.txt", "gone"],
    ),
]
REASONED = [{**row, "query": f"Let us think. {row['query']}"} for row in EXAMPLES]


def _lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "bright_biology"
    root.mkdir()
    (root / "documents.jsonl.gz").write_bytes(gzip.compress(_lines(DOCUMENTS).encode()))
    (root / "long_documents.jsonl").write_text(_lines(LONG))
    (root / "examples.jsonl").write_text(_lines(EXAMPLES))
    (root / "gpt4_reason.jsonl").write_text(_lines(REASONED))
    return root


@pytest.fixture
def copy(tmp_path):
    """The Hub repository's layout: configurations in the head of README.md, one data file a split."""
    tables = {"documents": DOCUMENTS, "long_documents": LONG, "examples": EXAMPLES, "gpt4_reason": REASONED}
    root = tmp_path / "BRIGHT"
    head = ["---", "configs:"]
    for config, rows in tables.items():
        head += [f"- config_name: {config}", "  data_files:"]
        for task in ("biology", "pony"):
            (root / config).mkdir(parents=True, exist_ok=True)
            (root / config / f"{task}.jsonl").write_text(_lines(rows))
            head += [f"  - split: {task}", f"    path: {config}/{task}.jsonl"]
    (root / "README.md").write_text("\n".join([*head, "---", ""]))
    return root


@pytest.fixture(autouse=True)
def _datasets_cache(tmp_path, monkeypatch):
    if "datasets" in sys.modules:
        monkeypatch.setattr(sys.modules["datasets"].config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def test_reads_a_folder_of_one_task(folder):
    task = read_bright(folder, "biology")
    assert (task.name, task.benchmark, task.split) == ("biology", "bright", "examples")
    assert [document.id for document in task.documents] == [row["id"] for row in DOCUMENTS]
    assert task.qrels.relevance == {
        "0": {"Some page/0.txt": 1},
        "1": {"Some page/1.txt": 1, "Some page/2.txt": 1},
    }
    # "N/A" is none; an excluded id that is not in the corpus is kept, and harmless
    assert task.excluded == {"1": {"Some page/3.txt", "gone"}}


def test_rewritten_queries_and_long_documents(folder):
    assert read_bright(folder, "biology", queries="gpt4_reason").queries[0].text.startswith("Let us think.")
    long = read_bright(folder, "biology", long=True)
    assert long.benchmark == "bright-long"
    assert long.qrels.relevance["1"] == {"Some page.txt": 1}
    with pytest.raises(DataError, match=r"grit_reason.jsonl .* is missing.*examples.jsonl, gpt4_reason.jsonl"):
        read_bright(folder, "biology", queries="grit_reason")


def test_a_local_copy_of_the_hub_dataset_is_the_same(copy, folder):
    for options in ({}, {"queries": "gpt4_reason"}, {"long": True}):
        assert read_bright(copy, "biology", **options) == read_bright(folder, "biology", **options)


def test_a_changed_or_broken_copy_is_noticed(copy):
    read_bright(copy, "biology")
    rows = [_example("7"), *EXAMPLES]
    (copy / "examples/biology.jsonl").write_text(_lines(rows))
    assert [query.id for query in read_bright(copy, "biology").queries] == ["7", "0", "1"]
    (copy / "examples/biology.jsonl").write_text(_lines([_example("0"), *EXAMPLES]))
    with pytest.raises(DataError, match=r"BRIGHT \[examples/biology\]:2: duplicate query id '0'"):
        read_bright(copy, "biology")
    (copy / "documents/biology.jsonl").write_text('{"id": "x", "content"')
    with pytest.raises(DataError, match="cannot load 'documents"):
        read_bright(copy, "biology")


def test_task_names(folder, copy):
    assert bright_tasks(folder) == ("biology",)
    assert bright_tasks(folder, ["pony"]) == ("pony",)
    assert bright_tasks(copy, ["earth-science", "Pony"]) == ("earth_science", "pony")
    assert len(bright_tasks("xlangai/BRIGHT", long=True)) == 8
    with pytest.raises(DataError, match="cannot give biology, pony"):
        bright_tasks(folder, ["biology", "pony"])
    with pytest.raises(DataError, match="has no task 'chemistry'"):
        bright_tasks(copy, ["chemistry"])


def test_what_a_copy_lacks_is_named(copy, tmp_path):
    with pytest.raises(DataError, match=r"no split 'aops'.*biology, pony"):
        read_bright(copy, "aops")
    with pytest.raises(DataError, match="cannot load 'grit_reason'"):
        read_bright(copy, "biology", queries="grit_reason")
    with pytest.raises(DataError, match="no such folder, and not a Hub id"):
        read_bright(tmp_path / "nowhere", "biology")


def test_without_the_datasets_library_the_extra_is_named(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'reasonembed\[hub\]'"):
        read_bright(copy, "biology")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_example("0"), "examples.jsonl:3: duplicate query id '0'"),
        (_example("2", gold=["other"]), "examples.jsonl:3: unknown document 'other' in 'gold_ids'"),
        (_example("2", gold=[]), "examples.jsonl:3: query '2' has no relevant document in 'gold_ids'"),
        (_example("2", gold=["N/A"]), "examples.jsonl:3: query '2' has no relevant document"),
        (_example("2", excluded=["Some page/0.txt"]), "examples.jsonl:3: document 'Some page/0.txt' is both"),
        ({"id": "2", "gold_ids": ["Some page/0.txt"]}, "examples.jsonl:3: field 'query' is missing"),
        (_example("2") | {"gold_ids": "x"}, "examples.jsonl:3: field 'gold_ids' must be a list"),
    ],
)  # fmt: skip
def test_bad_examples(folder, row, message):
    (folder / "examples.jsonl").write_text(_lines([*EXAMPLES, row]))
    with pytest.raises(DataError, match=message):
        read_bright(folder, "biology")


def test_bad_documents(folder):
    (folder / "documents.jsonl.gz").write_bytes(
        gzip.compress(_lines([*DOCUMENTS, {"id": "e", "content": " "}]).encode())
    )
    with pytest.raises(DataError, match=r"documents.jsonl.gz:5: document 'e' is empty"):
        read_bright(folder, "biology")
    assert len(read_bright(folder, "biology", skip_empty=True).documents) == 4
    (folder / "documents.jsonl.gz").write_bytes(gzip.compress(_lines([*DOCUMENTS, DOCUMENTS[0]]).encode()))
    with pytest.raises(DataError, match=r"documents.jsonl.gz:5: duplicate document id"):
        read_bright(folder, "biology")
    (folder / "examples.jsonl").write_text("")
    (folder / "documents.jsonl.gz").write_bytes(gzip.compress(_lines(DOCUMENTS).encode()))
    with pytest.raises(DataError, match="no query"):
        read_bright(folder, "biology")
