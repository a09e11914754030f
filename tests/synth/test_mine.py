"""Candidates against a plain loop over all documents; what is like the source is never one, and is gone before the cut."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from reasonembed import BM25Searcher, Embedder
from reasonembed.errors import DataError
from reasonembed.search.fusion import RRF_CONSTANT
from reasonembed.synth.config import MineConfig
from reasonembed.synth.documents import Documents, store_documents
from reasonembed.synth.mine import Pool, mine_candidates
from reasonembed.types import SynthQuery

drawn = random.Random(3)
VOCABULARY = [f"word{n}" for n in range(60)]
TEXTS = {f"d{n}": " ".join(drawn.choices(VOCABULARY, k=60)) for n in range(50)}
TEXTS |= {"copy": TEXTS["d3"].upper().replace(" ", "  "), "near": TEXTS["d3"] + " another end"}
QUERIES = [SynthQuery(f"d{n}#q1", " ".join(TEXTS[f"d{n}"].split()[:20]), f"d{n}", (1, 99), "phd") for n in range(6)]


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    rows = [json.dumps({"id": key, "text": text}) + "\n" for key, text in TEXTS.items()]
    (folder / "docs.jsonl").write_text("".join(rows))
    store_documents([folder / "docs.jsonl"], folder / "store")
    return Documents(folder / "store")


@pytest.fixture(scope="module")
def embedder():
    return Embedder()


def found(documents, config, embedder=None):
    mined = mine_candidates(documents, QUERIES, config, instruction="Find.", embedder=embedder)
    return {query.id: [(hit.id, hit.score) for hit in hits] for query, hits in mined}


def bm25_order(query, k):
    searcher = BM25Searcher()
    pool = [key for key in TEXTS if key != "copy"]
    searcher.add(pool, [TEXTS[key] for key in pool])
    return [hit.id for hit in searcher.search([query.text], k=len(pool))[0] if hit.id != query.source][:k]


def test_pool_and_likes(documents):
    pool = Pool(documents, near=0.8)
    assert "copy" not in pool.ids
    assert "near" in pool.ids
    assert len(pool) == len(TEXTS) - 1
    assert pool.like("d3") == pool.like("copy") == {"d3", "near"}
    assert pool.like("d4") == {"d4"}
    assert Pool(documents, near=None).like("copy") == {"d3"}


def test_the_source_and_its_like_are_gone_before_the_cut(documents):
    for top in (1, 5, 48):
        config = MineConfig(miners=[{"bm25": "lucene"}], top=top, near_duplicates=0.8)
        for key, candidates in found(documents, config).items():
            names = [name for name, _ in candidates]
            assert len(names) == top
            assert key.split("#")[0] not in names
            assert "copy" not in names
            assert key != "d3#q1" or "near" not in names


def test_bm25_against_a_searcher_of_its_own(documents):
    config = MineConfig(miners=[{"bm25": "lucene"}], top=7, near_duplicates=None)
    candidates = found(documents, config)
    for query in QUERIES:
        assert [name for name, _ in candidates[query.id]] == bm25_order(query, 7)


def test_dense_against_cosines(documents, embedder):
    candidates = found(documents, MineConfig(top=7, near_duplicates=None), embedder)
    pool = [key for key in TEXTS if key != "copy"]
    cosines = (
        embedder.encode_queries([query.text for query in QUERIES])
        @ embedder.encode_corpus([TEXTS[key] for key in pool]).T
    )
    for query, row in zip(QUERIES, cosines, strict=True):
        order = [pool[place] for place in np.argsort(-row) if pool[place] != query.source]
        assert [name for name, _ in candidates[query.id]] == order[:7]
        assert [score for _, score in candidates[query.id]] == pytest.approx(
            [row[pool.index(name)] for name in order[:7]], abs=1e-5
        )


def test_several_miners_are_united_by_reciprocal_rank(documents, embedder):
    config = MineConfig(miners=[{"model": "default"}, {"bm25": "lucene"}], top=6, near_duplicates=None)
    both = found(documents, config, embedder)
    dense = found(documents, MineConfig(top=6, near_duplicates=None), embedder)
    for query in QUERIES:
        lists = ([name for name, _ in dense[query.id]], bm25_order(query, 6))
        ids = {name for one in lists for name in one}
        scores = {name: sum(0.5 / (RRF_CONSTANT + one.index(name) + 1) for one in lists if name in one) for name in ids}
        expected = sorted(scores, key=lambda name: (-scores[name], name))[:6]
        assert [name for name, _ in both[query.id]] == expected


def test_an_embedder_needs_a_dense_miner(documents, embedder):
    with pytest.raises(DataError, match="every miner is BM25"):
        found(documents, MineConfig(miners=[{"bm25": "bright"}], near_duplicates=None), embedder)
