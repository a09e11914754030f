from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest

from reasonembed import Embedder
from reasonembed.errors import ModelError
from reasonembed.model.checkpoint import open_checkpoint
from reasonembed.model.known import KNOWN, find_known


def modules_of(folder, *types):
    rows = [
        {"idx": i, "name": str(i), "path": "" if i == 0 else f"{i}_x", "type": kind} for i, kind in enumerate(types)
    ]
    (folder / "modules.json").write_text(json.dumps(rows))


def test_plain_directories_pool_by_architecture(tiny):
    assert open_checkpoint(tiny("qwen3")).pooling == ("last",)
    assert open_checkpoint(tiny("mistral")).query_format == "Instruct: {}\nQuery: {}"
    assert open_checkpoint(tiny("bert")).pooling == ("mean",)
    assert open_checkpoint(tiny("bert")).query_format is None


def test_position_table_of_roberta_keeps_two_rows_for_padding(tiny):
    assert open_checkpoint(tiny("xlm-roberta")).max_positions == 128
    assert Embedder(tiny("xlm-roberta"), max_length=128).encode("word " * 300).shape == (32,)


def test_known_table_gives_format_and_lengths(tmp_path, tiny):
    folder = shutil.copytree(tiny("qwen3"), tmp_path / "Qwen3-Embedding-0.6B")
    checkpoint = open_checkpoint(folder)
    assert checkpoint.query_format == "Instruct: {}\nQuery:{}"
    assert checkpoint.instruction.startswith("Given a web search query")
    assert checkpoint.document_max_length == 1024  # the table says 8192, this model takes 1024


def test_every_known_row_is_consistent():
    assert len([name for name in KNOWN if name.startswith("reason-embed-")]) == 6
    for name, known in KNOWN.items():
        assert known.query_format.count("{}") == 2, name
        assert find_known(f"someone/{name.upper()}/") is known


def test_prompts_and_lengths_of_sentence_transformers(tmp_path, tiny):
    folder = shutil.copytree(tiny("bert"), tmp_path / "m")
    modules_of(folder, "sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling")
    (folder / "1_x").mkdir()
    (folder / "1_x/config.json").write_text('{"embedding_dimension": 32, "pooling_mode": ["cls", "mean"]}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 40, "do_lower_case": true}')
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "passage"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.query_prompt, checkpoint.document_prompt, checkpoint.default_prompt) == (
        "query: ",
        "passage: ",
        "passage: ",
    )
    assert (checkpoint.pooling, checkpoint.query_max_length, checkpoint.lower_case) == (("cls", "mean"), 40, True)
    embedder = Embedder(folder)
    assert embedder.dim == 64
    assert np.allclose(embedder.encode_queries("A"), embedder.encode_queries("query: a", instruction=""), atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("activation", ["Tanh", "GELU", "Identity"])
def test_layers_behind_the_pooling(tmp_path, tiny, activation):
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules as models

    transformer = models.Transformer(str(tiny("bert")))
    pool, dense = models.Pooling(32, "mean"), models.Dense(32, 12, activation_function=getattr(torch.nn, activation)())
    norm = models.LayerNorm(12)
    torch.nn.init.normal_(norm.norm.bias)
    peer = SentenceTransformer(modules=[transformer, pool, dense, norm, models.Normalize()], device="cpu")
    peer.save(str(tmp_path / "m"))
    texts = ["the theorem", "a matrix has an eigenvalue"]
    assert np.allclose(Embedder(tmp_path / "m", dtype="float32").encode(texts), peer.encode(texts), atol=1e-5)


def test_pickled_weights_are_refused_unopened(tmp_path, tiny):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was opened",))

    folder = shutil.copytree(tiny("bert"), tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match=r"only pickled weights \(pytorch_model.bin\)"):
        Embedder(folder)


def test_pickled_dense_layer_is_refused(tmp_path, tiny):
    folder = shutil.copytree(tiny("bert"), tmp_path / "m")
    modules_of(folder, "x.Transformer", "x.Pooling", "x.Dense")
    for name in ("1_x", "2_x"):
        (folder / name).mkdir()
    (folder / "1_x/config.json").write_text('{"pooling_mode": "mean"}')
    (folder / "2_x/pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(ModelError, match="pickled weights are refused"):
        Embedder(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json, modules.json or .gguf"),
        (lambda f: (f / "config.json").write_text("{"), "not a JSON file"),
        (lambda f: (f / "config.json").write_text("{}"), "names no model_type"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"short"), "the weights cannot be loaded"),
        (lambda f: (f / "modules.json").write_text("7"), "not a list of modules"),
        (lambda f: modules_of(f, "x.Transformer", "x.CNN"), "module x.CNN is not supported"),
        (
            lambda f: (f / "tokenizer.json").unlink() or (f / "tokenizer_config.json").unlink(),
            r"no tokenizer \(tokenizer.json",
        ),
    ],
)
def test_damaged_directories_say_what_is_wrong(tmp_path, tiny, spoil, message):
    folder = shutil.copytree(tiny("bert"), tmp_path / "m")
    spoil(folder)
    with pytest.raises((ModelError, ValueError), match=message):
        Embedder(folder, engine="torch")


def test_a_missing_directory_is_not_looked_up_on_the_hub(tmp_path):
    with pytest.raises(ModelError, match="no such directory"):
        open_checkpoint(tmp_path / "absent")


def test_an_unknown_hub_name_offline_says_so():
    with pytest.raises(ModelError, match="the hub does not give it"):
        open_checkpoint("nobody/no-such-model")


def test_remote_code_is_off(tmp_path, tiny):
    folder = shutil.copytree(tiny("bert"), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "never-heard-of", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match="trust_remote_code"):
        Embedder(folder, engine="torch")


def test_gguf_file_opens(tmp_path, tiny_qwen3):
    """A GGUF written with the gguf library from the tiny Llama gives the vectors of its safetensors."""
    from gguf_tiny import write_llama_gguf
    from tiny import build

    folder = build(tmp_path / "llama", "llama")
    file = write_llama_gguf(folder, tmp_path / "gguf" / "tiny.gguf")
    texts = ["the theorem", "a matrix has an eigenvalue"]
    reference = Embedder(folder, dtype="float32").encode(texts)
    for opened in (Embedder(file, dtype="float32"), Embedder(file.parent, dtype="float32")):
        assert np.allclose(opened.encode(texts), reference, atol=1e-5)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF nonsense")
    with pytest.raises(ModelError, match="cannot be read as GGUF"):
        open_checkpoint(tmp_path / "bad.gguf")
