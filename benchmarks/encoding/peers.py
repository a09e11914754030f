"""Every contender as one function: settings in, a function from texts to unit vectors out.

It runs inside a worker, perhaps under another Python with other libraries, so nothing is imported before it is needed and
nothing of reasonembed but in `ours`. Each peer runs as its own documentation shows it, on the same texts, cut at the same length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Encode = Callable[[list[str]], Vectors]


@dataclass(frozen=True)
class Setup:
    """What a contender is told.

    Attributes:
        model: Directory in Sentence Transformers' layout.
        max_length: Limit in tokens, special tokens included.
        pooling: `mean`, `cls` or `last`.
        device: `cpu` or `cuda:0`.
        threads: Threads on a CPU.
        batch_size: Texts a batch for peers that count texts; 32 is Sentence Transformers' default.
        graph: Folder of an exported graph, for the peers that run one.
    """

    model: str
    max_length: int
    pooling: str
    device: str = "cpu"
    threads: int = 2
    batch_size: int = 32
    graph: str = ""


def ours(setup: Setup, *, engine: str = "torch", dtype: str = "auto") -> tuple[Encode, str, str]:
    """`reasonembed.Embedder`."""
    from reasonembed import Embedder

    directory = setup.graph if engine == "openvino" else setup.model
    if engine == "openvino" and not directory:
        raise ImportError("no OpenVINO graph of this model: give --st-openvino-python")
    embedder = Embedder(directory, engine=engine, device=setup.device, dtype=dtype, max_length=setup.max_length)
    return embedder.encode_corpus, str(embedder.engine.dtype), repr(embedder)


def shipped(setup: Setup) -> tuple[Encode, str, str]:
    """The small int8 model that ships with reasonembed; same architecture as MiniLM, quantised."""
    from reasonembed import Embedder

    embedder = Embedder(max_length=min(setup.max_length, 512))
    return embedder.encode_corpus, "int8", repr(embedder)


def sentence_transformers(
    setup: Setup, *, dtype: str = "float32", backend: str = "torch", graph_file: str = "", hint: str = ""
) -> tuple[Encode, str, str]:
    """`SentenceTransformer.encode`, on one of its backends."""
    from sentence_transformers import SentenceTransformer

    options: dict[str, Any] = {"dtype": dtype} if dtype != "float32" else {}
    directory = setup.model
    if backend != "torch":
        options, directory = {"file_name": graph_file}, setup.graph
    if backend == "onnx":
        options["provider"] = "CPUExecutionProvider"
    if hint:
        options["ov_config"] = {"INFERENCE_PRECISION_HINT": hint}
    model = SentenceTransformer(directory, device=setup.device, backend=backend, model_kwargs=options)
    model.max_seq_length = setup.max_length

    def encode(texts: list[str]) -> Vectors:
        vectors = model.encode(
            texts,
            batch_size=setup.batch_size,
            normalize_embeddings=True,
            convert_to_numpy=False,
            convert_to_tensor=True,
        )
        result: Vectors = vectors.float().cpu().numpy()
        return result

    said = _openvino_dtype(model) if backend == "openvino" else dtype
    return encode, said, f"batch {setup.batch_size}, sorted by characters"


def _openvino_dtype(model: Any) -> str:
    """What a compiled OpenVINO graph multiplies in: where nothing is asked for, the plugin takes bf16 if the processor has it."""
    request = model[0].auto_model.request
    compiled = request if hasattr(request, "get_property") else request.get_compiled_model()
    name = str(compiled.get_property("INFERENCE_PRECISION_HINT"))
    return "bfloat16" if "bf" in name.lower() else "float32"


def flag_embedding(setup: Setup, *, bf16: bool) -> tuple[Encode, str, str]:
    """FlagEmbedding's `FlagLLMModel` for last-token pooling, `FlagModel` else."""
    import FlagEmbedding

    decoder = setup.pooling == "last"
    options: dict[str, Any] = {} if decoder else {"pooling_method": setup.pooling}
    model = (FlagEmbedding.FlagLLMModel if decoder else FlagEmbedding.FlagModel)(
        setup.model, use_fp16=False, use_bf16=bf16, devices=setup.device, normalize_embeddings=True,
        batch_size=setup.batch_size, query_max_length=setup.max_length, passage_max_length=setup.max_length, **options,
    )  # fmt: skip

    def encode(texts: list[str]) -> Vectors:
        vectors: Vectors = np.asarray(model.encode_corpus(texts), np.float32)
        return vectors

    said = "float32" if setup.device == "cpu" or not bf16 else "bfloat16"  # on a CPU only the weights are rounded
    return encode, said, f"batch {setup.batch_size}, first batch twice"


