"""An index folder on the shipped model: what it finds, and every way in which it refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from reasonembed import Embedder
from reasonembed.errors import DataError, MismatchError, StorageError
from reasonembed.search.index import build_index, open_index

DOCUMENTS = [
    {"id": "code", "title": "Linear code", "text": "A code with minimum distance d corrects (d-1)/2 errors."},
    {"_id": "eigen", "text": "An eigenvector keeps its direction; the factor is its eigenvalue. λ √2 日本"},
    {"id": "rain", "title": "Weather", "text": "Rain falls when clouds cool.\nIt is wet."},
]


@pytest.fixture(scope="module")
def embedder():
    return Embedder()


@pytest.fixture(scope="module")
def built(tmp_path_factory, embedder):
    folder = tmp_path_factory.mktemp("built")
    docs = folder / "docs.jsonl"
    docs.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in DOCUMENTS), "utf-8")
    build_index([docs], folder / "index", embedder, opened_with={"name_or_path": None})
    return folder / "index"


@pytest.fixture
def index(built, tmp_path):
    return shutil.copytree(built, tmp_path / "index")


def test_finds_documents_with_their_text(index, embedder):
    opened = open_index(index, embedder=embedder)
    hits = opened.search("Which factor stretches a direction that a matrix keeps?", 2)
    assert [hit.rank for hit in hits] == [1, 2]
    assert hits[0].document.id == "eigen"
    assert hits[0].document.text == DOCUMENTS[1]["text"]
    vectors = embedder.encode_corpus(["Linear code " + DOCUMENTS[0]["text"], DOCUMENTS[1]["text"]])
    query = embedder.encode_queries("Which factor stretches a direction that a matrix keeps?")
    assert hits[0].score == pytest.approx(float(vectors[1] @ query), abs=1e-6)
    assert opened.document("code").title == "Linear code"
    assert opened.document("rain").text == DOCUMENTS[2]["text"]
    assert len(opened) == 3


def test_exclusion_and_many_questions(index, embedder):
    opened = open_index(index, embedder=embedder)
    found = opened.search_many(["eigenvalue", "error correction"], 1, exclude=[{"eigen"}, {"none"}])
    assert found[0][0].document.id != "eigen"
    assert found[1][0].document.id == "code"
    assert [hit.document.id for hit in opened.search("eigenvalue", 9, exclude={"eigen"})].count("eigen") == 0


def test_opens_its_own_model(index):
    assert open_index(index).search("wet weather", 1)[0].document.id == "rain"


def test_a_rebuilt_index_replaces_the_old_one(index, embedder, tmp_path):
    (tmp_path / "new.jsonl").write_text('{"id": "x", "text": "only one"}')
    manifest = build_index([tmp_path / "new.jsonl"], index, embedder)
    assert manifest["count"] == 1
    assert len(open_index(index, embedder=embedder)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "new.jsonl"]


def test_a_failed_build_leaves_the_old_index(index, embedder, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"id": "x", "text": "one"}\n{"id": "y"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2: field 'text' is missing"):
        build_index([tmp_path / "bad.jsonl"], index, embedder)
    assert len(open_index(index, embedder=embedder)) == 3


def test_never_replaces_a_folder_that_is_no_index(embedder, tmp_path):
    (tmp_path / "docs.jsonl").write_text('{"id": "x", "text": "one"}')
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    for target in (tmp_path / "home", tmp_path / "docs.jsonl"):
        with pytest.raises(DataError, match="exists and is no index"):
            build_index([tmp_path / "docs.jsonl"], target, embedder)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "precious"


def test_unwritable_place(embedder, tmp_path):
    (tmp_path / "docs.jsonl").write_text('{"id": "x", "text": "one"}')
    with pytest.raises(StorageError, match="cannot write"):
        build_index([tmp_path / "docs.jsonl"], tmp_path / "docs.jsonl" / "index", embedder)


def test_changed_model_is_refused_with_both_fingerprints(index):
    other = Embedder(max_length=64)
    stored = json.loads((index / "index.json").read_text())["model_fingerprint"]
    with pytest.raises(MismatchError, match=f"{stored}.*{other.fingerprint}"):
        open_index(index, embedder=other)
    with pytest.raises(MismatchError, match="fingerprint"):
        open_index(index, overrides={"max_length": 64}).search("anything")


def test_model_of_another_width_is_refused(index):
    with pytest.raises(MismatchError, match=r"384 dimensions, model .* gives 128"):
        open_index(index, embedder=Embedder(truncate_dim=128))


@pytest.mark.parametrize("name", ["index.json", "ids.json", "vectors.npy", "offsets.npy", "documents.jsonl"])
def test_a_missing_file_is_named(index, name):
    (index / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: no such file"):
        open_index(index)


@pytest.mark.parametrize("name", ["vectors.npy", "offsets.npy", "documents.jsonl", "ids.json", "index.json"])
def test_a_truncated_file_is_named(index, name):
    data = (index / name).read_bytes()
    (index / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=name):
        open_index(index)


def test_nan_in_stored_vectors(index, embedder):
    vectors = np.load(index / "vectors.npy", allow_pickle=False)
    vectors[1, 7] = np.nan
    np.save(index / "vectors.npy", vectors)
    with pytest.raises(DataError, match="document 'eigen' holds NaN"):
        open_index(index, embedder=embedder).search("rain")


def test_files_of_different_indexes_are_refused(index):
    vectors = np.load(index / "vectors.npy", allow_pickle=False)
    np.save(index / "vectors.npy", vectors[:2])
    with pytest.raises(MismatchError, match="3 ids for 2 vectors"):
        open_index(index)
    np.save(index / "vectors.npy", vectors[:, :5])
    with pytest.raises(MismatchError, match=r"5 dimensions, index\.json says 384"):
        open_index(index)
    np.save(index / "vectors.npy", vectors)
    np.save(index / "offsets.npy", np.load(index / "offsets.npy", allow_pickle=False)[1:])
    with pytest.raises(MismatchError, match=r"3 vectors, 2 documents, index\.json says 3"):
        open_index(index)


def test_texts_that_moved_are_found_out(index, embedder):
    data = (index / "documents.jsonl").read_bytes()
    (index / "documents.jsonl").write_bytes(data.replace(b'"code"', b'"kode"'))
    with pytest.raises(DataError, match=r"damaged at byte 0.*'kode'"):
        open_index(index, embedder=embedder).document("code")
    (index / "documents.jsonl").write_bytes(b"x" * len(data))
    with pytest.raises(DataError, match="damaged at byte"):
        open_index(index, embedder=embedder).document("rain")


def test_an_index_cannot_let_code_run(index):
    manifest = json.loads((index / "index.json").read_text())
    manifest["opened_with"]["trust_remote_code"] = True
    (index / "index.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="opened_with holds trust_remote_code"):
        open_index(index)


@pytest.mark.parametrize(("change", "message"), [({"format": 99}, "format 99"), ({"dim": None}, "dim are missing")])
def test_unknown_manifests(index, change, message):
    manifest = {**json.loads((index / "index.json").read_text()), **change}
    (index / "index.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))
    with pytest.raises(DataError, match=message):
        open_index(index)


def test_questions_that_cannot_be_asked(index, embedder, tmp_path):
    opened = open_index(index, embedder=embedder)
    with pytest.raises(DataError, match="question 0 is empty"):
        opened.search("  ")
    with pytest.raises(DataError, match="k is 0"):
        opened.search("rain", 0)
    with pytest.raises(DataError, match="no document 'nobody'"):
        opened.document("nobody")
    with pytest.raises(DataError, match="no such index"):
        open_index(tmp_path / "nowhere")
