"""Which documents become sources, against the rules written out by hand."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from scripted_llm import scripted

from reasonembed.errors import DataError
from reasonembed.synth.config import SourcesConfig
from reasonembed.synth.documents import Documents, store_documents
from reasonembed.synth.sources import draw_sources, held_out_ids


@pytest.fixture
def documents(tmp_path):
    texts = {f"d{n}": f"document number {n} " + "x" * n for n in range(60)} | {
        "same": "Document  number 30 " + "x" * 30
    }
    with (tmp_path / "docs.jsonl").open("w") as file:
        file.writelines(json.dumps({"id": key, "text": text}) + "\n" for key, text in texts.items())
    store_documents([tmp_path / "docs.jsonl"], tmp_path / "store")
    return Documents(tmp_path / "store")


def drawn(documents, llm=None, seed=1, **config):
    losses = Counter()
    outcome = list(draw_sources(documents, SourcesConfig(**config), seed=seed, llm=llm, losses=losses))
    return [key for key, lost in outcome if lost is None], [key for key, lost in outcome if lost], losses


def test_length_and_equal_texts(documents):
    kept, _, losses = drawn(documents, min_chars=30, max_chars=60, n=None)
    wanted = {document.id for document in documents if 30 <= len(document.text) <= 60} - {"same"}
    assert sorted(kept) == sorted(wanted)
    assert losses == {
        "too short": sum(len(document.text) < 30 for document in documents),
        "too long": sum(len(document.text) > 60 for document in documents),
        "equal text": 1, "not drawn": 0,
    }  # fmt: skip


def test_the_seed_decides_and_a_smaller_draw_is_the_beginning_of_a_larger_one(documents):
    ten, _, losses = drawn(documents, min_chars=1, n=10)
    assert ten == drawn(documents, min_chars=1, n=10)[0] == drawn(documents, min_chars=1, n=20)[0][:10]
    assert ten != drawn(documents, min_chars=1, n=10, seed=2)[0]
    assert losses["not drawn"] == 60 - 10


def test_domain(documents):
    def judge(request):
        number = int(request.messages[-1].content.split("document number ")[1].split()[0])
        return "No." if number % 2 else "**Yes**"

    llm, asked = scripted(judge)
    with llm:
        kept, refused, losses = drawn(documents, llm, min_chars=1, n=5, domain="Biology")
    order = drawn(documents, min_chars=1, n=None)[0]
    assert kept == [key for key in order if int(key[1:]) % 2 == 0][:5]
    assert all(int(key[1:]) % 2 for key in refused)
    assert all("field of Biology" in request.messages[-1].content for request in asked)
    assert losses["not drawn"] == 60 - len(kept) - len(refused)


def test_a_domain_needs_a_language_model(documents):
    with pytest.raises(DataError, match="needs a language model"):
        drawn(documents, domain="Biology")


def test_documents_of_test_sets(documents, tmp_path):
    beir, bright = tmp_path / "beir", tmp_path / "bright"
    (beir / "qrels").mkdir(parents=True)
    bright.mkdir()
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td40\t1\nq1\td41\t0\n")
    (beir / "queries.jsonl").write_text('{"_id": "q1", "text": "?", "excluded_ids": ["d42"]}\n')
    row = {"id": "q", "query": "?", "gold_ids": ["d43"], "gold_ids_long": ["N/A"], "excluded_ids": ["d44", "d45"]}
    (bright / "examples.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "judged.trec").write_text("q1 0 d46 1\n")
    named = {"d40", "d41", "d42", "d43", "d44", "d45", "d46"}
    places = (beir, bright, tmp_path / "judged.trec")
    assert held_out_ids(places) == named
    kept, _, losses = drawn(documents, min_chars=1, n=None, exclude_qrels=places)
    assert not named & set(kept)
    assert losses["in a test set"] == len(named)
    with pytest.raises(DataError, match="neither judgements nor examples"):
        held_out_ids([tmp_path / "store"])


def test_the_store_finds_documents_and_names_what_it_left_out(tmp_path):
    rows = [
        {"id": "a", "text": "one\n{two}", "title": "T"},
        {"id": "b", "text": "naïve – 氷"},
        {"id": "a", "text": "again"},
    ]
    (tmp_path / "more.jsonl").write_text('{"id": "b", "text": "of another file"}\n')
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store_documents([tmp_path / "docs.jsonl", tmp_path / "more.jsonl"], tmp_path / "store")
    store = Documents(tmp_path / "store")
    assert [document.id for document in store] == store.ids == ["a", "b"]
    assert store.get("b").text == "naïve – 氷"
    assert store.get("a") == store[0] == store[:1][0]
    assert store[0].content == "T one\n{two}"
    assert store.meta["repeated_ids"] == 1  # of files; within a file the reader says so
    assert any("a" in reason for _, reason in store.meta["skipped"])
    with pytest.raises(DataError, match="no document 'c'"):
        store.get("c")
