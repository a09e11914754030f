"""The cross-encoder on a tiny random BERT, against Transformers without Sentence Transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reasonembed.errors import DataError, ModelError

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

import tiny as models  # noqa: E402
import transformers  # noqa: E402

from reasonembed.search.rerank.cross_encoder import CrossEncoderReranker  # noqa: E402
from reasonembed.types import Document  # noqa: E402


def build(folder, labels: int):
    torch.manual_seed(3)
    config = transformers.BertConfig(**{**models._ENCODER, "max_position_embeddings": 128}, num_labels=labels)
    model = transformers.BertForSequenceClassification(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25) if parameter.ndim > 1 else None
    model.save_pretrained(folder)
    models.tokenizer(eos=True, bos=True).save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": models.PAD, "model_max_length": 100}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build(tmp_path_factory.mktemp("cross"), 1)


DOCUMENTS = [Document(f"d{i}", f"the theorem number {i} " * (1 + i % 3), title="T" if i % 2 else "") for i in range(7)]
QUERIES = ["which matrix has an eigenvalue?", "who finds a document?"]


def by_transformers(folder, query: str, text: str) -> float:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logit = model(**tokenizer(query, text, return_tensors="pt", truncation=True)).logits[0, 0]
    return float(torch.sigmoid(logit))


def test_scores_are_those_of_the_plain_model(folder):
    reranker = CrossEncoderReranker(folder, depth=5, device="cpu")
    found = reranker.rerank(QUERIES, [DOCUMENTS, DOCUMENTS[::-1]])
    for query, documents, one in zip(QUERIES, [DOCUMENTS, DOCUMENTS[::-1]], found, strict=True):
        expected = [by_transformers(folder, query, document.content) for document in documents[:5]]
        best = sorted(range(5), key=lambda place: (-expected[place], place))
        assert [hit.id for hit in one.hits] == [documents[place].id for place in [*best, 5, 6]]
        np.testing.assert_allclose([each.score for each in one.judged], [expected[place] for place in best], atol=1e-6)
        assert [each.first_stage_rank for each in one.judged] == [place + 1 for place in best]
        assert one.unparsed == 0


def test_the_description_states_model_and_length(folder):
    said = CrossEncoderReranker(folder, device="cpu", max_length=17).describe()
    assert said["model"] == str(folder)
    assert (said["max_length"], said["activation"], said["dtype"]) == (17, "Sigmoid", "float32")
    assert CrossEncoderReranker(folder, device="cpu").describe()["max_length"] == 100


def test_nothing_to_judge(folder):
    reranker = CrossEncoderReranker(folder, device="cpu")
    assert reranker.rerank([], []) == []
    assert reranker.rerank(["q"], [[]])[0].hits == ()


def test_scores_that_are_no_numbers_leave_the_order(tmp_path):
    broken = build(tmp_path, 1)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(broken)
    torch.nn.init.constant_(model.classifier.bias, float("nan"))
    model.save_pretrained(broken)
    (found,) = CrossEncoderReranker(broken, device="cpu").rerank(["q"], [DOCUMENTS])
    assert [hit.id for hit in found.hits] == [document.id for document in DOCUMENTS]
    assert found.unparsed == 7


def test_models_that_do_not_fit(tmp_path, folder):
    with pytest.raises(ModelError, match="gives 3 numbers for a pair"):
        CrossEncoderReranker(build(tmp_path, 3), device="cpu")
    with pytest.raises(ModelError, match="cannot be opened as a cross-encoder"):
        CrossEncoderReranker(tmp_path / "nowhere", device="cpu")
    with pytest.raises(DataError, match="depth is 0"):
        CrossEncoderReranker(folder, depth=0)
