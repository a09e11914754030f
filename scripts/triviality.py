"""What the conditions of query generation change: how well BM25 finds the source, from the run's queries and from naive ones.

    python scripts/triviality.py runs/theoremqa -o runs/theoremqa/triviality.json --queries 200

For a sample of the sources that gave a query, drawn by seed, the run's own language model writes a question once more, with nothing
asked of it but a question about the passage. Both questions are searched in the run's corpus. A high reciprocal rank means that the
words alone lead back to the source: nothing is learned from such a pair (paper.md 1.3). Only what cannot be read is left out of the
naive questions; the checks that the run's queries passed are counted for them, not applied.

Answers go into the run's cache, so that the script can be stopped and gone on with.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from reasonembed.evaluation.significance import compare_queries
from reasonembed.io.manifest import now, write_json
from reasonembed.llm.types import Sampling, user
from reasonembed.synth.checks import HARD_LIMIT, Rules, clean, problem
from reasonembed.synth.run import Run, open_stage_llm
from reasonembed.synth.triviality import mean_reciprocal, overlap, source_ranks, word_searcher

NAIVE = "Write a question about this passage. Write the question alone.\n\n{passage}"
MAX_TOKENS = 300


def naive_questions(run: Run, sources: list[str], *, temperature: float, top_p: float) -> dict[str, str]:
    """Source -> the question the model writes about it without conditions."""
    documents = run.documents
    sampling = Sampling(temperature, top_p, max_tokens=MAX_TOKENS)
    requests = [user(NAIVE.format(passage=documents.get(source).content), sampling=sampling) for source in sources]
    with open_stage_llm(run, "queries") as llm:
        replies = list(llm.answers(requests, progress=True))
    texts = {sources[reply.index]: clean(reply.answer.text) for reply in replies if reply.answer is not None}
    return {source: text for source, text in texts.items() if text}


def measured(run: Run, queries: dict[str, str], rules: Rules) -> dict[str, Any]:
    """Reciprocal ranks of the sources, shared words, lengths, and which checks of the run the queries would fail."""
    documents = run.documents
    sources = list(queries)
    ranks = source_ranks(word_searcher(documents), [queries[source] for source in sources], sources)
    shared = [overlap(queries[source], documents.get(source).content) for source in sources]
    found = Counter(
        problem(queries[source], documents.get(source).content, (0, HARD_LIMIT), rules) for source in sources
    )
    return {
        "mrr": mean_reciprocal(ranks),
        "source_first": sum(rank == 1 for rank in ranks) / len(ranks),
        "shared_words": fmean(share for share in shared if share is not None),
        "words": fmean(len(query.split()) for query in queries.values()),
        "would_fail": {str(reason): count for reason, count in found.items() if reason is not None},
        "reciprocal": [1 / rank if rank else 0.0 for rank in ranks],
    }


def main() -> None:
    """Write, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory with finished queries")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    run = Run(args.run)
    own = {query.source: query.text for query in run.queries()}
    drawn = random.Random(f"{args.seed} triviality").sample(sorted(own), min(args.queries, len(own)))
    config = run.config.queries
    naive = naive_questions(run, drawn, temperature=config.temperature, top_p=config.top_p)
    rules = Rules(config.tolerance, config.longest_copy, config.overlap)
    figures = {
        "conditioned": measured(run, {source: own[source] for source in naive}, rules),
        "naive": measured(run, naive, rules),
    }
    test = asdict(compare_queries(*(figures[name].pop("reciprocal") for name in ("naive", "conditioned"))))
    examples = [{"source": source, "conditioned": own[source], "naive": naive[source]} for source in list(naive)[:10]]
    write_json(
        args.out,
        {"queries": len(naive), "seed": args.seed, "date": now(), **figures, "test": test, "examples": examples},
    )
    for name, row in figures.items():
        print(name, {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    print(test)


if __name__ == "__main__":
    main()
