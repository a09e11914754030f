"""One task and one retriever -> scores, with everything that made them; files written task by task.

`OUT/<benchmark>/<task>.trec` is the run, `OUT/<benchmark>/<task>.scores.json` the numbers. The scores are
written last: a task that has them is finished, and the same evaluation asked for again is read from them.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from reasonembed.errors import DataError
from reasonembed.evaluation.metrics import Scores, score_run
from reasonembed.evaluation.plan import Plan, Wanted, described, task_key
from reasonembed.evaluation.retrievers import DenseRetriever, Retriever
from reasonembed.io.manifest import fingerprint, now, read_json, versions, write_json
from reasonembed.io.trec import write_run
from reasonembed.types import Qrels, RetrievalTask, Run

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

logger = logging.getLogger(__name__)

SUFFIX = ".scores.json"
# A score without one of these is not written (design.md 2, Scores).
_REQUIRED = (
    "protocol", "model", "revision", "engine", "dtype", "instruction", "query_max_length",
    "document_max_length",
    "queries", "documents", "versions", "date",
)  # fmt: skip
_PER_QUERY = ("ndcg@10", "recall@1", "recall@10", "recall@100", "map@100", "mrr@10")


@dataclass(frozen=True, slots=True)
class Result:
    """Scores of one retriever on one task.

    Attributes:
        task: `benchmark/name`.
        split: Of the task.
        metric: Headline metric.
        scores: All metrics; a result read from a file has per-query values of the main ones only.
        made_by: Everything that made them.
        run: The hits; None if read from a file.
    """

    task: str
    split: str
    metric: str
    scores: Scores
    made_by: dict[str, Any]
    run: Run | None = None

    @property
    def headline(self) -> float:
        """The headline metric, in [0, 1]."""
        return self.scores.means[self.metric]

    @property
    def label(self) -> str:
        """`benchmark/name`, with the split where it is not the usual one."""
        return self.task if self.split in ("test", "examples") else f"{self.task} ({self.split})"

    def to_json(self) -> dict[str, Any]:
        """Plain values, as they stand in a score file."""
        kept = dict.fromkeys((self.metric, *_PER_QUERY))
        per_query = {metric: self.scores.per_query[metric] for metric in kept if metric in self.scores.per_query}
        return {
            "task": self.task,
            "split": self.split,
            "metric": self.metric,
            "score": self.headline,
            "means": self.scores.means,
            "made_by": self.made_by,
            "per_query": per_query,
        }


def evaluate(
    task: RetrievalTask,
    retriever: Retriever | Embedder,
    *,
    protocol: str = "reasonembed",
    instruction: str | None = None,
    max_length: int | None = None,
    depth: int | None = None,
    metric: str | None = None,
    out: Path | str | None = None,
    cache: bool = True,
    cache_dir: Path | str | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Result:
    """Search a task and score the hits.

    Args:
        task: Documents, queries, judgements; `io.beir`, `io.bright` and `io.r2med` read them.
        retriever: An `Embedder` (searched exactly), a `BM25Retriever`, or anything like them.
        protocol: Instruction, lengths, depth and metric by name; one of `protocols.PROTOCOLS`.
        instruction: Overrides the protocol's instruction; "" is none.
        max_length: Overrides the protocol's lengths, tokens.
        depth: Overrides the protocol's depth.
        metric: Overrides the protocol's headline metric.
        out: Folder for the run and the scores; None writes nothing. If it already holds this very evaluation
            (same data, model, plan and versions), that is read instead.
        cache: Keep an `Embedder`'s vectors by content, so that a second run embeds nothing.
        cache_dir: Where; None is `encode.cache.default_cache_dir()`.
        sample: Score so many of the queries, drawn at random; None scores all.
        seed: Of the draw.
        progress: Show progress bars on standard error.

    Returns:
        Scores, and everything that made them.

    Raises:
        DataError: An unknown protocol or metric, or a sample below 1.
        StorageError: A file could not be written whole.

    Example:
        >>> from reasonembed import Embedder, evaluate
        >>> from reasonembed.io.beir import read_beir
        >>> result = evaluate(read_beir("scifact"), Embedder(), out="results")  # doctest: +SKIP
        >>> result.scores.means["ndcg@10"]  # doctest: +SKIP
        0.645
    """
    system = (
        cast("Retriever", retriever)
        if hasattr(retriever, "retrieve")
        else DenseRetriever(retriever, cache=cache, cache_dir=cache_dir)
    )
    drawn = {}
    if sample is not None:
        drawn = {"sample": {"queries": min(sample, len(task.queries)), "of": len(task.queries), "seed": seed}}
        task = sampled(task, sample, seed)
    plan = system.plan(task, Wanted(protocol, instruction, max_length, depth, metric))
    description = system.describe()
    identity = _identity(task, plan, description)
    target = None if out is None else Path(out) / _stem(task)
    if target is not None and (known := _finished(target, identity)) is not None:
        logger.info("%s: already evaluated, read from %s", known.label, target)
        return known
    retrieved = system.retrieve(task, plan, progress=progress)
    made_by = {"evaluation": identity, **description, **described(plan), **drawn, **retrieved.facts}
    result = _scored(task, plan.metric, retrieved.run, made_by)
    if target is not None:
        write_result(target, result)
    return result


def sampled(task: RetrievalTask, n: int, seed: int) -> RetrievalTask:
    """A task with n of its queries, drawn at random, in their order; all of them where there are no more.

    Its split is named after the draw, so that its files and its label are not those of the whole.

    Raises:
        DataError: n is below 1.
    """
    if n < 1:
        raise DataError(f"a sample of {n} queries was asked for, the least is 1", fix="such as 50")
    if n >= len(task.queries):
        return task
    places = sorted(random.Random(seed).sample(range(len(task.queries)), n))
    queries = tuple(task.queries[place] for place in places)
    qrels = Qrels({query.id: task.qrels.relevance[query.id] for query in queries})
    excluded = {query.id: task.excluded[query.id] for query in queries if query.id in task.excluded}
    split = f"{task.split}-sample{n}-seed{seed}"
    return replace(task, queries=queries, qrels=qrels, excluded=excluded, split=split)


def _scored(task: RetrievalTask, metric: str, run: Run, made_by: dict[str, Any]) -> Result:
    scores = score_run(run, task.qrels)
    made_by |= {"excluded_queries": len(task.excluded), "versions": versions(), "date": now()}
    return Result(task_key(task), task.split, metric, scores, made_by, run)


def write_result(target: Path, result: Result) -> None:
    """Write `target`.trec and `target`.scores.json.

    Raises:
        DataError: The result does not say what made it.
        StorageError: A file could not be written whole.
    """
    missing = [name for name in _REQUIRED if name not in result.made_by]
    if missing:
        raise DataError(f"a score must say what made it; missing: {', '.join(missing)}", path=target)
    if result.run is not None:
        write_run(target.with_name(target.name + ".trec"), result.run)
    write_json(target.with_name(target.name + SUFFIX), result.to_json())


def read_result(path: Path | str) -> Result:
    """Read a score file.

    Raises:
        DataError: No such file, or not a score file.
    """
    value = read_json(path)
    try:
        scores = Scores(value["per_query"], value["means"])
        result = Result(value["task"], value["split"], value["metric"], scores, value["made_by"])
        if not (isinstance(result.headline, float) and isinstance(scores.per_query, dict)):
            raise TypeError
    except (KeyError, TypeError) as error:
        raise DataError(
            "not a score file of reasonembed", path=path, fix="give a .scores.json, or a folder of them"
        ) from error
    return result


def read_results(source: Path | str) -> dict[str, Result]:
    """The score file given, or all below the folder given, by label.

    Raises:
        DataError: There is none, or two of the same task and split.
    """
    source = Path(source)
    if source.is_file():
        result = read_result(source)
        return {result.label: result}
    if not source.is_dir():
        raise DataError("no such file or folder", path=source)
    results: dict[str, Result] = {}
    for path in sorted(source.rglob(f"*{SUFFIX}")):
        result = read_result(path)
        if result.label in results:
            raise DataError(f"two score files of {result.label}", path=source, fix="give the folder of one system")
        results[result.label] = result
    if not results:
        raise DataError(f"no *{SUFFIX} below this folder", path=source, fix="run `reasonembed eval` with -o")
    return results


def _stem(task: RetrievalTask) -> str:
    """Place of a task's files below the output folder, without suffix."""
    split = "" if task.split in ("test", "examples") else f"-{task.split}"
    name = f"{task.name}{split}".replace("/", "_")
    return f"{task.benchmark}/{name}"


def _identity(task: RetrievalTask, plan: Plan, description: dict[str, Any]) -> str:
    """Digest of everything that decides the scores: data, plan, retriever, versions."""
    what = {key: value for key, value in description.items() if key != "device"}
    parts = [repr(described(plan)), repr(sorted(what.items())), repr(sorted(versions().items())), task.split]
    for document in task.documents:
        parts += (document.id, document.title, document.text)
    for query in task.queries:
        parts += (query.id, query.text, *sorted(task.excluded.get(query.id, ())))
        parts.append(repr(sorted(task.qrels.relevance[query.id].items())))
    return fingerprint(parts)


def _finished(target: Path, identity: str) -> Result | None:
    """The result already there, if it is of the same evaluation."""
    scores = target.with_name(target.name + SUFFIX)
    if not (scores.is_file() and target.with_name(target.name + ".trec").is_file()):
        return None
    try:
        result = read_result(scores)
    except DataError:
        return None
    return result if result.made_by.get("evaluation") == identity else None
