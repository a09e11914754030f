"""Texts to vectors: the Embedder, FlagEmbedding's interface over it, whole corpora, an embeddings server."""
