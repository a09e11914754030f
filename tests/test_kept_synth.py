"""The generated sets in data/synth: whole, readable, each sample from a query that is kept beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasonembed.dataset.samples import read_samples
from reasonembed.io.jsonl import read_jsonl
from reasonembed.io.manifest import digest, read_json
from reasonembed.synth.config import parse_synth_config
from reasonembed.types import Annotation, SynthQuery

KEPT = Path(__file__).parents[1] / "data" / "synth"
FOLDERS = sorted(path for path in KEPT.iterdir() if path.is_dir())


def test_together_they_stay_small():
    assert FOLDERS
    assert sum(file.stat().st_size for file in KEPT.rglob("*") if file.is_file()) < 20_000_000


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_kept_set_is_whole(folder):
    manifest = read_json(folder / "manifest.json")
    config = parse_synth_config(manifest["config"])
    assert {file.name: digest(file) for file in folder.glob("*.gz")} == manifest["files"]
    assert manifest["licence"]
    queries = [
        SynthQuery(**{**row, "length": tuple(row["length"])}) for _, row in read_jsonl(folder / "queries.jsonl.gz")
    ]
    judged = [Annotation(**row) for _, row in read_jsonl(folder / "annotations.jsonl.gz")]
    samples = list(read_samples(folder / f"{config.name}.jsonl.gz"))
    assert len(queries) == manifest["stages"]["queries"]["report"]["counts"]["written"]
    assert len(judged) == manifest["stages"]["annotate"]["report"]["counts"]["written"]
    assert len(samples) == manifest["stages"]["samples"]["report"]["counts"]["written"]
    assert {one.query for one in judged} <= {query.id for query in queries}
    source = {query.id: query.source for query in queries}
    assert all(one.document != source[one.query] for one in judged)
    assert {sample.query for sample in samples} <= {query.text for query in queries}
    assert all(sample.neg and not set(sample.pos) & set(sample.neg) for sample in samples)


def test_nothing_of_the_machine_is_in_a_manifest():
    for folder in FOLDERS:
        assert "/tmp/" not in (folder / "manifest.json").read_text("utf-8")
