"""FlagEmbedding's interface: the import line is the only one that differs from code written for FlagEmbedding.

python examples/flagembedding_style.py [CHECKPOINT]
"""

import sys

from questions import CHECKPOINT, DOCUMENTS, INSTRUCTION, QUERIES, show

from reasonembed import FlagLLMModel  # was: from FlagEmbedding import FlagLLMModel

model = FlagLLMModel(
    sys.argv[1] if len(sys.argv) > 1 else CHECKPOINT,
    query_instruction_for_retrieval=INSTRUCTION,
    query_instruction_format="Instruct: {}\nQuery: {}",
    use_fp16=False,
    use_bf16=True,
)
queries = model.encode_queries(QUERIES)
documents = model.encode_corpus(DOCUMENTS)
show(queries @ documents.T)
