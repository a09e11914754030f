"""The shipped weights as weights that can be trained: nothing is lost, and every loader finds all it looks for."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from reasonembed import Embedder
from reasonembed.errors import ModelError
from reasonembed.model import mini
from reasonembed.model.mini.unpack import read_weights, unpack

GRAPH = mini.path() / "openvino/openvino_model.xml"
TEXTS = ["Why does a balloon rise?", "The buoyant force equals the weight of the displaced fluid. " * 20, "R"]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / mini.NAME
    unpack(folder)
    return folder


def test_the_unpacked_weights_give_the_vectors_of_the_graph(unpacked):
    shipped = Embedder(dtype="float32").encode_corpus(TEXTS)
    found = Embedder(unpacked, engine="torch", dtype="float32").encode_corpus(TEXTS)
    np.testing.assert_allclose(found, shipped, atol=2e-3)
    assert (found * shipped).sum(axis=1).min() > 0.9999


def test_it_has_the_weights_of_a_roberta_and_no_others(unpacked):
    transformers = pytest.importorskip("transformers")
    weights = load_file(unpacked / "model.safetensors")
    config = transformers.AutoConfig.from_pretrained(unpacked)
    expected = {
        name: tuple(tensor.shape) for name, tensor in transformers.AutoModel.from_config(config).named_parameters()
    }
    assert {name: values.shape for name, values in weights.items()} == expected
    assert {str(values.dtype) for values in weights.values()} == {"float32"}


def test_a_graph_with_other_layers_is_refused():
    with pytest.raises(ModelError, match="62 vectors, 52 were expected"):
        read_weights(GRAPH, layers=5)


def test_a_directory_that_is_there_is_replaced(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/old.txt").write_text("old")
    unpack(tmp_path / "model")
    assert not (tmp_path / "model/old.txt").exists()
    assert (tmp_path / "model/README.md").read_text() == (mini.path() / "README.md").read_text()
    shutil.rmtree(tmp_path / "model")
