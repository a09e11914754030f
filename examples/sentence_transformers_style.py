"""Sentence Transformers opens the same directory; `encode_query` and `encode_document` of our Embedder do the same, faster.

python examples/sentence_transformers_style.py [CHECKPOINT]
"""

import sys

from questions import CHECKPOINT, DOCUMENTS, INSTRUCTION, QUERIES, show
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(sys.argv[1] if len(sys.argv) > 1 else CHECKPOINT)
queries = model.encode(QUERIES, prompt=f"Instruct: {INSTRUCTION}\nQuery: ", normalize_embeddings=True)
documents = model.encode(DOCUMENTS, normalize_embeddings=True)
show(queries @ documents.T)
