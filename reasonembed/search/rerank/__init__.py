"""Reranking: the first documents of a search, judged one by one, in windows, or by a cross-encoder."""
