"""Eight reference texts and their vectors, stored beside a saved model, so that any engine or server can be checked later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reasonembed.errors import ModelError
from reasonembed.io.manifest import read_json, write_json

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

REFERENCE_TEXTS = (
    "eigenvalue",
    "What are the eigenvalues of the matrix [[5, 4], [1, 2]]?",
    "Instruct: Given a Math problem, retrieve relevant theorems that help answer the problem.\n"
    "Query: What is the smallest Hamming distance between two images of five pixels in a code that corrects one error?",
    "An eigenvector of a square matrix is a vector that the matrix only stretches: A v = λ v, with the eigenvalue λ.",
    "def search(a, x):\n    lo, hi = 0, len(a)\n    while lo < hi:\n        mid = (lo + hi) // 2\n"
    "        lo, hi = (mid + 1, hi) if a[mid] < x else (lo, mid)\n    return lo",
    "Größe, naïveté, 東京, привет, ∫₀¹ x² dx = ⅓ 🙂",
    "  blanks before,\ttabs within,\n\nlines between, and blanks after  ",
    "Osmosis moves water through a membrane towards the side with more solute. " * 6,
)
"""Short and long, prose and code, a formatted query, other scripts, odd blanks; embedded exactly as they stand, no prompt."""

_FILE = "reference.json"
_VECTORS = "reference.safetensors"


def embed_reference(embedder: Embedder) -> npt.NDArray[np.float32]:
    """Vectors of the reference texts without any prompt, (8, dim) float32, unit norm."""
    return embedder.encode_queries(list(REFERENCE_TEXTS), instruction="")


def write_reference(folder: Path, embedder: Embedder) -> None:
    """Write texts and vectors into a model directory."""
    from safetensors.numpy import save_file

    vectors = embed_reference(embedder)
    made_by = {key: value for key, value in embedder.describe().items() if key in ("engine", "dtype", "device", "dim")}
    write_json(folder / _FILE, {"texts": list(REFERENCE_TEXTS), "made_by": made_by})
    save_file({"vectors": vectors}, str(folder / _VECTORS))


def read_reference(folder: Path) -> tuple[list[str], npt.NDArray[np.float32]] | None:
    """Texts and vectors stored beside a model; None where it has none.

    Raises:
        ModelError: Texts and vectors do not fit together.
    """
    if not (folder / _FILE).is_file():
        return None
    from safetensors.numpy import load_file

    texts = read_json(folder / _FILE)["texts"]
    vectors = load_file(folder / _VECTORS)["vectors"]
    if len(texts) != len(vectors):
        raise ModelError(f"{folder}: {len(texts)} reference texts, {len(vectors)} vectors. Fix: save the model again")
    return texts, vectors
