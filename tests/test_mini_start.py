"""The start of the small model out of a pack: the same numbers under Transformers' names, and nothing else accepted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from reasonembed import Embedder
from reasonembed.errors import DataError

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import mini_start

ARCHITECTURE = {"hidden": 64, "layers": 2, "heads": 4, "intermediate": 128, "vocab": 261, "max_positions": 34}
SIZES = {"type_vocab": 2, "layer_norm_eps": 1e-12, "position_offset": 2}
META = {"pooling": "cls", "max_length": 32}


def tokenizer():
    """RoBERTa's special tokens and one token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *alphabet, "<mask>"])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return made.to_str().encode()


def shapes():
    yield from (("word_emb", (261, 64), 64), ("pos_emb", (34, 64), 0), ("type_emb", (2, 64), 0))
    yield from (("emb_ln.w", (64,), 0), ("emb_ln.b", (64,), 0))
    for number in range(2):
        for name, rows, columns in (("qkv", 192, 64), ("ao", 64, 64), ("f1", 128, 64), ("f2", 64, 128)):
            yield f"l{number}.{name}.w", (rows, columns), 64
            yield f"l{number}.{name}.b", (rows,), 0
        for name in ("aln", "fln"):
            yield from ((f"l{number}.{name}.w", (64,), 0), (f"l{number}.{name}.b", (64,), 0))


@pytest.fixture(scope="module")
def pack():
    """A pack of a tiny model, and its tensors in float32."""
    rng = np.random.default_rng(7)
    entries, parts, expected = [], [], {}
    for name, shape, group in shapes():
        if group:
            values = rng.integers(-127, 128, (int(np.prod(shape)) // group, group)).astype("i1")
            scales = rng.uniform(1e-3, 3e-3, (len(values), 1)).astype("<f4")
            raw, expected[name] = values.tobytes() + scales.tobytes(), (values * scales).reshape(shape)
        else:
            expected[name] = rng.normal(1.0 if name.endswith("ln.w") else 0.0, 0.05, shape).astype("<f4")
            raw = expected[name].tobytes()
        entries.append(
            {"name": name, "dtype": "i8" if group else "f32", "shape": shape, "len": len(raw), "group": group}
        )
        parts.append(raw)
    text = tokenizer()
    header = {"meta": META, "arch": ARCHITECTURE | SIZES, "tokenizer_len": len(text), "tensors": entries}
    head = json.dumps(header).encode()
    return mini_start.MAGIC + len(head).to_bytes(8, "little") + head + text + b"".join(parts), expected


def test_the_directory_is_a_roberta_with_the_packs_numbers(pack, tmp_path):
    transformers = pytest.importorskip("transformers")
    mini_start.write(pack[0], tmp_path / "start")
    model, loaded = transformers.AutoModel.from_pretrained(tmp_path / "start", output_loading_info=True)
    assert type(model).__name__ == "RobertaModel"
    assert not loaded["missing_keys"]
    assert not loaded["unexpected_keys"]
    weights = {name: tensor.detach().numpy() for name, tensor in model.named_parameters()}
    expected = pack[1]
    np.testing.assert_array_equal(weights["embeddings.word_embeddings.weight"], expected["word_emb"])
    key = weights["encoder.layer.1.attention.self.key.weight"]
    np.testing.assert_array_equal(key, expected["l1.qkv.w"][64:128])
    np.testing.assert_array_equal(weights["encoder.layer.0.output.dense.weight"], expected["l0.f2.w"])
    np.testing.assert_array_equal(weights["encoder.layer.1.output.LayerNorm.bias"], expected["l1.fln.b"])


def test_the_embedder_and_transformers_agree_on_it(pack, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    mini_start.write(pack[0], tmp_path / "start")
    texts = ["Why does ice float?", "x", "a longer text that is cut at thirty-two tokens, one for each of its bytes"]
    found = Embedder(tmp_path / "start", engine="torch", dtype="float32").encode_corpus(texts)
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "start")
    model = transformers.AutoModel.from_pretrained(tmp_path / "start").eval()
    with torch.no_grad():
        inputs = read(texts, padding=True, truncation=True, return_tensors="pt")
        first = model(**inputs).last_hidden_state[:, 0]
    np.testing.assert_allclose(found, torch.nn.functional.normalize(first, dim=-1).numpy(), atol=1e-5)


def test_what_is_no_pack_or_another_is_refused(pack, tmp_path):
    with pytest.raises(DataError, match="SHA-256"):
        mini_start.checked(pack[0])
    with pytest.raises(DataError, match="begins with"):
        mini_start.write(b"GGUF" + pack[0][4:], tmp_path / "no")
    with pytest.raises(DataError, match="bytes, its header says"):
        mini_start.write(pack[0] + b"\0", tmp_path / "no")
    assert not (tmp_path / "no").exists()
