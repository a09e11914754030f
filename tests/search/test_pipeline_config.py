"""Pipelines as YAML: those that ship, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasonembed.errors import DataError
from reasonembed.io.config import RECIPES, recipe_names
from reasonembed.search.pipeline_config import chosen_stages, load_config, parse_config

DENSE = {"dense": {"kind": "dense"}}
BOTH = {"views": {**DENSE, "words": {"kind": "bm25"}}, "fusion": {}}


def test_the_published_pipeline():
    name, config = load_config("bge-reasoner")
    assert name == "bge-reasoner"
    assert {view.depth for view in config.views.values()} == {2000}
    assert config.fusion.weights == {"dense": 0.75, "bm25": 0.25}
    assert (config.rewrite.n, config.rewrite.temperature, config.rewrite.top_p) == (5, 0.6, 0.9)
    assert config.rewrite.keep_thinking
    assert len(config.rerank) == 6
    assert {stage.stages for stage in config.rerank.values()} == {((100, 1), (30, 16))}
    assert [stage.of for stage in config.rerank.values()] == ["bm25"] * 3 + ["dense"] * 3
    assert list(config.finals.values()) == [14, 2, 3, 8, 2, 3, 8]
    assert sum(config.finals.values()) == 40
    assert config.finals["hybrid"] == 14


def test_every_recipe_opens_by_name():
    assert recipe_names(RECIPES) == ["bge-reasoner", "hybrid", "hybrid-rewrite-rerank"]
    for name in recipe_names(RECIPES):
        assert load_config(name)[1].views


def test_files_are_taken_from_the_pipelines_folder(tmp_path):
    (tmp_path / "mine.yaml").write_text("views: {dense: {kind: dense}}\nrewrite: {file: old/rewrites.jsonl}\n")
    name, config = load_config(tmp_path / "mine.yaml")
    assert name == "mine"
    assert config.rewrite.file == tmp_path / "old/rewrites.jsonl"


def test_stages_by_flags():
    whole = load_config("hybrid-rewrite-rerank")[1]
    assert chosen_stages(whole, hybrid=True, rewrite=True, rerank=True).model_dump() == whole.model_dump() | {
        "description": ""
    }
    plain = chosen_stages(whole, hybrid=False, rewrite=False, rerank=False)
    assert (list(plain.views), plain.fusion, plain.rewrite, plain.rerank) == (["dense"], None, None, {})
    assert plain.final is None
    judged = chosen_stages(whole, hybrid=False, rewrite=False, rerank=True)
    assert judged.final.weights == {"dense": 8, "judge": 1}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "a mapping was expected, found list"),
        ({}, r"views: Field required. Fix: add this key"),
        ({"views": {}}, "views is {}: .*at least 1"),
        ({"views": {"dense": {"kind": "dens"}}}, r"views.dense is .*'dens'.*'dense', 'bm25'"),
        ({"views": {"dense": {"depth": 5}}}, "views.dense is .*kind.*Fix: add `kind:`"),
        ({"views": {"dense": {"kind": "dense", "depth": 0}}}, "views.dense.depth is 0: .*greater than or equal to 1"),
        ({"views": {"dense": {"kind": "dense", "depht": 5}}}, "views.dense.depht is 5: Extra inputs.*Fix: remove"),
        ({"views": {"Big Name": {"kind": "dense"}}}, "views.Big Name"),
        ({**BOTH, "fusion": None}, "several views need a fusion"),
        ({"views": DENSE, "fusion": {}}, "a single view has none"),
        ({**BOTH, "fusion": {"weights": {"dense": 1}}}, "fusion.weights must name every view: dense, words"),
        ({**BOTH, "fusion": {"method": "borda"}}, "fusion.method is 'borda'"),
        ({"views": {"hybrid": {"kind": "dense"}}}, "none may be 'hybrid'"),
        ({"views": DENSE, "rewrite": {"file": "x", "n": 2}}, "already written"),
        ({"views": DENSE, "rewrite": {"temperature": -1}}, "rewrite.temperature is -1"),
        ({"views": DENSE, "rerank": {"j": {"kind": "rubric", "of": "words"}}}, "rerank.j.of is 'words'"),
        ({"views": DENSE, "rerank": {"j": {"kind": "rubric"}, "i": {"kind": "rubric"}}}, "need `final`"),
        ({"views": DENSE, "final": {"weights": {"j": 1}}}, "final.weights names j, which no stage makes"),
        ({"views": DENSE, "llm": {"plaice": "x"}}, "llm.plaice is 'x'"),
    ],
)
def test_what_is_wrong_is_said_with_key_and_value(value, message):
    with pytest.raises(DataError, match=message) as refused:
        parse_config(value, path=Path("mine.yaml"))
    assert str(refused.value).startswith("mine.yaml: ")
    assert "Fix: " in str(refused.value)


def test_files_that_are_none(tmp_path):
    (tmp_path / "broken.yaml").write_text("views: {dense: [\n")
    with pytest.raises(DataError, match=r"broken\.yaml:2: not YAML"):
        load_config(tmp_path / "broken.yaml")
    with pytest.raises(DataError, match=r"no pipeline 'hybird'.*bge-reasoner, hybrid, hybrid-rewrite-rerank"):
        load_config("hybird")


def test_a_language_model_is_a_place_or_more():
    assert parse_config({"views": DENSE, "llm": "m.gguf"}).llm.place == "m.gguf"
    assert parse_config({"views": DENSE, "llm": {"place": "http://x/v1", "model": "m"}}).llm.model == "m"
