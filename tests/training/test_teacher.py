"""The teacher: its vectors are those that the embedder gives, equal texts are embedded once, lengths that it lacks are refused."""

from __future__ import annotations

import numpy as np
import pytest
from training_small import small_config

from reasonembed import Embedder
from reasonembed.errors import ModelError
from reasonembed.training.teacher import Teacher

TEXTS = ["lemma of bal", "a matrix has an eigenvalue", "lemma of bal"]


@pytest.fixture
def config(tiny, tmp_path):
    return small_config(tiny("bert"), tmp_path, loss={"name": "distillation"}, teacher=str(tiny("qwen3")))


def test_vectors_are_those_of_the_embedder_and_equal_texts_are_embedded_once(config, monkeypatch):
    teacher = Teacher(config, device="cpu")
    runs = []
    embed = teacher.embedder.embed_tokens
    monkeypatch.setattr(teacher.embedder, "embed_tokens", lambda ids: runs.append(len(ids)) or embed(ids))
    vectors = teacher.vectors([*teacher.encode.queries(TEXTS), *teacher.encode.passages(TEXTS)])
    alone = Embedder(config.teacher, device="cpu")
    assert not vectors.requires_grad
    expected = [*alone.encode_queries(TEXTS), *alone.encode_corpus(TEXTS)]
    assert np.allclose(vectors.numpy(), expected, atol=1e-5 if alone.engine.dtype == "float32" else 2e-2)
    assert runs == [2]  # of six texts; this model has no prompt that would tell queries from passages


def test_lengths_that_the_teacher_does_not_take_are_refused(config, tiny):
    short = config.model_copy(update={"teacher": str(tiny("mpnet"))})
    long = short.model_copy(update={"lengths": short.lengths.model_copy(update={"query": 500})})
    with pytest.raises(ModelError, match=r"lengths.query is 500, .* takes 128 tokens"):
        Teacher(long, device="cpu")
