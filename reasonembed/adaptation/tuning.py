"""The last steps of an adaptation: how long is trained, the training, the scores before and after, and which model keeps the index.

As in `adaptation.steps`, each is a function of the `Job` that may be called again after a kill in it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from reasonembed.adaptation.budget import EPOCHS, LEAST_SAMPLES, Steps, batch_queries, plan_steps, training_seconds
from reasonembed.adaptation.config import DATASET, AdaptConfig, training
from reasonembed.adaptation.expanding import SUFFIX, all_questions, score_dev, score_test
from reasonembed.adaptation.folder import Folder
from reasonembed.adaptation.steps import Job, build
from reasonembed.training.config import changed

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder
    from reasonembed.evaluation.significance import Comparison
    from reasonembed.training.config import TrainConfig

logger = logging.getLogger(__name__)

PATIENCE = 3
"""Dev evaluations without a better score after which the training stops."""
PROBE_STEPS = 4
"""Small steps by which the time of a query is measured; the first, which is slower, does not count."""
LEAST_STEPS = 30
"""Steps below which the batch is halved where the hours allow no more; a guess of ours."""
LEAST_COVERAGE = 0.2
"""Share of the passages that need a question for documents to be expanded. With a fifth the two textbooks gained a little, with a
fortieth nothing (docs/lab.md, 12)."""
START_STEP = 100
"""Step from which reasoning intensity weighs (paper.md 2.1); a tenth of a training that is shorter than 1,000 steps."""


def lengths_of(start: Embedder) -> dict[str, int]:
    """Longest texts of the training: those that will be asked and indexed."""
    from reasonembed.search.indexing import MAX_TOKENS

    query, passage = (
        min(limit, MAX_TOKENS) for limit in (start.checkpoint.query_max_length, start.checkpoint.document_max_length)
    )
    return {"query": query, "passage": passage, "reasoning": query}


def base_training(config: AdaptConfig, start: Embedder, data: Path) -> TrainConfig:
    """The training before its samples are known."""
    told = {
        "model": str(start.checkpoint.path),
        "lengths": lengths_of(start),
        "instruction": start.checkpoint.instruction,
    }
    return training(config, data, told)


def decide_training(job: Job) -> dict[str, Any]:
    """Steps and global batch: by the samples, and by the hours where they are the budget; as values to change in the recipe."""
    base = base_training(job.config, job.start, job.folder / "data")
    counted = job.folder.steps["data"]
    loss: dict[str, Any] = {"name": "ri_infonce"} if counted["with reasoning"] else {"name": "infonce"}
    changes: dict[str, Any] = {
        "loss": loss, "model": base.model, "lengths": base.lengths.model_dump(), "instruction": base.instruction,
    }  # fmt: skip
    sizes, plan = _batches_and_steps(job, base.batch.queries, changes)
    for name in (DATASET, "pairs"):
        if counted[name] and name not in sizes:
            logger.warning("data/%s.jsonl: %d samples are too few for a batch, left out", name, counted[name])
    changes |= {"data": _data(job, sizes), "save.every": plan.every}
    changes |= {"optimiser.steps": plan.steps, "optimiser.epochs": plan.epochs}
    if loss["name"] == "ri_infonce":
        loss["start_step"] = min(START_STEP, plan.steps // 10)
    if (job.folder / "dev").is_dir():
        task = {"path": str(job.folder / "dev"), "split": "dev"}
        changes["evaluate"] = {"tasks": [task], "every": plan.every, "patience": PATIENCE}
    logger.info("training: %s; batches of %s", plan.why, sizes)
    return {"why": plan.why, "steps": plan.steps, "batches": sizes, "changes": changes}


def _batches_and_steps(job: Job, most: int, changes: dict[str, Any]) -> tuple[dict[str, int], Steps]:
    """Queries of a global batch by dataset, and steps; where the hours allow few, smaller batches give more of them."""
    counted, read, tasks = (job.folder.steps[step] for step in ("data", "index", "tasks"))
    allowed = training_seconds(job.config.hours, asks="language model" in job.folder.decisions)
    second = 0.0 if allowed is None else _query_seconds(job, changes)
    while True:
        sizes = {
            name: min(batch_queries(counted[name]), most) for name in (DATASET, "pairs") if batch_queries(counted[name])
        }
        batches = {name: counted[name] // size for name, size in sizes.items()}
        count = sum(batches.values())
        queries = sum(batches[name] * size for name, size in sizes.items()) / count
        dev_seconds = (tasks["dev passages"] + tasks["dev"]) * read["passage_seconds"]
        plan = plan_steps(count, allowed=allowed, step_seconds=queries * second, dev_seconds=dev_seconds)
        if plan.steps >= min(LEAST_STEPS, EPOCHS * count) or most <= LEAST_SAMPLES:
            return sizes, plan
        most = max(LEAST_SAMPLES, most // 2)


def _data(job: Job, sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"path": str(job.folder / f"data/{name}.jsonl"), "queries": size} for name, size in sizes.items()]


def _query_seconds(job: Job, changes: dict[str, Any]) -> float:
    """Seconds that a training step takes for each query of its batch, from a few small steps that are thrown away."""
    from reasonembed.training.log import LOG_FILE, read_log
    from reasonembed.training.run import train

    probe, counted = job.folder / "training.probe", job.folder.steps["data"]
    shutil.rmtree(probe, ignore_errors=True)
    data = _data(job, {name: LEAST_SAMPLES for name in (DATASET, "pairs") if counted[name] >= LEAST_SAMPLES})
    few = {"optimiser.steps": PROBE_STEPS, "optimiser.epochs": PROBE_STEPS, "save.every": PROBE_STEPS}
    tried = training(job.config, job.folder / "data", {**changes, "data": data})
    train(changed(tried, {**few, "evaluate": {}}), probe, progress=False)
    seconds = [row["seconds"] for row in read_log(probe / LOG_FILE) if "loss" in row]
    shutil.rmtree(probe)
    return float(median(seconds[1:] or seconds)) / LEAST_SAMPLES


def tune(job: Job) -> dict[str, Any]:
    """The run directory `training/`."""
    from reasonembed.training.run import train

    changes = job.folder.decisions["training"]["changes"]
    result = train(training(job.config, job.folder / "data", changes), job.folder / "training", progress=job.progress)
    return {"steps": result.steps, "best_step": result.best_step, "dev": result.best}


# --- scores and choice ------------------------------------------------------------------------------------------------------


def score(job: Job, name: str, embedder: Embedder | None) -> dict[str, Any]:
    """Search the test questions: `scores/NAME`.

    Args:
        job: The job.
        name: `before`, `after` or `bm25`.
        embedder: None is BM25.
    """
    from reasonembed.evaluation.retrievers import BM25Retriever
    from reasonembed.evaluation.runner import evaluate
    from reasonembed.io.beir import read_beir

    result = evaluate(
        read_beir(job.folder / "test"),
        BM25Retriever() if embedder is None else embedder,
        instruction=None if embedder is None else embedder.checkpoint.instruction,
        metric="ndcg@10",
        out=job.folder / f"scores/{name}",
        progress=job.progress,
    )
    return {"ndcg@10": result.headline}


def tuned(job: Job) -> Embedder:
    """The tuned model."""
    from reasonembed.encode.embedder import Embedder

    return Embedder(job.folder / "training/model", engine="torch")


def compared(folder: Folder, a: str, b: str) -> Comparison:
    """Scores A against scores B over the test questions, by nDCG@10.

    Questions about the same passages are resampled and permuted together, since they are not independent: each such group counts
    with the sum of its scores, so that means and difference are those of the questions.
    """
    from reasonembed.evaluation.runner import read_results
    from reasonembed.evaluation.significance import compare_queries
    from reasonembed.io.beir import read_beir

    relevance = read_beir(folder / "test").qrels.relevance
    groups: dict[frozenset[str], list[str]] = {}
    for query, grades in relevance.items():
        groups.setdefault(frozenset(grades), []).append(query)
    values = []
    for name in (a, b):
        (result,) = read_results(folder / f"scores/{name}").values()
        scores = result.scores.per_query["ndcg@10"]
        sums = [sum(scores[query] for query in group) for group in groups.values()]
        values.append([total * len(groups) / len(relevance) for total in sums])
    return replace(compare_queries(*values), n_queries=len(relevance))


def score_expanded(job: Job) -> dict[str, Any]:
    """Scores with expanded documents, `scores/before-expanded` and `scores/after-expanded`, and which system is to be compared.

    The dev questions choose among the tuned model, the start with expanded documents, and both together. Without dev questions, or
    with questions of fewer than `LEAST_COVERAGE` of the passages, it is the tuned model.
    """
    asked, passages = len({one.source for one in all_questions(job.folder.path)}), job.folder.steps["index"]["passages"]
    counts = {"passages with questions": asked}
    if asked < LEAST_COVERAGE * passages:
        logger.info("documents are not expanded: %d of %d passages have a question", asked, passages)
        return {"candidate": "after", **counts}
    dev: dict[str, float] = {}
    for name, embedder in (("after", tuned(job)), ("before", job.start)):
        for system, expand in ((name, False), (name + SUFFIX, True)):
            if system != "before" and (found := score_dev(job, embedder, expand=expand)) is not None:
                dev[system] = found
        score_test(job, embedder, name + SUFFIX)
    candidate = max(dev, key=dev.__getitem__, default="after")
    said = ", ".join(f"{system} {100 * value:.1f}" for system, value in dev.items())
    logger.info("compared with the start: %s (dev: %s)", candidate, said or "no questions")
    return {"candidate": candidate, **counts, **{f"dev {system}": value for system, value in dev.items()}}


def choose(job: Job, *, level: float = 0.05) -> dict[str, Any]:
    """Whether the candidate is better: a gain that is not by chance (permutation test); if so, the index becomes its own."""
    candidate = job.folder.steps["expanded"]["candidate"]
    found = compared(job.folder, candidate, "before")
    better = found.difference > 0 and found.p_permutation < level
    if better:
        embedder = tuned(job) if candidate.startswith("after") else job.start
        questions = all_questions(job.folder.path) if candidate.endswith(SUFFIX) else []
        build(job, embedder, max_tokens=job.folder.steps["index"]["max_tokens"], questions=questions)
    return {"better": better, "candidate": candidate, **asdict(found)}
