"""The recorded run that the demo shows: the best ten theorems of each TheoremQA question by all-MiniLM-L6-v2, in float32.

python scripts/minilm_run.py all-MiniLM-L6-v2/
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reasonembed import Embedder, ExactSearcher, data
from reasonembed.demo import DEPTH
from reasonembed.io.beir import read_beir
from reasonembed.io.trec import write_run
from reasonembed.types import Run


def main() -> None:
    """Command line: MODEL [-o FILE]."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=data.minilm_run())
    arguments = parser.parse_args()
    task, searcher = read_beir(data.theoremqa()), ExactSearcher()
    embedder = Embedder(arguments.model, engine="torch", dtype="float32")
    searcher.add([one.id for one in task.documents], embedder.encode_corpus([one.content for one in task.documents]))
    hits = searcher.search(embedder.encode_queries([query.text for query in task.queries]), DEPTH)
    named = {query.id: tuple(found) for query, found in zip(task.queries, hits, strict=True)}
    write_run(arguments.out, Run("all-MiniLM-L6-v2", named))


if __name__ == "__main__":
    main()
