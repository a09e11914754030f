"""Two retrievers on one task, question by question: is the difference by chance? TheoremQA ships with the package.

python examples/compare_with_bm25.py [CHECKPOINT]
"""

import sys

from reasonembed import Embedder, data, evaluate
from reasonembed.evaluation.retrievers import BM25Retriever
from reasonembed.evaluation.significance import compare_queries
from reasonembed.io.beir import read_beir

task = read_beir(data.theoremqa())
embedder = Embedder(sys.argv[1] if len(sys.argv) > 1 else None)
ours, words = (evaluate(task, retriever, metric="ndcg@10", sample=200) for retriever in (embedder, BM25Retriever()))
print(
    f"{embedder.name} {100 * ours.headline:.1f}, BM25 {100 * words.headline:.1f} (nDCG@10 x 100, 200 of 747 questions)"
)
found = compare_queries(*([*result.scores.per_query["ndcg@10"].values()] for result in (ours, words)))
print(f"difference {100 * found.difference:+.1f}, p {found.p_permutation:.4f}")
