"""Dev scores of a model while it is trained: real tasks, searched exactly with the live weights, nothing cached.

Gets the tasks of an `EvaluateConfig` and a `Trainable`, gives task -> score.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reasonembed.errors import DataError, ModelError
from reasonembed.evaluation.metrics import METRICS
from reasonembed.evaluation.runner import evaluate, sampled
from reasonembed.io.beir import read_beir
from reasonembed.io.bright import bright_tasks, read_bright
from reasonembed.model.tokens import TokenIds
from reasonembed.training.backbone import Trainable
from reasonembed.training.config import EvaluateConfig, TaskConfig
from reasonembed.types import RetrievalTask


@dataclass(frozen=True, slots=True)
class DevTask:
    """A dev set with its metric."""

    task: RetrievalTask
    metric: str


def open_tasks(config: EvaluateConfig, *, seed: int) -> list[DevTask]:
    """Read the dev sets.

    Args:
        config: Names them.
        seed: Of the draw of queries.

    Raises:
        DataError: A folder that is none of a task, or an unknown metric.
    """
    tasks = []
    for wanted in config.tasks:
        if wanted.metric not in METRICS:
            raise DataError(f"metric {wanted.metric!r} is unknown", fix=f"one of {', '.join(METRICS)}")
        task = _read(wanted)
        tasks.append(DevTask(task if wanted.sample is None else sampled(task, wanted.sample, seed), wanted.metric))
    return tasks


def _read(wanted: TaskConfig) -> RetrievalTask:
    if wanted.benchmark == "beir":
        return read_beir(wanted.path, split=wanted.split)
    folder = wanted.path / wanted.task if wanted.task and (wanted.path / wanted.task).is_dir() else wanted.path
    (name, *others) = bright_tasks(folder, [wanted.task] if wanted.task else ())
    if others:
        raise DataError(f"{len(others) + 1} tasks", path=folder, fix="name one: `task: biology`")
    return read_bright(folder, name)


def dev_scores(
    trainable: Trainable, tasks: Sequence[DevTask], *, encoder: torch.nn.Module | None = None
) -> dict[str, float]:
    """Score the live weights.

    Args:
        trainable: The model; its mode (`train`, `eval`) and the state of torch's random numbers are left as they were.
        tasks: Of `open_tasks`.
        encoder: The module through which weights are reached where they are sharded; None is the trainable's own.

    Returns:
        Label of the task, such as `beir/scifact (dev)`, with its metric where it is not nDCG@10 -> score in [0, 1].
    """
    module = trainable.encoder if encoder is None else encoder
    embedder = copy.copy(trainable.embedder)
    embedder.engine = _LiveEngine(trainable, module)
    told = trainable.config.instruction if embedder.takes_instructions else None
    training = module.training
    module.eval()
    try:
        scores: dict[str, float] = {}
        for dev in tasks:
            result = evaluate(dev.task, embedder, instruction=told, metric=dev.metric, cache=False)
            label = result.label if dev.metric == "ndcg@10" else f"{result.label} {dev.metric}"
            scores[_free(label, scores)] = result.headline
        return scores
    finally:
        module.train(training)


def _free(label: str, taken: dict[str, float]) -> str:
    """The label, numbered where two sets have one."""
    number = sum(known == label or known.startswith(f"{label} #") for known in taken)
    return f"{label} #{number + 1}" if number else label


class _LiveEngine:
    """`Engine` over weights that are being trained, in the dtype of the training."""

    name = "torch"

    def __init__(self, trainable: Trainable, module: Any) -> None:
        self._trainable, self._module = trainable, module
        self.device, self.dtype, self.dim = trainable.engine.device, trainable.dtype, trainable.engine.dim

    def embed(
        self, token_ids: Sequence[TokenIds], prompt_lengths: Sequence[int] | None = None
    ) -> npt.NDArray[np.float32]:
        """See `Engine.embed`; vectors are of unit length.

        Raises:
            ModelError: The model leaves prompts out of its pooling.
        """
        if prompt_lengths is not None:
            raise ModelError("a model that leaves prompts out of its pooling cannot be trained. Fix: `instruction: ''`")
        vectors = np.empty((len(token_ids), self.dim), np.float32)
        for row in self._trainable.encoder.rows(
            [len(ids) for ids in token_ids], self._trainable.config.batch.row_tokens
        ):
            with torch.no_grad(), self._trainable.autocast():
                vectors[row] = self._module([token_ids[text] for text in row]).float().cpu().numpy()
        return vectors


def best_of(evaluations: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the first evaluation with the highest mean."""
    return max(evaluations, key=lambda row: (row["mean"], -row["step"]), default=None)


def waited(evaluations: Sequence[dict[str, Any]]) -> int:
    """How many evaluations came since the best one."""
    best = best_of(evaluations)
    return 0 if best is None else sum(row["step"] > best["step"] for row in evaluations)
