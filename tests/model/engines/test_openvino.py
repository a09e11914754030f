"""The OpenVINO engine against texts run alone, the torch engine on the same weights, and broken files."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonembed import data
from reasonembed.errors import ModelError
from reasonembed.io.jsonl import read_jsonl
from reasonembed.model import mini
from reasonembed.model.checkpoint import open_checkpoint
from reasonembed.model.engines import open_engine
from reasonembed.model.engines.openvino import TOKEN_BUDGET, OpenVINOEngine, pad
from reasonembed.model.hardware import has_bf16
from reasonembed.model.tokens import open_tokenizer
from reasonembed.openvino_runtime import import_openvino


def cosines(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture(scope="module")
def checkpoint():
    return open_checkpoint(mini.path())


@pytest.fixture(scope="module")
def engine(checkpoint):
    return OpenVINOEngine(checkpoint, dtype="float32")


@pytest.fixture(scope="module")
def reference(engine, token_ids):
    """(60, 384) float32, all in one call."""
    return engine.embed(token_ids)


@pytest.fixture(scope="module")
def token_ids(checkpoint):
    """60 real texts: theorems (long) and questions (short), 2 to 256 tokens."""
    rows = [row for _, row in read_jsonl(data.theoremqa() / "corpus.jsonl.gz")][:24]
    texts = [f"{row['title']} {row['text']}" for row in rows]
    texts += [*[row["text"] for _, row in read_jsonl(data.theoremqa() / "queries.jsonl.gz")][:35], ""]
    return open_tokenizer(checkpoint).encode(texts, max_length=256)[0]


def alone(checkpoint, token_ids):
    """First row of the graph's output for one text after the other, nothing padded."""
    openvino = import_openvino()
    options = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    model = openvino.Core().compile_model(checkpoint.openvino_file, "CPU", options)
    return np.stack([model([ids[None], np.ones((1, len(ids)), np.int64)])[0][0][0] for ids in token_ids])


def test_batches_give_what_each_text_gives_alone(engine, checkpoint, token_ids):
    assert {len(ids) for ids in token_ids} >= {2, 256}
    assert sum(map(len, token_ids)) > 2 * TOKEN_BUDGET  # several batches
    expected = alone(checkpoint, token_ids)
    vectors = engine.embed(token_ids)
    assert vectors.shape == (len(token_ids), 384)
    assert vectors.dtype == np.float32
    assert cosines(vectors, expected).min() >= 0.99999
    np.testing.assert_allclose(vectors, expected, atol=2e-4)


@pytest.fixture(scope="module")
def bf16(checkpoint):
    return OpenVINOEngine(checkpoint, dtype="bfloat16") if has_bf16() else None


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(60)), cuts=st.lists(st.integers(0, 16), max_size=3))
def test_company_and_order_change_nothing(engine, bf16, reference, token_ids, order, cuts):
    """Any order, cut into any calls; the first 16 of it, so that long and short texts meet in all ways."""
    chosen, edges = order[:16], sorted({0, 16, *cuts})
    for running, least in ((engine, 0.99999), (bf16, 0.999)):
        if running is None:
            continue
        calls = [chosen[start:end] for start, end in itertools.pairwise(edges)]
        vectors = np.concatenate([running.embed([token_ids[i] for i in call]) for call in calls])
        assert cosines(vectors, reference[chosen]).min() >= least


def test_each_alone_is_what_it_is_in_company(engine, reference, token_ids):
    alone = np.concatenate([engine.embed([ids]) for ids in token_ids[::7]])
    assert cosines(alone, reference[::7]).min() >= 0.99999


def test_several_threads_share_an_engine(engine, reference, token_ids):
    """More callers than requests, each with several batches: everyone gets its own vectors, nobody waits for ever."""
    found = {}

    def run(number):
        order = np.random.default_rng(number).permutation(60)[:30]
        found[number] = cosines(engine.embed([token_ids[i] for i in order]), reference[order]).min()

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 5
    assert min(found.values()) >= 0.99999


