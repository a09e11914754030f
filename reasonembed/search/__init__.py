"""Vectors and texts in, ranked hits out. A searcher knows ids, vectors or words, no model, no benchmark."""
