"""The configuration: the paper's constants, what is refused and how it is said, files beside the YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasonembed.errors import DataError
from reasonembed.synth.config import SYNTH_RECIPES, load_synth_config, parse_synth_config
from reasonembed.synth.tasks import KINDS, writing_for

LEAST = {"name": "x", "corpus": "docs.jsonl"}


def test_defaults_are_the_papers():
    config = parse_synth_config(LEAST)
    assert (config.seed, config.sources.min_chars, config.sources.max_chars, config.sources.n) == (
        42,
        200,
        5000,
        10_000,
    )
    assert config.sources.per_document == 1
    assert [(band.least, band.most, band.weight) for band in config.queries.lengths] == [
        (0, 99, 1), (100, 200, 2), (200, 300, 3), (300, 400, 3), (400, 500, 2), (500, None, 1),
    ]  # fmt: skip
    assert sum(band.weight for band in config.queries.lengths) == 12
    assert config.queries.levels == {"high school": 1, "college": 2, "phd": 2}
    assert (config.queries.temperature, config.queries.top_p) == (1.0, 0.6)
    assert config.mine.top == 100
    judging = config.annotate.settings(42)
    assert (judging.mode, judging.reasoning, judging.samples, judging.top_k) == ("pointwise", "full", 1, 40)
    assert (judging.temperature, judging.top_p) == (0.7, 0.95)
    assert (config.samples.positive, config.samples.negative) == (3, 2)


@pytest.mark.parametrize(("change", "told"), [
    ({"colour": 1}, "colour is 1"),
    ({"name": "a/b"}, "name is 'a/b'"),
    ({"kind": "poem"}, "kind 'poem' is unknown"),
    ({"kind": "math", "task": "bright/biology"}, "either `task` or `kind`"),
    ({"task": "biology"}, "not of the form"),
    ({"sources": {"min_chars": 500, "max_chars": 100}}, "min_chars 500 is above"),
    ({"queries": {"lengths": [[100, 50, 1]]}}, "least is above most"),
    ({"queries": {"levels": {"phd": 0}}}, "above 0"),
    ({"queries": {"attempts": 0}}, "queries.attempts is 0"),
    ({"mine": {"miners": [{"model": "m", "bm25": "lucene"}]}}, "mine.miners.0"),
    ({"mine": {"miners": [{"bm25": "tf"}]}}, "mine.miners.0.bm25 is 'tf'"),
    ({"annotate": {"spread": 3}}, "spread"),
    ({"annotate": {"mode": "grouped", "logprobs": True}}, "logprobs"),
    ({"samples": {"negative": 3, "positive": 3}}, "must be below"),
    ({"samples": {"margin": 0.2, "positive": 3.5}}, "either `margin`"),
    ({"samples": {"margin": 0}}, "samples.margin is 0"),
])  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, change, told):
    with pytest.raises(DataError) as caught:
        parse_synth_config({**LEAST, **change}, path=tmp_path / "c.yaml")
    assert told in str(caught.value)
    assert "c.yaml" in str(caught.value)
    assert "Fix: " in str(caught.value)


def test_a_configuration_survives_being_written_down():
    for samples in ({"margin": 0.2}, {"positive": 3.5}):
        config = parse_synth_config({**LEAST, "samples": samples})
        assert parse_synth_config(config.model_dump(mode="json")) == config


def test_files_are_taken_from_the_folder_of_the_configuration(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\ncorpus: [docs, /abs.jsonl]\nsources: {exclude_qrels: [test]}\nsamples: {leaks: [test]}\n")
    config = load_synth_config(path)
    assert config.corpus == (tmp_path / "docs", Path("/abs.jsonl"))
    assert config.sources.exclude_qrels == config.samples.leaks == (tmp_path / "test",)


def test_broken_yaml_has_its_line(tmp_path):
    (tmp_path / "c.yaml").write_text("name: x\ncorpus: [a\nseed: 3\n")
    with pytest.raises(DataError, match=r"c\.yaml:[34]: not YAML"):
        load_synth_config(tmp_path / "c.yaml")
    with pytest.raises(DataError, match="no synthesis 'nowhere'"):
        load_synth_config("nowhere")


@pytest.mark.parametrize("recipe", sorted(SYNTH_RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_that_ship_are_valid(recipe):
    assert load_synth_config(recipe.stem).name


@pytest.mark.parametrize("task", [
    "bright/biology", "bright/stackoverflow", "bright/leetcode", "bright/pony", "bright/aops", "bright/theoremqa_questions",
    "bright/theoremqa_theorems", "beir/theoremqa", "beir/scifact", "r2med/PMC-Clinical",
])  # fmt: skip
def test_every_task_has_a_sentence(task):
    writing = writing_for(task, None)
    assert writing.relevance.query_type in writing.sentence
    assert "{" not in writing.sentence
    assert writing.instruction


def test_kinds():
    sentences = {writing_for(None, kind).sentence for kind in (*KINDS, None)}
    assert len(sentences) == len(KINDS) + 1
    assert "Biology post" in writing_for("bright/biology", None).sentence
    own = "Write a question that a pharmacist would ask."
    assert writing_for(None, own).sentence == own
