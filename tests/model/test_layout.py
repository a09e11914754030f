from __future__ import annotations

import json

import numpy as np
import pytest

from reasonembed import Embedder
from reasonembed.encode.reference import REFERENCE_TEXTS, embed_reference, read_reference
from reasonembed.errors import ModelError

INSTRUCTION = "Given a Math problem, retrieve relevant theorems that help answer the problem."
TEXTS = ["the theorem", "", "a matrix has an eigenvalue " * 60]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A decoder whose tokenizer forgets EOS, saved by us: the saved one must not forget it in any tool."""
    from tiny import build

    root = tmp_path_factory.mktemp("layout")
    embedder = Embedder(
        build(root / "m", "qwen3", eos=False), append_eos=True, instruction=INSTRUCTION, max_length=100, dtype="float32"
    )
    embedder.save(root / "saved")
    return embedder, root / "saved"


def test_opens_in_our_embedder_with_everything_it_said(saved):
    embedder, folder = saved
    again = Embedder(folder, dtype="float32")
    assert np.allclose(again.encode_queries(TEXTS), embedder.encode_queries(TEXTS), atol=1e-6)
    assert again.query_prompt() == embedder.query_prompt() == (f"Instruct: {INSTRUCTION}\nQuery: ", "")
    assert (again.checkpoint.query_max_length, again.checkpoint.document_max_length) == (100, 100)


@pytest.mark.filterwarnings("ignore")
def test_opens_in_sentence_transformers_with_the_right_pooling_and_prompt(saved):
    from sentence_transformers import SentenceTransformer

    embedder, folder = saved
    peer = SentenceTransformer(str(folder), device="cpu")
    assert peer.max_seq_length == 100
    assert np.allclose(peer.encode_query(TEXTS), embedder.encode_queries(TEXTS), atol=1e-5)
    assert np.allclose(peer.encode_document(TEXTS), embedder.encode_corpus(TEXTS), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_opens_in_flag_embedding(saved):
    import FlagEmbedding

    embedder, folder = saved
    peer = FlagEmbedding.FlagLLMModel(
        str(folder), query_instruction_for_retrieval=INSTRUCTION, devices="cpu", use_fp16=False, query_max_length=100
    )
    assert np.allclose(peer.encode_queries(TEXTS), embedder.encode_queries(TEXTS), atol=1e-5)


def test_writes_the_old_names_that_every_version_and_vllm_read(saved):
    _, folder = saved
    types = [module["type"] for module in json.loads((folder / "modules.json").read_text())]
    assert types == [f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize")]
    pooling = json.loads((folder / "1_Pooling/config.json").read_text())
    assert [key for key, value in pooling.items() if value is True] == ["pooling_mode_lasttoken", "include_prompt"]
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not [file for file in folder.rglob("*") if file.suffix in (".bin", ".pt", ".pkl")]


def test_reference_vectors_lie_beside_it(saved):
    embedder, folder = saved
    texts, vectors = read_reference(folder)
    assert tuple(texts) == REFERENCE_TEXTS
    assert len(texts) == 8
    assert np.allclose(vectors, embed_reference(embedder), atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "llama", "mpnet", "modernbert"])
def test_save_and_open_again(tiny, tmp_path, kind):
    embedder = Embedder(tiny(kind), dtype="float32")
    embedder.save(tmp_path / "saved")
    embedder.save(tmp_path / "saved")  # over an older one
    assert np.allclose(Embedder(tmp_path / "saved", dtype="float32").encode(TEXTS), embedder.encode(TEXTS), atol=1e-6)


def test_rotary_base_is_written_as_transformers_4_reads_it(tiny, tmp_path):
    Embedder(tiny("llama")).save(tmp_path / "saved")
    config = json.loads((tmp_path / "saved/config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 50000.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_layers_behind_the_pooling_are_saved(tiny, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    parts = [
        modules.Transformer(str(tiny("bert"))),
        modules.Pooling(32, "mean"),
        modules.Dense(32, 12),
        modules.Normalize(),
    ]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "theirs"))
    theirs = Embedder(tmp_path / "theirs", dtype="float32")
    theirs.save(tmp_path / "ours")
    assert np.allclose(Embedder(tmp_path / "ours", dtype="float32").encode(TEXTS), theirs.encode(TEXTS), atol=1e-6)
    peer = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert np.allclose(peer.encode(TEXTS), theirs.encode(TEXTS), atol=1e-5)


def test_gguf_is_saved_as_an_ordinary_model(tmp_path):
    from gguf_tiny import write_llama_gguf
    from tiny import build

    file = write_llama_gguf(build(tmp_path / "llama", "llama"), tmp_path / "gguf" / "tiny.gguf")
    embedder = Embedder(file, dtype="float32")
    embedder.save(tmp_path / "saved")
    assert np.allclose(Embedder(tmp_path / "saved", dtype="float32").encode(TEXTS), embedder.encode(TEXTS), atol=1e-5)


def test_a_cut_model_is_not_saved(tiny_qwen3, tmp_path):
    with pytest.raises(ModelError, match="truncate_dim cannot be saved"):
        Embedder(tiny_qwen3, truncate_dim=8).save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
