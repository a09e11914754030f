"""Our own way: one Embedder for every checkpoint; without a name it is the small model that ships, offline and on a CPU.

python examples/embedder.py [CHECKPOINT]
"""

import sys

from questions import DOCUMENTS, INSTRUCTION, QUERIES, show

from reasonembed import Embedder

# The default dtype, "auto", is bfloat16 where the hardware multiplies it.
embedder = Embedder(sys.argv[1] if len(sys.argv) > 1 else None, dtype="float32")
queries = embedder.encode_queries(QUERIES, instruction=INSTRUCTION if embedder.takes_instructions else None)
documents = embedder.encode_corpus(DOCUMENTS)
show(embedder.similarity(queries, documents))
