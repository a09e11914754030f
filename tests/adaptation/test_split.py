from __future__ import annotations

from collections import Counter

from reasonembed.adaptation.split import BLOCK, document_of, parts_of, pooled, write_beir
from reasonembed.io.beir import read_beir
from reasonembed.types import Document


def test_a_passage_belongs_to_its_file_and_a_record_to_itself():
    ids = ["notes/a.md#L1", "notes/a.md#L1.2", "c#/b.md#L7", "c#/d.md#L7", "d7"]
    assert [document_of(one) for one in ids] == ["notes/a.md", "notes/a.md", "c#/b.md", "c#/d.md", "d7"]


def test_about_a_tenth_each_is_held_out_by_document():
    ids = [f"book/{file}.md#L{line}" for file in range(2000) for line in range(3)]
    parts = parts_of(ids, seed=1)
    by_file = {(document_of(one), part) for one, part in zip(ids, parts, strict=True)}
    assert len(by_file) == 2000  # no file lies in two parts
    counts = Counter(part for _, part in by_file)
    assert 160 < counts["dev"] < 240
    assert 160 < counts["test"] < 240


def test_a_new_document_moves_no_other_and_a_seed_all():
    ids = [f"{file}.md#L1" for file in range(100)]
    before = dict(zip(ids, parts_of(ids, seed=1), strict=True))
    more = ["0000.md#L1", *ids, "zz.md#L1"]
    after = dict(zip(more, parts_of(more, seed=1), strict=True))
    assert all(after[one] == part for one, part in before.items())
    assert list(before.values()) != parts_of(ids, seed=2)


def test_few_documents_are_cut_into_blocks_of_neighbours():
    ids = [f"{file}.md#L{line}" for file in "ab" for line in range(500)]
    parts = parts_of(ids, seed=1)
    blocks = [parts[start : start + BLOCK] for start in range(0, len(parts), BLOCK)]
    assert all(len(set(block)) == 1 for block in blocks)
    assert {block[0] for block in blocks} == {"train", "dev", "test"}


def test_the_beir_folder_reads_back(tmp_path):
    documents = [Document("a b#1", "text one", "Title"), Document("c", "text two")]
    write_beir(tmp_path / "t", documents, {"q1": ("ask\nme", ("a b#1", "c")), "q2": ("ask", ("c",))}, split="dev")
    task = read_beir(tmp_path / "t", split="dev")
    assert task.documents == tuple(documents)
    assert [(query.id, query.text) for query in task.queries] == [("q1", "ask\nme"), ("q2", "ask")]
    assert task.qrels.relevance == {"q1": {"a b#1": 1, "c": 1}, "q2": {"c": 1}}


def test_a_pool_has_every_answer_and_then_goes_by_rank():
    rankings = [["a", "b", "c"], ["d", "a"], []]
    assert pooled(["x"], rankings, 3) == {"x", "a", "d"}
    assert pooled(["x", "y"], rankings, 1) == {"x", "y"}
    assert pooled([], rankings, 9) == {"a", "b", "c", "d"}
