"""Says whether a model directory or an embeddings server gives the vectors it should, and what the likely cause is where not.

The eight reference texts stored beside a saved model are embedded again; where the cosines are off, the local model is tried with
one thing changed at a time (pooling, EOS, prompt), and the change that reproduces the wrong vectors is the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reasonembed.encode.embedder import Embedder
from reasonembed.encode.endpoint import Endpoint
from reasonembed.encode.reference import REFERENCE_TEXTS, read_reference
from reasonembed.model.head import l2_normalise

Vectors = npt.NDArray[np.float32]

SAME = {"float32": 0.9999, "bfloat16": 0.999, "float16": 0.999}
"""Lowest cosine that counts as the same vector, by dtype of the arithmetic (design.md section 2)."""

FITS = 0.999
"""Lowest cosine at which a changed setting explains observed vectors."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: `ok`, `note` or `problem`.
        what: The subject, one word or two.
        detail: What was seen, with numbers, and the fix where there is one.
    """

    level: str
    what: str
    detail: str


def examine_model(embedder: Embedder) -> list[Finding]:
    """Findings about a local model: what it is, its pooled token and prompt, company, norm, reference vectors."""
    return [
        *_facts(embedder),
        _company(lambda texts: embedder.encode_queries(texts, instruction=""), embedder.engine.dtype),
        *_reference(embedder),
    ]


def examine_endpoint(endpoint: Endpoint, reference: Embedder | None) -> list[Finding]:
    """Findings about a server, compared with a local model where one is given."""
    observed = endpoint.embed(REFERENCE_TEXTS)
    findings = [Finding("note", "server", f"{endpoint.url}, model {endpoint.model!r}, {observed.shape[1]} dimensions")]
    if not np.isfinite(observed).all():
        return [
            *findings,
            Finding("problem", "values", "vectors hold NaN or infinity: float16 overflow? Fix: serve in bfloat16"),
        ]
    findings += [_norm(observed), _company(endpoint.embed, "bfloat16")]
    if reference is None:
        return [
            *findings,
            Finding("note", "reference", "nothing to compare with. Fix: --reference MODEL_DIRECTORY"),
        ]
    stored = read_reference(reference.checkpoint.path)
    expected = (
        stored[1]
        if stored and tuple(stored[0]) == REFERENCE_TEXTS
        else reference.encode_queries(list(REFERENCE_TEXTS), instruction="")
    )
    return [*findings, *_compare(observed, expected, SAME["bfloat16"], reference, "the server's vectors")]


def _facts(embedder: Embedder) -> list[Finding]:
    checkpoint, tokenizer = embedder.checkpoint, embedder.tokenizer
    limit = checkpoint.document_max_length
    (short, cut), _ = tokenizer.encode(["probe", "probe " * (limit + 8)], max_length=limit)
    ends = [tokenizer.tokenizer.id_to_token(int(ids[-1])) for ids in (short, cut)]
    before, after = embedder.query_prompt()
    eos = Finding("ok", "EOS", f"a short text and one cut to {limit} tokens both end in {ends[0]!r}")
    if tokenizer.pooled_token is None and "last" in checkpoint.pooling:
        eos = Finding(
            "note",
            "EOS",
            "no EOS: last-token pooling reads the last token of the text itself, as the checkpoint says",
        )
    engine = embedder.engine
    texts = f"{before + 'QUERY' + after!r}, a document as {checkpoint.document_prompt + 'DOCUMENT'!r}"
    pooling = f"{'+'.join(checkpoint.pooling)}, {len(checkpoint.heads)} layers behind it, {embedder.dim} dimensions"
    runs = f"{engine.name} on {engine.device} in {engine.dtype}"
    return [
        Finding("ok", "opened", f"{checkpoint.layout} directory, {checkpoint.model_type}, {runs}"),
        Finding("ok", "pooling", pooling),
        eos,
        Finding("ok", "prompt", f"a query is embedded as {texts}"),
        Finding("ok", "lengths", f"queries {checkpoint.query_max_length}, documents {limit} tokens"),
    ]


def _company(embed: Callable[[Sequence[str]], Vectors], dtype: str) -> Finding:
    texts = list(REFERENCE_TEXTS)
    together = embed(texts)
    alone = np.concatenate([embed([text]) for text in texts])
    lowest = float(_cosines(together, alone).min())
    if lowest < SAME[dtype]:
        return Finding(
            "problem",
            "company",
            f"a text's vector depends on its batch: lowest cosine {lowest:.6f}. Fix: check padding side and attention mask",
        )
    return Finding("ok", "company", f"a text has the same vector alone and in a batch: lowest cosine {lowest:.6f}")


def _norm(vectors: Vectors) -> Finding:
    norms = np.linalg.norm(vectors, axis=1)
    if abs(norms - 1).max() > 1e-2:
        return Finding(
            "problem",
            "norm",
            f"lengths run from {norms.min():.3f} to {norms.max():.3f}: not normalised. Fix: normalise, or inner products are no cosines",
        )
    return Finding("ok", "norm", "unit length")


def _reference(embedder: Embedder) -> list[Finding]:
    stored = read_reference(embedder.checkpoint.path)
    if stored is None:
        return [Finding("note", "reference", "no reference vectors beside the model. Fix: Embedder.save writes them")]
    texts, expected = stored
    found = embedder.encode_queries(texts, instruction="")
    return _compare(expected, found, SAME[embedder.engine.dtype], embedder, "the stored vectors")


def _compare(observed: Vectors, expected: Vectors, same: float, model: Embedder, whose: str) -> list[Finding]:
    if observed.shape[1] != expected.shape[1]:
        return [
            Finding(
                "problem",
                "reference",
                f"{whose} have {observed.shape[1]} dimensions, the model {expected.shape[1]}: another model, or truncated",
            )
        ]
    cosines = _cosines(observed, expected)
    rows = [
        Finding("ok" if c >= same else "problem", f"text {i + 1}", f"cosine {c:.6f}: {REFERENCE_TEXTS[i][:40]!r}")
        for i, c in enumerate(cosines)
    ]
    if cosines.min() >= same:
        return [
            *rows,
            Finding("ok", "reference", f"all {len(rows)} as expected: lowest cosine {cosines.min():.6f}"),
        ]
    return [*rows, Finding("problem", "cause", _cause(observed, cosines, model, whose))]


def _cause(observed: Vectors, cosines: npt.NDArray[np.float32], model: Embedder, whose: str) -> str:
    tried = [
        (float(_cosines(observed, vectors).min()), name)
        for name, vectors in _variants(model)
        if vectors.shape == observed.shape
    ]
    best, name = max(tried, default=(0.0, ""))
    if best >= FITS:
        return f"{whose} are those of {name} (lowest cosine {best:.6f})"
    if cosines.min() > 0.98:
        return (
            f"precision: every text is near (lowest cosine {cosines.min():.4f}). Fix: compare dtypes and quantisation"
        )
    if int((cosines < FITS).sum()) == 1 and int(cosines.argmin()) == len(cosines) - 1:
        return "only the longest text differs. Fix: raise the server's length limit"
    return f"not found; nearest is {name} with cosine {best:.3f}. Fix: are the weights the same?"


def _variants(model: Embedder) -> Iterator[tuple[str, Vectors]]:
    """The local model's vectors of the reference texts with one thing changed at a time."""
    texts: Sequence[str] = list(REFERENCE_TEXTS)
    path: Path = (
        model.checkpoint.path
        if model.checkpoint.gguf_file is None
        else model.checkpoint.path / model.checkpoint.gguf_file
    )

    def opened(**changed: Any) -> Embedder:
        options: dict[str, Any] = {
            "append_eos": bool(model.tokenizer.suffix) and "last" in model.checkpoint.pooling,
            **changed,
        }
        return Embedder(path, engine=model.engine.name, device=model.engine.device, dtype=model.engine.dtype, **options)

    for mode in ("last", "mean", "cls"):
        if (mode,) != model.checkpoint.pooling:
            yield (
                f"pooling {mode!r} instead of {'+'.join(model.checkpoint.pooling)!r}",
                opened(pooling=mode).encode_queries(texts, instruction=""),
            )
    other = opened()
    if other.tokenizer.suffix:
        other.tokenizer = replace(other.tokenizer, suffix=())
        yield "texts without EOS", other.encode_queries(texts, instruction="")
    before, after = model.query_prompt()
    if before or after:
        yield f"texts with the query prompt {before!r}", model.encode_queries(texts)
    if model.checkpoint.document_prompt:
        yield (
            f"texts with the document prompt {model.checkpoint.document_prompt!r}",
            model.encode_corpus(texts),
        )


def _cosines(a: Vectors, b: Vectors) -> npt.NDArray[np.float32]:
    cosines: npt.NDArray[np.float32] = (l2_normalise(a) * l2_normalise(b)).sum(axis=1)
    return cosines
