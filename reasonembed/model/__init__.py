"""A directory of weights as an embedder: opening and saving checkpoints, token ids, pooling, engines."""
