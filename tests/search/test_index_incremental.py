"""An index brought up to date: equal to one made from scratch, embedding only what is new, whatever happened to the files."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading

import numpy as np
import pytest
from tiny_embedder import Tiny

from reasonembed import Embedder
from reasonembed.errors import DataError, MismatchError, StorageError
from reasonembed.search import indexing, reading
from reasonembed.search.index import build_index, open_index
from reasonembed.search.unfinished import VectorLog, sole_writer

VOCABULARY = [f"word{number}" for number in range(50)]


def prose(seed, words=60):
    source = random.Random(seed)
    return " ".join(source.choice(VOCABULARY) for _ in range(words)) + "."


def state(folder):
    """All files of an index, without what differs from run to run: dates, times, and which dates of files are trusted."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("index.json", "report.json", "sources.json"):
        value = json.loads(files[name])
        for key in ("date", "run"):
            value.pop(key, None)
        for row in value.get("sources", ()):
            row.pop("modified_ns")
        files[name] = value
    return files


def same_as_from_scratch(inputs, index, scratch, **options):
    shutil.rmtree(scratch, ignore_errors=True)
    build_index(inputs, scratch, Tiny(), **options)
    assert state(index) == state(scratch)


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.md").write_text(f"# One\n\n{prose(1)}\n\n## Two\n\n{prose(2)}\n")
    (folder / "deep/b.txt").write_text(prose(3))
    (folder / "copy.txt").write_text(prose(3))
    (folder / "rows.jsonl").write_text('{"id": "r1", "text": "a record"}\n{"id": "r2", "text": "a record"}\n')
    (folder / "table.csv").write_text("id,text\nr2,taken before\nr3,a row\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def index(docs, tmp_path):
    build_index([docs], tmp_path / "index", Tiny())
    return tmp_path / "index"


def test_what_it_holds(docs, index):
    report = json.loads((index / "report.json").read_text())
    assert report["kinds"]["markdown"]["files"] == 1
    assert [item["place"] for item in report["skipped"]] == ["docs/picture.png", "docs/table.csv r2"]
    assert {item["id"]: item["repeats"] for item in report["duplicates"]} == {
        f"docs/deep/b.txt#L1{part}": f"docs/copy.txt#L1{part}" for part in ("", ".2")
    }, "the first in the order of keys is kept"
    opened = open_index(index)
    assert [document.text for document in opened.texts() if document.id in ("r1", "r2")] == ["a record"] * 2
    assert [document.id for document in opened.texts()] == list(opened.ids)
    assert opened.document("r3").text == "a row"
    assert report["n_duplicates"] == 2
    assert len(opened) == len(set(opened.ids)) == report["count"]


def edits(folder, source):
    """One random change of a folder of documents."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = source.choice(files)
    kind = source.choice(["new", "new record", "change", "same size", "touch", "delete", "move", "copy"])
    if kind == "new":
        (folder / f"n{source.randrange(99)}.md").write_text(
            f"# H{source.randrange(5)}\n\n{prose(source.random(), 90)}\n"
        )
    elif kind == "new record":
        rows = [{"id": f"r{source.randrange(9)}", "text": prose(source.randrange(4), 50)} for _ in range(3)]
        rows = list({row["id"]: row for row in rows}.values())
        (folder / f"j{source.randrange(4)}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "change":
        path.write_text(path.read_text(errors="replace") + "\n\n" + prose(source.random(), 30))
    elif kind == "same size" and path.suffix in (".md", ".txt"):
        path.write_text(path.read_text().replace("word1", "word2"))
    elif kind == "touch":
        os.utime(path, ns=(1, source.randrange(10**18)))
    elif kind == "delete" and len(files) > 3:
        path.unlink()
    elif kind == "move":
        path.rename(path.with_name(f"m{source.randrange(99)}{path.suffix}"))
    elif kind == "copy":
        shutil.copyfile(path, path.with_name(f"c{source.randrange(99)}{path.suffix}"))


@pytest.mark.parametrize("seed", range(4))
def test_any_edits_give_the_index_from_scratch(docs, index, tmp_path, seed):
    source = random.Random(seed)
    for _ in range(8):
        for _ in range(source.randrange(1, 4)):
            edits(docs, source)
        build_index([docs], index, Tiny())
        same_as_from_scratch([docs], index, tmp_path / "scratch")


def test_embeds_only_what_is_new(docs, index, tmp_path):
    with (docs / "a.md").open("a") as file:
        file.write(f"\n## Three\n\n{prose(9, 12)}\n")
    tiny = Tiny()
    run = build_index([docs], index, tiny)["run"]
    assert tiny.embedded == [f"One > Three {prose(9, 12)}"]
    assert (run["files_read"], run["passages_embedded"], run["rebuilt"]) == (2, 1, None), "and the file with a clash"
    (docs / "deep/b.txt").rename(docs / "deep/c.txt")
    tiny = Tiny()
    run = build_index([docs], index, tiny)["run"]
    assert (tiny.embedded, run["files_read"], run["files_removed"]) == ([], 2, 1)
    same_as_from_scratch([docs], index, tmp_path / "scratch")


def test_the_same_text_is_embedded_once(tmp_path):
    rows = [{"id": str(number), "text": f"text {number % 3}"} for number in range(9)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny = Tiny()
    build_index([tmp_path / "docs.jsonl"], tmp_path / "index", tiny)
    assert tiny.embedded == ["text 0", "text 1", "text 2"]
    stored = np.load(tmp_path / "index/vectors.npy", allow_pickle=False)
    np.testing.assert_array_equal(stored, Tiny().encode_corpus([row["text"] for row in rows]))


def test_nothing_changed_leaves_the_folder_alone(docs, index, monkeypatch):
    for path in docs.rglob("*"):
        os.utime(path, ns=(1, 10**18))
    build_index([docs], index, Tiny())
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (index, *index.iterdir())}
    monkeypatch.setattr(reading, "_digest", lambda path: pytest.fail(f"{path} was read"))
    run = build_index([docs], index, Tiny())["run"]
    assert (run["changed"], run["files_read"], run["passages_embedded"]) == (False, 0, 0)
    assert before == {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (index, *index.iterdir())}


def test_a_date_alone_is_no_change_and_a_young_date_is_not_trusted(docs, index, monkeypatch):
    parsed = []
    real = reading.read_file
    monkeypatch.setattr(
        reading, "read_file", lambda source, **options: parsed.append(source.key) or real(source, **options)
    )
    for path in docs.rglob("*"):
        os.utime(path, ns=(1, 10**18))
    build_index([docs], index, Tiny())
    assert parsed == []
    path = docs / "deep/b.txt"
    now = path.write_text(prose(3)) and path.stat().st_mtime_ns
    build_index([docs], index, Tiny())
    path.write_text(prose(3).replace("word1", "word2", 1))
    os.utime(path, ns=(now, now))
    parsed.clear()
    build_index([docs], index, Tiny())
    assert "docs/deep/b.txt" in parsed, "same size, same date, but changed within the grain of the clock"


def test_a_repetition_comes_back_when_the_original_goes(docs, index):
    (docs / "copy.txt").unlink()
    tiny = Tiny()
    assert build_index([docs], index, tiny)["n_duplicates"] == 0
    assert tiny.embedded == [], "the text has its vector already"
    assert "docs/deep/b.txt#L1" in open_index(index).ids


@pytest.mark.parametrize(
    ("tiny", "options", "reason"),
    [
        (Tiny("tiny-2"), {}, "another model, tiny"),
        (Tiny(), {"max_tokens": 20}, "max_tokens"),
        (Tiny(), {"full": True}, "--full"),
    ],
)
def test_what_makes_everything_new(docs, index, tmp_path, tiny, options, reason):
    run = build_index([docs], index, tiny, **options)["run"]
    assert reason in run["rebuilt"]
    assert run["files_unchanged"] == 0
    assert tiny.embedded
    options.pop("full", None)
    assert build_index([docs], index, tiny, **options)["run"]["changed"] is False


@pytest.mark.parametrize(
    "name", ["sources.json", "lines.npy", "digests.npy", "signatures.u32", "vectors.npy", "index.json"]
)
def test_a_damaged_index_is_made_again(docs, index, tmp_path, name):
    data = (index / name).read_bytes()
    (index / name).write_bytes(
        data[: len(data) // 2 // 512 * 512] if name == "signatures.u32" else data[: len(data) // 2]
    )
    assert "cannot be used" in build_index([docs], index, Tiny())["run"]["rebuilt"]
    same_as_from_scratch([docs], index, tmp_path / "scratch")


def test_another_format_is_made_again_and_not_opened(docs, index):
    manifest = json.loads((index / "index.json").read_text())
    (index / "index.json").write_text(json.dumps({**manifest, "format": 1}))
    with pytest.raises(DataError, match=r"index format 1, this version reads 2.*build the index again"):
        open_index(index)
    assert "format 1" in build_index([docs], index, Tiny())["run"]["rebuilt"]


def test_named_files_are_refused_and_files_of_folders_are_left_out(docs, tmp_path):
    bad = docs / "bad.jsonl"
    bad.write_text('{"id": "x", "text": "fine"}\n{"id": "y"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2: field 'text' is missing"):
        build_index([bad], tmp_path / "index", Tiny())
    (docs / "table2.csv").write_text("id,note\n1,x\n")
    with pytest.raises(DataError, match=r"table2\.csv"):
        build_index([docs / "table2.csv"], tmp_path / "index", Tiny())
    with pytest.raises(DataError, match=r"files of kind '\.png' cannot be read"):
        build_index([docs / "picture.png"], tmp_path / "index", Tiny())
    assert not (tmp_path / "index").exists()
    build_index([docs], tmp_path / "index", Tiny())
    report = json.loads((tmp_path / "index/report.json").read_text())
    assert {"docs/bad.jsonl", "docs/table2.csv"} <= {item["place"].split("#")[0] for item in report["skipped"]}
    assert "x" in open_index(tmp_path / "index").ids
    (tmp_path / "one.jsonl").write_text('{"id": "r1", "text": "one"}\n')
    (tmp_path / "two.jsonl").write_text('{"id": "r1", "text": "two"}\n')
    with pytest.raises(DataError, match=r"two\.jsonl: document id 'r1' occurs in an earlier file"):
        build_index([tmp_path / "one.jsonl", tmp_path / "two.jsonl"], tmp_path / "index", Tiny())


def test_a_named_file_inside_a_named_folder_is_read_once(docs, tmp_path):
    manifest = build_index([docs / "rows.jsonl", docs], tmp_path / "index", Tiny())
    assert open_index(tmp_path / "index").ids[:2] == ["r1", "r2"]
    report = json.loads((tmp_path / "index/report.json").read_text())
    assert {"place": "docs/rows.jsonl", "reason": "named by itself as well"} in report["skipped"]
    assert manifest["files"] == 5


def test_an_index_inside_the_folder_that_it_indexes(docs):
    for _ in range(2):
        manifest = build_index([docs], docs / "deep/index", Tiny())
    assert manifest["files"] == 5
    assert not manifest["run"]["changed"]
    report = json.loads((docs / "deep/index/report.json").read_text())
    assert not [item for item in report["skipped"] if "index" in item["place"]]


def test_limits_and_empty_folders(docs, tmp_path):
    for wrong in (5, 41):
        with pytest.raises(DataError, match=f"max_tokens is {wrong}, model tiny takes 16 to 40"):
            build_index([docs], tmp_path / "index", Tiny(), max_tokens=wrong)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no document with text"):
        build_index([tmp_path / "empty"], tmp_path / "index", Tiny())
    build_index([docs], tmp_path / "index", Tiny(), max_tokens=20)
    documents = open_index(tmp_path / "index").texts()
    assert all(len(document.content.split()) <= 20 for document in documents if "#" in document.id)


def test_texts_beyond_the_limit_of_the_model_are_counted(tmp_path):
    rows = [{"id": str(words), "text": "x " * words} for words in (3, 40, 41, 90)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _ in range(2):
        assert build_index([tmp_path / "docs.jsonl"], tmp_path / "index", Tiny())["n_truncated"] == 2


def test_two_runs_at_once(docs, index):
    (docs / "new.txt").write_text(prose(77))
    with (
        sole_writer(index),
        pytest.raises(StorageError, match=r"index: another process is building this index.*Fix: wait"),
    ):
        build_index([docs], index, Tiny())
    assert build_index([docs], index, Tiny())["run"]["passages_embedded"] > 0


def test_a_reader_keeps_the_index_that_it_opened(docs, index):
    opened = open_index(index)
    texts = [document.text for document in opened.texts()]
    (docs / "0.txt").write_text(prose(5))
    build_index([docs], index, Tiny())
    assert [document.text for document in opened.texts()] == texts
    assert open_index(index).ids[0] == "docs/0.txt#L1"
    assert open_index(index).fingerprint != opened.fingerprint


def test_readers_never_see_files_of_two_indexes(tmp_path):
    """Two states in turn, a reader without pause: every index it opens is one of the two, whole."""
    expected = {}
    for name in ("one", "two"):
        rows = [{"id": f"{name}{number}", "text": f"text of {name} {number}"} for number in range(5 + len(expected))]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        expected[build_index([tmp_path / f"{name}.jsonl"], tmp_path / name, Tiny())["content_fingerprint"]] = rows
    done = threading.Event()

    def write():
        for _ in range(6):
            for name in ("one", "two"):
                build_index([tmp_path / f"{name}.jsonl"], tmp_path / "index", Tiny())
        done.set()

    build_index([tmp_path / "two.jsonl"], tmp_path / "index", Tiny())
    writer = threading.Thread(target=write)
    writer.start()
    opened = []
    while not done.is_set():
        index = open_index(tmp_path / "index")
        rows = [{"id": document.id, "text": document.text} for document in index.texts()]
        assert rows == expected[index.fingerprint]
        vectors = Tiny().encode_corpus([row["text"] for row in rows])
        assert [index.searcher.search(vector, 1)[0][0].score for vector in vectors] == pytest.approx([1] * len(rows))
        opened.append(index.fingerprint)
    writer.join()
    assert set(opened) == set(expected)


def test_vectors_of_another_model_are_thrown_away(tmp_path):
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)
    digests = np.arange(6, dtype=np.uint64).reshape(3, 2)
    tmp_path = tmp_path / "log"
    tmp_path.mkdir()
    VectorLog(tmp_path, model="a", dim=4).append(digests, vectors)
    found = VectorLog(tmp_path, model="a", dim=4).read()
    np.testing.assert_array_equal(found[0], digests)
    np.testing.assert_array_equal(found[1], vectors)
    with (tmp_path / "vectors.f32").open("ab") as file:
        file.write(b"half a vector")
    assert len(VectorLog(tmp_path, model="a", dim=4)) == 3
    assert (tmp_path / "vectors.f32").stat().st_size == vectors.nbytes
    assert len(VectorLog(tmp_path, model="b", dim=4)) == 0


def test_digests_are_found(tmp_path):
    source = np.random.default_rng(0)
    table = source.integers(0, 4, (60, 2), np.uint64)
    table = np.unique(table, axis=0)
    table = table[np.unique(table[:, 0], return_index=True)[1]]  # as in life: first halves differ
    wanted = source.integers(0, 6, (200, 2), np.uint64)
    expected = [next((i for i, row in enumerate(table) if (row == want).all()), -1) for want in wanted]
    assert indexing.find_digests(table, wanted).tolist() == expected
    assert indexing.find_digests(table[:0], wanted).tolist() == [-1] * 200


def test_the_shipped_model_finds_the_same_after_an_update(docs, tmp_path):
    embedder = Embedder()
    texts = [
        "Osmosis moves water through a membrane.",
        "A linear code corrects errors.",
        "Rain falls when clouds cool.",
    ]
    for number, text in enumerate(texts):
        (docs / f"t{number}.md").write_text(f"# Chapter {number}\n\n{text}\n")
    build_index([docs], tmp_path / "index", embedder)
    (docs / "t1.md").write_text("# Chapter 1\n\nAn eigenvector keeps its direction.\n")
    (docs / "t2.md").unlink()
    assert build_index([docs], tmp_path / "index", embedder)["run"]["passages_embedded"] == 1
    build_index([docs], tmp_path / "scratch", embedder)
    questions = ["Why does water pass a membrane?", "Which vector is only stretched?", "word7 word3"]
    updated, scratch = (open_index(tmp_path / name, embedder=embedder) for name in ("index", "scratch"))
    for left, right in zip(updated.search_many(questions, 9), scratch.search_many(questions, 9), strict=True):
        assert [hit.document for hit in left] == [hit.document for hit in right]
        assert [hit.score for hit in left] == pytest.approx([hit.score for hit in right], abs=1e-3)
    np.testing.assert_allclose(
        np.sum(np.load(tmp_path / "index/vectors.npy") * np.load(tmp_path / "scratch/vectors.npy"), axis=1),
        1,
        atol=1e-3,
    )
    with pytest.raises(MismatchError, match="fingerprint"):
        open_index(tmp_path / "index", embedder=Embedder(max_length=64))
