"""Plain Transformers: what every other way must reproduce. The tokenizer appends EOS, the last token is the vector.

python examples/transformers_style.py [CHECKPOINT]
"""

import sys

import torch
from questions import CHECKPOINT, DOCUMENTS, INSTRUCTION, QUERIES, show
from transformers import AutoModel, AutoTokenizer

name = sys.argv[1] if len(sys.argv) > 1 else CHECKPOINT
tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
model = AutoModel.from_pretrained(name, dtype="auto").eval()


@torch.inference_mode()
def embed(texts: list[str]) -> torch.Tensor:
    batch = tokenizer(texts, padding=True, truncation=True, max_length=8192, return_tensors="pt")
    hidden = model(**batch).last_hidden_state  # (batch, length, dim)
    return torch.nn.functional.normalize(
        hidden[:, -1], dim=-1
    )  # left padding: the last column is every text's last token


queries = embed([f"Instruct: {INSTRUCTION}\nQuery: {query}" for query in QUERIES])
documents = embed(DOCUMENTS)
show(queries @ documents.T)
