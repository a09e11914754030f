"""What one evaluation is going to do, decided before anything runs: instruction, lengths, depth, metric."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from reasonembed.errors import DataError
from reasonembed.evaluation.metrics import METRICS
from reasonembed.protocols import instruction_for, settings_for
from reasonembed.types import RetrievalTask

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """One evaluation.

    Attributes:
        protocol: Name of the protocol.
        metric: Headline metric.
        depth: Hits kept for each query.
        instruction: Of the queries; "" is none at all, None is whatever the model itself stores.
        query_max_length: Tokens; None is the model's own.
        document_max_length: Tokens; None is the model's own.
        note: What the protocol says about itself.
    """

    protocol: str
    metric: str
    depth: int
    instruction: str | None = None
    query_max_length: int | None = None
    document_max_length: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asks for; None takes the protocol's.

    Attributes:
        protocol: One of `protocols.PROTOCOLS`.
        instruction: Of the queries; "" is none.
        max_length: Tokens of queries and documents.
        depth: Hits kept for each query.
        metric: Headline metric.
    """

    protocol: str = "reasonembed"
    instruction: str | None = None
    max_length: int | None = None
    depth: int | None = None
    metric: str | None = None


def task_key(task: RetrievalTask) -> str:
    """`benchmark/name` of a task, as `protocols` takes it."""
    return f"{task.benchmark}/{task.name}"


def make_plan(task: RetrievalTask, embedder: Embedder | None, wanted: Wanted = Wanted()) -> Plan:
    """Decide how a task is evaluated.

    Lengths: those asked for, else the protocol's where the model takes as many tokens, else the model's own (and a
    warning says so). Instruction: the one asked for, else the protocol's where the model was made for
    instructions (`Embedder.takes_instructions`), else what the model stores.

    Args:
        task: The task.
        embedder: The model; None for a retriever without one (BM25).
        wanted: The protocol, and what overrides it.

    Raises:
        DataError: An unknown protocol or metric, or a depth or length below 1.
    """
    key = task_key(task)
    settings = settings_for(key, wanted.protocol)
    metric = wanted.metric or settings.metric
    if metric not in METRICS:
        raise DataError(f"metric {metric!r} is unknown", fix=f"one of {', '.join(METRICS)}")
    for name, value in (("depth", wanted.depth), ("max_length", wanted.max_length)):
        if value is not None and value < 1:
            raise DataError(f"{name} is {value}, the least is 1")
    plan = Plan(wanted.protocol, metric, wanted.depth or settings.depth, note=settings.note)
    if embedder is None:
        return plan
    instruction = wanted.instruction
    if instruction is None and embedder.takes_instructions:
        instruction = instruction_for(key, wanted.protocol)
    own, asked = embedder.checkpoint, wanted.max_length
    return replace(
        plan,
        instruction=instruction,
        query_max_length=asked or _limited(settings.query_max_length, own.query_max_length, "queries"),
        document_max_length=asked or _limited(settings.document_max_length, own.document_max_length, "documents"),
    )


def _limited(protocol: int | None, own: int, what: str) -> int:
    if protocol is None or protocol == own:
        return own
    if protocol > own:
        logger.warning(
            "the protocol reads %s of %d tokens, the model takes %d of them (max_length overrides)",
            what, protocol, own,
        )  # fmt: skip
    return min(protocol, own)


def described(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, for score files."""
    return {
        "protocol": plan.protocol,
        "protocol_note": plan.note,
        "metric": plan.metric,
        "depth": plan.depth,
        "instruction": plan.instruction,
        "query_max_length": plan.query_max_length,
        "document_max_length": plan.document_max_length,
    }
