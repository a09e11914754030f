"""The embedding cache: same vectors, no second work, killed runs, damaged entries."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from reasonembed import Embedder
from reasonembed.encode import cache
from reasonembed.encode.cache import cached_encode
from reasonembed.errors import DataError

TEXTS = ["a theorem", "", "the proof of a lemma", "word " * 400, "λ"]


@pytest.fixture(scope="module")
def embedder():
    return Embedder(dtype="float32")


class Stopped(Exception):
    pass


@pytest.fixture
def counted(embedder, monkeypatch):
    """How many texts the model really embedded; `limit` makes it stop like a killed run."""
    done = {"texts": 0, "limit": None}
    embed = type(embedder)._encode

    def counting(self, texts, *rest):
        if done["limit"] is not None and done["texts"] + len(texts) > done["limit"]:
            raise Stopped
        done["texts"] += len(texts)
        return embed(self, texts, *rest)

    monkeypatch.setattr(type(embedder), "_encode", counting)
    return done


def test_second_run_is_free_and_equal(embedder, counted, tmp_path):
    before = embedder.n_truncated
    first = cached_encode(embedder, TEXTS, kind="document", cache_dir=tmp_path)
    cut = embedder.n_truncated - before
    assert cut == 1
    assert counted["texts"] == len(TEXTS)
    np.testing.assert_array_equal(first, embedder.encode_corpus(TEXTS))
    counted["texts"], before = 0, embedder.n_truncated
    np.testing.assert_array_equal(cached_encode(embedder, TEXTS, kind="document", cache_dir=tmp_path), first)
    assert counted["texts"] == 0
    assert embedder.n_truncated - before == cut


def test_whatever_changes_a_vector_is_another_entry(embedder, counted, tmp_path):
    def run(texts=TEXTS[:2], **options):
        counted["texts"] = 0
        cached_encode(embedder, texts, **{"kind": "query", "cache_dir": tmp_path, **options})
        return counted["texts"]

    assert run() == 2
    for change in (
        {"kind": "document"},
        {"instruction": "Find it."},
        {"instruction": ""},
        {"max_length": 16},
    ):
        assert run(**change) == 2, change
        assert run(**change) == 0, change
    assert run(texts=TEXTS[1::-1]) == 2
    assert run() == 0
    other = Embedder(truncate_dim=64)
    assert cached_encode(other, TEXTS[:2], kind="query", cache_dir=tmp_path).shape == (2, 64)


def test_a_killed_run_goes_on(embedder, counted, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "BLOCK", 2)
    counted["limit"] = 4
    with pytest.raises(Stopped):
        cached_encode(embedder, TEXTS, kind="document", cache_dir=tmp_path)
    counted["limit"], counted["texts"] = None, 0
    vectors = cached_encode(embedder, TEXTS, kind="document", cache_dir=tmp_path)
    assert counted["texts"] == 1
    np.testing.assert_allclose(vectors, embedder.encode_corpus(TEXTS), atol=1e-6)


def _flip(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:100], lambda data: b"", lambda data: b"junk" * 50, _flip, lambda data: data[:-30]],
)
def test_damaged_entries_are_made_again(embedder, counted, tmp_path, caplog, damage):
    first = cached_encode(embedder, TEXTS, kind="document", cache_dir=tmp_path)
    (entry,) = tmp_path.rglob("*.npz")
    entry.write_bytes(damage(entry.read_bytes()))
    counted["texts"] = 0
    with caplog.at_level(logging.WARNING):
        again = cached_encode(embedder, TEXTS, kind="document", cache_dir=tmp_path)
    assert counted["texts"] == len(TEXTS)
    assert "made again" in caplog.text
    np.testing.assert_array_equal(again, first)
    counted["texts"] = 0
    cached_encode(embedder, TEXTS, kind="document", cache_dir=tmp_path)
    assert counted["texts"] == 0


def test_entries_of_the_wrong_shape_or_content(embedder, tmp_path, caplog):
    first = cached_encode(embedder, TEXTS, kind="document", cache_dir=tmp_path)
    (entry,) = tmp_path.rglob("*.npz")
    wrong = first.copy()
    wrong[0, 0] = np.nan
    for vectors in (first[:2], first.astype(np.float64), wrong, np.array([{}], dtype=object)):
        np.savez(entry, vectors=vectors, n_truncated=0)
        caplog.clear()
        np.testing.assert_array_equal(cached_encode(embedder, TEXTS, kind="document", cache_dir=tmp_path), first)
        assert "made again" in caplog.text


def test_a_cache_that_cannot_be_written_does_not_stop_the_run(embedder, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    vectors = cached_encode(embedder, TEXTS, kind="document", cache_dir=tmp_path / "file")
    assert vectors.shape == (len(TEXTS), embedder.dim)
    assert "REASONEMBED_CACHE" in caplog.text


def test_default_folder(monkeypatch, tmp_path, embedder):
    monkeypatch.setenv("REASONEMBED_CACHE", str(tmp_path / "told"))
    cached_encode(embedder, ["x"], kind="query")
    assert len(list((tmp_path / "told").rglob("*.npz"))) == 1
    monkeypatch.delenv("REASONEMBED_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.default_cache_dir() == tmp_path / "home/.cache/reasonembed/embeddings"


def test_refusals(embedder, tmp_path):
    with pytest.raises(DataError, match="kind 'passage'"):
        cached_encode(embedder, TEXTS, kind="passage", cache_dir=tmp_path)
    with pytest.raises(DataError, match="no instruction"):
        cached_encode(embedder, TEXTS, kind="document", instruction="x", cache_dir=tmp_path)
    assert cached_encode(embedder, [], kind="query", cache_dir=tmp_path).shape == (0, embedder.dim)
