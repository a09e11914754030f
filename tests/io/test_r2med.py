"""R2MED: folders of tasks, and local copies of the Hub datasets read through `datasets`."""

from __future__ import annotations

import json
import sys

import pytest

from reasonembed.errors import DataError
from reasonembed.io.r2med import r2med_tasks, read_r2med

TABLES = {
    "corpus": [{"id": f"p{number}", "text": f"Passage {number} on the liver."} for number in range(3)],
    "query": [
        {"id": "q1", "text": "What ails the patient?"},
        {"id": "q0", "text": "Which drug?"},
        {"id": "q9", "text": "Unjudged."},
    ],
    "qrels": [
        {"q_id": "q0", "p_id": "p1", "score": 1},
        {"q_id": "q1", "p_id": "p0", "score": 1},
        {"q_id": "q1", "p_id": "p2", "score": 2},
    ],
}  # fmt: skip


def _lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def _write(folder, tables):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        (folder / f"{name}.jsonl").write_text(_lines(rows))
    return folder


@pytest.fixture(autouse=True)
def _datasets_cache(tmp_path, monkeypatch):
    if "datasets" in sys.modules:
        monkeypatch.setattr(sys.modules["datasets"].config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def test_reads_a_folder(tmp_path):
    _write(tmp_path / "Biology", TABLES)
    task = read_r2med(tmp_path / "Biology", "Biology")
    assert (task.name, task.benchmark) == ("Biology", "r2med")
    assert [query.id for query in task.queries] == ["q1", "q0"]
    assert task.qrels.relevance == {"q1": {"p0": 1, "p2": 2}, "q0": {"p1": 1}}
    assert read_r2med(tmp_path, "Biology") == task
    assert r2med_tasks(tmp_path) == r2med_tasks(tmp_path / "Biology") == ("Biology",)


def test_a_local_copy_of_the_hub_dataset_is_the_same(tmp_path):
    plain = read_r2med(_write(tmp_path / "plain", TABLES), "PMC-Clinical")
    copy = tmp_path / "R2MED" / "PMC-Clinical"
    head = ["---", "configs:"]
    for name, rows in TABLES.items():  # other file names, so that only `datasets` can find them
        _write(copy / "data", {f"{name}-00000": rows})
        head += [
            f"- config_name: {name}",
            "  data_files:",
            f"  - split: {name}",
            f"    path: data/{name}-00000.jsonl",
        ]
    (copy / "README.md").write_text("\n".join([*head, "---", ""]))
    assert read_r2med(tmp_path / "R2MED", "PMC-Clinical") == plain
    assert r2med_tasks(tmp_path / "R2MED") == ("PMC-Clinical",)


def test_task_names():
    assert len(r2med_tasks("R2MED")) == 8
    assert r2med_tasks("R2MED/MedQA-Diag") == ("MedQA-Diag",)
    assert r2med_tasks("R2MED", ["medical_sciences"]) == ("Medical-Sciences",)
    with pytest.raises(DataError, match="has no task 'Surgery'"):
        r2med_tasks("R2MED", ["Surgery"])


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("qrels", {"q_id": "q8", "p_id": "p1", "score": 1}, "qrels.jsonl:4: unknown query 'q8'"),
        ("qrels", {"q_id": "q1", "p_id": "p8", "score": 1}, "qrels.jsonl:4: unknown document 'p8'"),
        (
            "qrels",
            {"q_id": "q1", "p_id": "p1", "score": "high"},
            "qrels.jsonl:4: field 'score' must be a whole number",
        ),
        ("qrels", {"q_id": "q1", "score": 1}, "qrels.jsonl:4: field 'p_id' is missing"),
        ("query", {"id": "q1", "text": "again"}, "query.jsonl:4: duplicate query id 'q1'"),
        ("corpus", {"id": "p1", "text": "again"}, "corpus.jsonl:4: duplicate document id 'p1'"),
        ("corpus", {"id": "p9", "text": ""}, "corpus.jsonl:4: document 'p9' is empty"),
    ],
)
def test_bad_rows(tmp_path, table, row, message):
    folder = _write(tmp_path / "Biology", {**TABLES, table: [*TABLES[table], row]})
    with pytest.raises(DataError, match=message):
        read_r2med(folder, "Biology")


def test_empty_tables_are_refused(tmp_path):
    with pytest.raises(DataError, match="no judgement"):
        read_r2med(_write(tmp_path / "a", {**TABLES, "qrels": []}), "Biology")
    with pytest.raises(DataError, match="the corpus is empty"):
        read_r2med(_write(tmp_path / "b", {**TABLES, "corpus": []}), "Biology")
    with pytest.raises(DataError, match="no such folder"):
        read_r2med(tmp_path / "nowhere", "Biology")