@pytest.fixture(scope="module")
def converted(tiny, tmp_path_factory):
    """A random BERT of 128 positions, converted here, float32."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModel

    openvino = import_openvino()
    folder = shutil.copytree(tiny("bert"), tmp_path_factory.mktemp("converted") / "bert")
    model = AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval()

    class TokenVectors(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state

    example = torch.ones((2, 7), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing in torch is deprecated, and the way openvino goes
        graph = openvino.convert_model(TokenVectors(), example_input=(example, example, torch.zeros_like(example)))
    (folder / "openvino").mkdir()
    openvino.save_model(graph, folder / "openvino" / "openvino_model.xml", compress_to_fp16=False)
    return open_checkpoint(folder)


def test_an_error_on_the_way_leaves_a_working_engine(converted):
    """A graph with fewer positions than its config says: the longest text fails while others are in flight."""
    rng = np.random.default_rng(1)
    token_ids = [rng.integers(0, 384, size) for size in rng.integers(60, 129, 120)]
    reference = OpenVINOEngine(converted, dtype="float32").embed(token_ids)
    engine = OpenVINOEngine(replace(converted, max_positions=None), dtype="float32")
    bad = [*token_ids[:20], np.full(600, 37), *token_ids[20:]]
    assert sum(map(len, bad)) > 2 * TOKEN_BUDGET  # several batches
    for _ in range(3):
        with pytest.raises(RuntimeError):
            engine.embed(bad)
    assert cosines(engine.embed(token_ids[:30]), reference[:30]).min() >= 0.99999


def test_the_number_of_threads_changes_no_bit(reference, checkpoint, token_ids, monkeypatch):
    """What makes shards of several processes, each with its share of the cores, the bytes of one process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one = OpenVINOEngine(checkpoint, dtype="float32")
    np.testing.assert_array_equal(one.embed(token_ids), reference)


def test_several_pooling_modes_and_a_prompt_left_out(engine, checkpoint, token_ids):
    both = OpenVINOEngine(replace(checkpoint, pooling=("cls", "mean")), dtype="float32")
    assert both.dim == 768
    np.testing.assert_allclose(both.embed(token_ids[:3])[:, :384], engine.embed(token_ids[:3]), atol=1e-5)
    mean = OpenVINOEngine(replace(checkpoint, pooling=("mean",)), dtype="float32")
    openvino = import_openvino()
    model = openvino.Core().compile_model(
        checkpoint.openvino_file,
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
    )
    ids = token_ids[0]
    hidden = model([ids[None], np.ones((1, len(ids)), np.int64)])[0][0]  # (length, 384)
    vectors = mean.embed([ids, token_ids[1]], prompt_lengths=[5, 0])
    np.testing.assert_allclose(vectors[0], hidden[5:].mean(0), atol=2e-4)
    np.testing.assert_allclose(vectors[1], mean.embed([token_ids[1]])[0], atol=2e-4)


def test_no_texts_and_one_token(engine):
    assert engine.embed([]).shape == (0, 384)
    assert engine.embed([]).dtype == np.float32
    vector = engine.embed([np.array([101])])
    assert vector.shape == (1, 384)
    assert np.isfinite(vector).all()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([101, 50265]), "token id 50265 is outside the vocabulary of 50265"),
        (np.array([101, -1]), "token id -1 is outside"),
        (np.full(513, 101), "513 tokens, the model has 512 positions"),
        (np.array([], dtype=np.int64), "text 1 has no tokens"),
    ],
)
def test_ids_the_model_cannot_take_are_refused(engine, ids, message):
    with pytest.raises(ModelError, match=message):
        engine.embed([np.array([101, 102]), ids])


def test_pad_puts_zeros_on_the_right():
    ids, mask = pad([np.array([7]), np.array([5, 6, 4])])
    assert ids.tolist() == [[7, 0, 0], [5, 6, 4]]
    assert mask.tolist() == [[1, 0, 0], [1, 1, 1]]


