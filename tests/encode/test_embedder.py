from __future__ import annotations

import numpy as np
import pytest

from reasonembed import Embedder, FlagLLMModel, FlagModel
from reasonembed.errors import DataError, ModelError

TEXTS = [
    "the theorem",
    "a matrix has an eigenvalue if and only if the determinant of A - λ I is zero " * 3,
    "",
    "What is the smallest Hamming distance?",
    "x",
    "the query finds a document " * 40,
]
INSTRUCTION = "Given a Math problem, retrieve relevant theorems that help answer the problem."
DECODERS = ("qwen3", "qwen2", "llama", "mistral")
ENCODERS = ("bert", "mpnet", "xlm-roberta", "modernbert")


def cosines(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def naive(folder, texts, *, padding_side, max_length=128):
    """The loop of a model card: one padded batch through AutoModel, last token or masked mean, L2 norm."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side=padding_side)
    model = AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"]
    if model.config.model_type in DECODERS:
        last = [int(row.nonzero().max()) for row in mask]
        vectors = hidden[range(len(last)), last]
    else:
        vectors = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(vectors, dim=1).numpy()


def sentence_transformer(folder, pooling):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules as models

    transformer = models.Transformer(str(folder), max_seq_length=128)
    pool = models.Pooling(transformer.get_embedding_dimension(), pooling)
    return SentenceTransformer(modules=[transformer, pool, models.Normalize()], device="cpu")


SIDES = [(kind, side) for kind in DECODERS for side in ("left", "right")] + [(kind, "right") for kind in ENCODERS]


@pytest.mark.parametrize(("kind", "padding_side"), SIDES)
def test_same_vectors_as_the_naive_loop(tiny, kind, padding_side):
    ours = Embedder(tiny(kind), dtype="float32", max_length=128).encode(TEXTS)
    assert cosines(ours, naive(tiny(kind), TEXTS, padding_side=padding_side)).min() >= 0.9999


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("kind", "pooling"),
    [("qwen3", "lasttoken"), ("bert", "mean"), ("mpnet", "cls"), ("xlm-roberta", "max"), ("llama", "weightedmean")],
)
def test_same_vectors_as_sentence_transformers(tiny, tmp_path, kind, pooling):
    peer = sentence_transformer(tiny(kind), pooling)
    peer.save(str(tmp_path / "saved"))
    ours = Embedder(tmp_path / "saved", engine="torch", dtype="float32")
    assert cosines(ours.encode(TEXTS), peer.encode(TEXTS)).min() >= 0.9999


@pytest.mark.filterwarnings("ignore")
def test_same_vectors_as_flag_llm_model(tiny_qwen3):
    import FlagEmbedding

    options = {
        "query_instruction_for_retrieval": INSTRUCTION,
        "devices": "cpu",
        "query_max_length": 64,
        "passage_max_length": 100,
    }
    peer = FlagEmbedding.FlagLLMModel(str(tiny_qwen3), **options)
    ours = FlagLLMModel(str(tiny_qwen3), **options)
    assert cosines(ours.encode_queries(TEXTS), peer.encode_queries(TEXTS)).min() >= 0.9999
    assert cosines(ours.encode_corpus(TEXTS), peer.encode_corpus(TEXTS)).min() >= 0.9999
    assert cosines(ours.encode(TEXTS), peer.encode(TEXTS)).min() >= 0.9999
    assert ours.encode_queries("one").shape == peer.encode_queries("one").shape


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_same_vectors_as_flag_model(tiny, pooling):
    import FlagEmbedding

    options = {
        "pooling_method": pooling,
        "devices": "cpu",
        "query_instruction_for_retrieval": "find: ",
        "truncate_dim": 16,
    }
    peer = FlagEmbedding.FlagModel(str(tiny("bert")), **options, query_max_length=100, passage_max_length=100)
    ours = FlagModel(str(tiny("bert")), **options, query_max_length=100, passage_max_length=100)
    assert cosines(ours.encode_queries(TEXTS), peer.encode_queries(TEXTS)).min() >= 0.9999
    assert cosines(ours.encode_corpus(TEXTS), peer.encode_corpus(TEXTS)).min() >= 0.9999


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "modernbert", "mpnet"])
def test_same_vector_alone_in_company_and_in_any_order(tiny, kind):
    embedder = Embedder(tiny(kind), dtype="float32")
    together = embedder.encode(TEXTS)
    alone = np.stack([embedder.encode(text) for text in TEXTS])
    turned = embedder.encode(TEXTS[::-1])[::-1]
    assert cosines(together, alone).min() >= 0.999999
    assert cosines(together, turned).min() >= 0.999999


def test_query_is_instruction_and_format(tiny_qwen3):
    embedder = Embedder(tiny_qwen3, dtype="float32")
    written = embedder.encode_queries(["x"], instruction=f"Instruct: {INSTRUCTION}\nQuery: x")
    assert embedder.query_prompt(INSTRUCTION) == (f"Instruct: {INSTRUCTION}\nQuery: ", "")
    by_hand = embedder.encode([f"Instruct: {INSTRUCTION}\nQuery: x"])
    assert np.allclose(embedder.encode_queries(["x"], instruction=INSTRUCTION), by_hand, atol=1e-6)
    assert not np.allclose(written, by_hand, atol=1e-3)


def test_task_selects_the_instruction(tiny_qwen3, tiny):
    decoder, encoder = Embedder(tiny_qwen3), Embedder(tiny("bert"))
    assert decoder.query_prompt(task="bright/biology")[0] == (
        "Instruct: Given a Biology post, retrieve relevant passages that help answer the post.\nQuery: "
    )
    assert encoder.query_prompt(task="bright/biology") == ("", "")


def test_a_str_gives_a_vector_and_none_gives_an_empty_matrix(tiny_qwen3):
    embedder = Embedder(tiny_qwen3)
    assert embedder.encode("x").shape == (32,)
    assert embedder.encode([]).shape == (0, 32)
    assert embedder.encode(["x"]).dtype == np.float32


def test_truncation_is_counted_and_keeps_eos(tiny_qwen3):
    embedder = Embedder(tiny_qwen3, max_length=16)
    ids, n_cut = embedder.tokenizer.encode(["short", "long " * 100], max_length=16)
    assert n_cut == 1
    assert [len(item) for item in ids][1] == 16
    assert {int(item[-1]) for item in ids} == {0}
    embedder.encode(["short", "long " * 100, "long " * 50])
    assert embedder.n_truncated == 2


def test_truncate_dim_keeps_leading_dimensions_at_unit_length(tiny_qwen3):
    whole, cut = Embedder(tiny_qwen3).encode(TEXTS), Embedder(tiny_qwen3, truncate_dim=8).encode(TEXTS)
    expected = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    assert np.allclose(cut, expected, atol=1e-6)
    with pytest.raises(ModelError, match=r"truncate_dim 33 is outside 1\.\.32"):
        Embedder(tiny_qwen3, truncate_dim=33)


def test_bfloat16_stays_close(tiny_qwen3):
    exact, rough = (
        Embedder(tiny_qwen3, dtype="float32").encode(TEXTS),
        Embedder(tiny_qwen3, dtype="bfloat16").encode(TEXTS),
    )
    assert cosines(exact, rough).min() >= 0.999


def test_bidirectional_attention_is_asked_for(tiny_qwen3, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_qwen3, tmp_path / "both-ways")
    (folder / "reasonembed.json").write_text('{"causal": false}')
    text = "the theorem states that the matrix has an eigenvalue"
    causal, both = Embedder(tiny_qwen3, pooling="cls"), Embedder(folder, pooling="cls")
    # The first token of a causal model cannot see what follows; of a bidirectional one it must.
    assert np.allclose(causal.encode(text), causal.encode(text[:-10] + "determinant"), atol=1e-6)
    assert not np.allclose(both.encode(text), both.encode(text[:-10] + "determinant"), atol=1e-3)


def test_fingerprint_changes_with_weights_and_settings(tiny_qwen3, tmp_path):
    from tiny import build

    other = build(tmp_path / "tiny-qwen3", "qwen3", seed=1)
    prints = {
        Embedder(tiny_qwen3).fingerprint, Embedder(tiny_qwen3, max_length=64).fingerprint,
        Embedder(tiny_qwen3, pooling="mean").fingerprint, Embedder(other).fingerprint,
    }  # fmt: skip
    assert len(prints) == 4
    assert Embedder(tiny_qwen3).fingerprint == Embedder(tiny_qwen3).fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "jax"}, "engine 'jax' is unknown"),
        ({"dtype": "int4"}, "dtype 'int4' is unknown"),
        ({"max_length": 4096}, r"length 4096 is outside 1\.\.1024"),
        ({"pooling": "median"}, "pooling 'median' is unknown"),
        ({"query_format": "Query: {}"}, "needs two"),
        ({"engine": "openvino"}, "OpenVINO"),
    ],
)
def test_wrong_options_are_named(tiny_qwen3, options, message):
    with pytest.raises(ModelError, match=message):
        Embedder(tiny_qwen3, **options)


def test_a_text_that_is_no_text_is_refused(tiny_qwen3):
    with pytest.raises(DataError, match="text 1 is a NoneType"):
        Embedder(tiny_qwen3).encode(["x", None])


def test_a_lone_surrogate_is_refused(tiny_qwen3):
    with pytest.raises(DataError, match="text 0 holds a lone surrogate"):
        Embedder(tiny_qwen3).encode(["\ud800"])


def test_more_texts_than_are_tokenised_at_a_time(tiny_qwen3, monkeypatch):
    from reasonembed.encode import embedder as module

    embedder, texts = Embedder(tiny_qwen3), [f"theorem {number}" * (1 + number % 3) for number in range(50)]
    expected = embedder.encode(texts)
    monkeypatch.setattr(module, "CHUNK", 7)
    monkeypatch.setattr(module, "STEP_TOKENS", 20)
    assert np.allclose(embedder.encode(texts), expected, atol=1e-5)
    with pytest.raises(ModelError, match="leaves no room"):  # an error in the other thread reaches the caller
        embedder.encode(texts, max_length=1)