def naive(setup: Setup) -> tuple[Encode, str, str]:
    """The loop of a model card: batches in input order, padded to their longest text."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(setup.model, padding_side="left" if setup.pooling == "last" else "right")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModel.from_pretrained(setup.model, dtype=torch.float32).to(setup.device).eval()

    def encode(texts: list[str]) -> Vectors:
        rows = []
        for start in range(0, len(texts), setup.batch_size):
            part = texts[start : start + setup.batch_size]
            batch = tokenizer(part, padding=True, truncation=True, max_length=setup.max_length, return_tensors="pt")
            batch = batch.to(setup.device)
            with torch.no_grad():
                hidden = model(**batch).last_hidden_state
            if setup.pooling == "mean":
                mask = batch["attention_mask"][..., None].to(hidden.dtype)
                pooled = (hidden * mask).sum(1) / mask.sum(1)
            else:
                pooled = hidden[:, -1 if setup.pooling == "last" else 0]
            rows.append(torch.nn.functional.normalize(pooled.float(), dim=-1).cpu().numpy())
        return np.concatenate(rows)

    return encode, "float32", f"batch {setup.batch_size}, input order"


def onnxruntime(setup: Setup, *, sort: bool) -> tuple[Encode, str, str]:
    """The bare onnxruntime: batches of 256 in input order as fastembed runs them, or token sort and a budget of 2,048 tokens."""
    import onnxruntime as ort
    from tokenizers import Tokenizer

    options = ort.SessionOptions()
    options.intra_op_num_threads = setup.threads
    session = ort.InferenceSession(_graph(setup.graph, "model.onnx"), options, providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    tokenizer = Tokenizer.from_file(f"{setup.model}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(setup.max_length)

    def forward(rows: list[list[int]]) -> Vectors:
        longest = max(map(len, rows))
        ids, mask = (np.zeros((len(rows), longest), np.int64) for _ in range(2))
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = session.run(None, {name: value for name, value in feeds.items() if name in names})[0]
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        result: Vectors = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)
        return result

    def encode(texts: list[str]) -> Vectors:
        rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        vectors: list[Any] = [None] * len(rows)
        for batch in _batches([len(row) for row in rows], sort=sort):
            for index, vector in zip(batch, forward([rows[index] for index in batch]), strict=True):
                vectors[index] = vector
        return np.stack(vectors)

    return encode, "float32", "token sort, 2,048-token budget" if sort else "batch 256, input order"


def _batches(lengths: list[int], *, sort: bool) -> list[list[int]]:
    if not sort:
        return [list(range(start, min(start + 256, len(lengths)))) for start in range(0, len(lengths), 256)]
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= 2048:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _graph(folder: str, name: str) -> str:
    found = next(iter(sorted(Path(folder).rglob(name))), None) if folder else None
    if found is None:
        raise ImportError(f"no {name} of this model: give --st-onnx-python")
    return str(found)


def export(setup: Setup, backend: str, out: str) -> None:
    """Export a model's graph by Sentence Transformers, in a process of its own so that its memory counts for nobody."""
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(setup.model, device="cpu", backend=backend, model_kwargs={"export": True}).save_pretrained(out)


CONTENDERS: dict[str, tuple[str, Callable[[Setup], tuple[Encode, str, str]]]] = {
    "reasonembed torch float32": ("own", lambda s: ours(s, dtype="float32")),
    "reasonembed torch bfloat16": ("own", lambda s: ours(s, dtype="bfloat16")),
    "reasonembed openvino float32": ("own", lambda s: ours(s, engine="openvino", dtype="float32")),
    "reasonembed openvino bfloat16": ("own", lambda s: ours(s, engine="openvino", dtype="bfloat16")),
    "reasonembed shipped int8": ("own", shipped),
    "sentence-transformers": ("own", sentence_transformers),
    "sentence-transformers bf16": ("own", lambda s: sentence_transformers(s, dtype="bfloat16")),
    "sentence-transformers onnx": (
        "onnx", lambda s: sentence_transformers(s, backend="onnx", graph_file="onnx/model.onnx"),
    ),
    "sentence-transformers openvino": (
        "openvino", lambda s: sentence_transformers(s, backend="openvino", graph_file="openvino/openvino_model.xml"),
    ),
    "sentence-transformers openvino f32": (
        "openvino",
        lambda s: sentence_transformers(s, backend="openvino", graph_file="openvino/openvino_model.xml", hint="f32"),
    ),
    "FlagEmbedding": ("own", lambda s: flag_embedding(s, bf16=False)),
    "FlagEmbedding bf16": ("own", lambda s: flag_embedding(s, bf16=True)),
    "onnxruntime fastembed-like": ("onnx", lambda s: onnxruntime(s, sort=False)),
    "onnxruntime sorted, budget": ("onnx", lambda s: onnxruntime(s, sort=True)),
    "transformers loop": ("own", naive),
}  # fmt: skip
"""Name -> (which Python runs it: `own`, `onnx`, `openvino`; loader). A loader gives the encoder, its dtype, and a note."""

REFERENCE = "sentence-transformers"
"""Its float32 vectors are the reference of the cosines, its speed the 1.00 of the ratios."""