def test_same_vectors_as_the_torch_engine_on_the_same_weights(converted):
    """Two independent runtimes, one answer."""
    rng = np.random.default_rng(0)
    token_ids = [rng.integers(0, 384, size) for size in (1, 2, 9, 60, 128, 3)]
    ours = open_engine(converted, engine="auto", dtype="float32")
    assert ours.name == "openvino"
    theirs = open_engine(converted, engine="torch", device="cpu", dtype="float32")
    assert cosines(ours.embed(token_ids), theirs.embed(token_ids)).min() >= 0.9999


def test_bfloat16_stays_close_to_float32(engine, checkpoint, token_ids):
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert OpenVINOEngine(checkpoint).dtype == ("bfloat16" if has_bf16() else "float32")
    if "BF16" not in capabilities:
        assert not has_bf16()
        with pytest.raises(ModelError, match="would compute in f32 instead"):
            OpenVINOEngine(checkpoint, dtype="bfloat16")
        return
    half = OpenVINOEngine(checkpoint, dtype="bfloat16")
    assert half.dtype == "bfloat16"
    assert cosines(half.embed(token_ids), engine.embed(token_ids)).min() >= 0.999


def test_a_dtype_the_processor_has_not_is_refused(checkpoint):
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "FP16" in capabilities:
        pytest.skip("this processor computes in float16")
    with pytest.raises(ModelError, match=r"dtype 'float16': cpu would compute in \w+ instead. Fix: dtype='float32'"):
        OpenVINOEngine(checkpoint, dtype="float16")


def test_an_absent_device_is_refused(checkpoint):
    with pytest.raises(ModelError, match=r"device 'npu9' is not here. Fix: one of cpu"):
        OpenVINOEngine(checkpoint, device="npu9")


def test_no_graph_is_refused(checkpoint):
    with pytest.raises(ModelError, match="no OpenVINO graph"):
        OpenVINOEngine(replace(checkpoint, openvino_file=None))


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_a_missing_or_truncated_file_is_named(checkpoint, tmp_path, suffix):
    folder = shutil.copytree(checkpoint.openvino_file.parent, tmp_path / "openvino")
    broken = replace(checkpoint, openvino_file=folder / checkpoint.openvino_file.name)
    file = broken.openvino_file.with_suffix(suffix)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"openvino_model\.xml: not a readable OpenVINO graph"):
        OpenVINOEngine(broken)
    file.unlink()
    with pytest.raises(ModelError, match=f"openvino_model{suffix}: no such file"):
        OpenVINOEngine(broken)


def test_a_graph_that_does_not_give_token_vectors_is_refused(checkpoint, tmp_path):
    openvino = import_openvino()
    from openvino import opset13 as ops

    ids = ops.parameter([-1, -1], np.int64, name="input_ids")
    mask = ops.parameter([-1, -1], np.int64, name="attention_mask")
    for port, name in ((ids, "input_ids"), (mask, "attention_mask")):
        port.output(0).set_names({name})
    file = tmp_path / "openvino_model.xml"
    openvino.save_model(openvino.Model([ops.add(ids, mask)], [ids, mask]), file)
    with pytest.raises(ModelError, match=r"token vectors \(batch, length, dim\) are needed"):
        OpenVINOEngine(replace(checkpoint, openvino_file=file))
    openvino.save_model(openvino.Model([ops.add(ids, ids)], [ids]), file)
    with pytest.raises(ModelError, match="input_ids and attention_mask are needed"):
        OpenVINOEngine(replace(checkpoint, openvino_file=file))


def test_nothing_is_reported_and_torch_is_not_needed(tmp_path):
    """openvino reports its own import unless its telemetry is hidden; traces would lie in the home folder."""
    program = (
        "import sys; from reasonembed import Embedder; Embedder().encode(['eigenvalue']);"
        "print(sorted({'openvino_telemetry', 'torch', 'transformers'} & set(sys.modules)))"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert not (tmp_path / "intel").exists()
