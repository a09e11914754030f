"""The two questions and the two documents of the ReasonEmbed model card, which the three usages share."""

import numpy as np

INSTRUCTION = "Given a Math problem, retrieve relevant theorems that help answer the problem."

QUERIES = [
    "Find the eigenvalues of the matrix [[5, 4], [1, 2]].",
    "Imagine images of five pixels, each black or white, that we want to send over a noisy line. "
    "What is the smallest Hamming distance between any two images if one flipped pixel must always be corrected?",
]

DOCUMENTS = [
    "Definition of eigenvector. Let A be a square matrix. A non-zero vector v is an eigenvector of A if A v = λ v for some "
    "scalar λ, the eigenvalue of v. The eigenvalues are the roots of the characteristic polynomial det(A - λ I).",
    "Error-correction capability of a linear code. A code whose codewords differ pairwise in at least d positions corrects "
    "every pattern of up to t errors if and only if d ≥ 2 t + 1.",
]

CHECKPOINT = "hanhainebula/reason-embed-qwen3-8b-0928"


def show(scores: object) -> None:
    """Print the cosines of queries (rows) and documents (columns)."""
    print(np.asarray(scores, dtype=np.float64).round(4).tolist())
