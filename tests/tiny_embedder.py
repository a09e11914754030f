"""A deterministic embedder with what `build_index` uses, for tests of everything but the vectors."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy as np


class Tiny:
    """A deterministic embedder with what build_index uses: a text's digest is its vector, a word is a token."""

    name, dim, document_overhead = "tiny", 8, 0
    engine = SimpleNamespace(name="none", dtype="float32")

    def __init__(self, fingerprint="tiny-1", limit=40):
        self.fingerprint, self.embedded, self.asked, self.n_truncated = fingerprint, [], [], 0
        self.checkpoint = SimpleNamespace(document_max_length=limit, path="tiny")

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def encode_corpus(self, texts):
        self.embedded += texts
        return self._vectors(texts)

    def encode_queries(self, texts, *, instruction=None, max_length=None, progress=False):
        self.asked += texts
        return self._vectors(texts)

    def _vectors(self, texts):
        digests = [hashlib.sha256(text.encode()).digest() for text in texts]
        vectors = np.array([np.frombuffer(digest, np.uint16) for digest in digests])[:, :8].astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def describe(self):
        return {"model": self.name}
