"""Same vectors as the peers on real weights: MiniLM, and SmolLM2-135M with last token, instruction and EOS."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest

from reasonembed import Embedder, FlagLLMModel, FlagModel

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]
INSTRUCTION = "Given a Math problem, retrieve relevant theorems that help answer the problem."


def lowest(a, b):
    return float((np.asarray(a, np.float64) * np.asarray(b, np.float64)).sum(1).min())


@pytest.fixture(scope="session")
def smollm2(models, tmp_path_factory):
    """SmolLM2 from GGUF, saved by us as a directory whose tokenizer appends EOS."""
    folder = tmp_path_factory.mktemp("live") / "smollm2"
    embedder = Embedder(
        models / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf",
        append_eos=True,
        dtype="float32",
        max_length=256,
    )
    embedder.save(folder)
    return folder


def test_minilm_as_sentence_transformers(models, real_texts, record_property):
    from sentence_transformers import SentenceTransformer

    ours = Embedder(models / "minilm", engine="torch", dtype="float32")
    peer = SentenceTransformer(str(models / "minilm"), device="cpu")
    cosine = lowest(ours.encode(["", *real_texts]), peer.encode(["", *real_texts]))
    record_property("lowest_cosine", cosine)
    assert cosine >= 0.9999


def test_minilm_as_flag_embedding(models, real_texts, record_property):
    import FlagEmbedding

    options = {"pooling_method": "mean", "devices": "cpu", "use_fp16": False}
    ours, peer = (
        FlagModel(str(models / "minilm"), **options),
        FlagEmbedding.FlagModel(str(models / "minilm"), **options),
    )
    cosine = lowest(ours.encode_corpus(real_texts), peer.encode_corpus(real_texts))
    record_property("lowest_cosine", cosine)
    assert cosine >= 0.9999


def test_smollm2_four_ways(smollm2, real_texts, record_property):
    """FlagLLMModel, Sentence Transformers, the naive loop and our Embedder, with instruction, format, EOS and truncation."""
    import FlagEmbedding
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    texts = real_texts[10:28]
    ours = Embedder(smollm2, dtype="float32").encode_queries(texts, instruction=INSTRUCTION)
    flag_options = {
        "query_instruction_for_retrieval": INSTRUCTION,
        "devices": "cpu",
        "use_fp16": False,
        "query_max_length": 256,
    }
    ways = {"our FlagLLMModel": FlagLLMModel(str(smollm2), **flag_options).encode_queries(texts)}
    ways["FlagLLMModel"] = FlagEmbedding.FlagLLMModel(str(smollm2), **flag_options).encode_queries(texts, batch_size=6)
    written = [f"Instruct: {INSTRUCTION}\nQuery: {text}" for text in texts]
    ways["sentence-transformers"] = SentenceTransformer(str(smollm2), device="cpu").encode(written, batch_size=6)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(smollm2),
        AutoModel.from_pretrained(smollm2, dtype=torch.float32).eval(),
    )
    rows = []
    for text in written:
        batch = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            rows.append(torch.nn.functional.normalize(model(**batch).last_hidden_state[0, -1], dim=0).numpy())
    ways["naive loop"] = np.stack(rows)
    for name, vectors in ways.items():
        record_property(name, lowest(ours, vectors))
        assert lowest(ours, vectors) >= 0.9999, name


def test_saved_directory_opens_in_sentence_transformers_5_3(smollm2, models, real_texts, tmp_path):
    """What we write opens in 5.3 with transformers 4, same vectors; what 5.3 writes opens here."""
    python = os.environ.get("REASONEMBED_ST53_PYTHON")
    if not python:
        pytest.skip("REASONEMBED_ST53_PYTHON is not set: see tests/live/README.md")
    np.save(tmp_path / "texts.npy", np.array(real_texts[10:20]))
    code = (
        "import sys, numpy as np, sentence_transformers; from sentence_transformers import SentenceTransformer as S\n"
        "assert sentence_transformers.__version__ == '5.3.0'\n"
        "texts = np.load(sys.argv[1] + '/texts.npy').tolist(); m = S(sys.argv[2], device='cpu')\n"
        "np.save(sys.argv[1] + '/vectors.npy', m.encode_query(texts)); m.save(sys.argv[1] + '/saved53')"
    )
    for folder in (smollm2, models / "minilm"):
        subprocess.run(
            [python, "-c", code, str(tmp_path), str(folder)], check=True, env={**os.environ, "PYTHONPATH": ""}
        )
        theirs = np.load(tmp_path / "vectors.npy")
        for opened in (folder, tmp_path / "saved53"):
            assert (
                lowest(
                    Embedder(opened, engine="torch", dtype="float32").encode_queries(real_texts[10:20]),
                    theirs,
                )
                >= 0.9999
            )
