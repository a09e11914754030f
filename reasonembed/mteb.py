"""An `Embedder` as a model of mteb: `mteb.evaluate(MtebEncoder(Embedder()), tasks)`.

Instruction and lengths of a task are those of a named protocol, as in `reasonembed.evaluate`; texts come and vectors go in mteb's
shapes. Exclusions need nothing here: mteb hands the documents that are left to its own search (`top_ranked`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from reasonembed.errors import MissingExtraError
from reasonembed.evaluation.plan import Plan, Wanted, make_plan
from reasonembed.protocols import BRIGHT_LONG_TASKS, BRIGHT_TASKS, R2MED_TASKS, canonical
from reasonembed.types import Document, Qrels, RetrievalTask

if TYPE_CHECKING:
    import torch
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.model_meta import ModelMeta
    from mteb.types import BatchedInput, PromptType
    from torch.utils.data import DataLoader

    from reasonembed.encode.embedder import Embedder

    Vectors = npt.NDArray[np.float32]
    Array: TypeAlias = Vectors | torch.Tensor

_FRAMEWORK = {"torch": "PyTorch", "openvino": "OpenVINO"}  # engine -> mteb's word for it


def _bare(name: str) -> str:
    return canonical(name).replace("_", "")


# mteb's names of BRIGHT v1.1 and R2MED (bright_v1_1_retrieval.py, r2_med_retrieval.py of 2.26.24) in lower case -> ours.
_TASKS = {
    **{f"bright{_bare(task)}retrieval": ("bright", task) for task in BRIGHT_TASKS},
    **{f"bright{_bare(task)}longretrieval": ("bright-long", task) for task in BRIGHT_LONG_TASKS},
    **{f"r2med{_bare(task)}retrieval": ("r2med", task) for task in R2MED_TASKS},
}


class MtebEncoder:
    """A model in the shape of mteb's `EncoderProtocol` (mteb 2.x).

    Args:
        embedder: The model.
        protocol: Where instruction and lengths come from, one of `protocols.PROTOCOLS`. Under `mteb`, a task that our tables do not
            name has the prompt of its own metadata.

    Example:
        >>> import mteb  # doctest: +SKIP
        >>> from reasonembed import Embedder
        >>> from reasonembed.mteb import MtebEncoder
        >>> model = MtebEncoder(Embedder())
        >>> mteb.evaluate(model, mteb.get_tasks(["BrightBiologyRetrieval"]))  # doctest: +SKIP
    """

    def __init__(self, embedder: Embedder, *, protocol: str = "mteb") -> None:
        self.embedder = embedder
        self.protocol = protocol

    def encode(
        self,
        inputs: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Vectors:
        """Embed what mteb hands over.

        Args:
            inputs: Batches as mteb makes them: `text`, of documents also `title` and `body`.
            task_metadata: The task; its name chooses instruction and lengths.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: `query` takes the task's instruction, `document` the document prompt; None (classification, STS, ...) is
                embedded as it is.
            kwargs: mteb's `encode_kwargs`; only `show_progress_bar` is used, the embedder makes batches of its own.

        Returns:
            (n_texts, dim) float32 with rows of unit length, in order.

        Raises:
            DataError: An unknown protocol.
        """
        progress = bool(kwargs.get("show_progress_bar", False))
        if prompt_type is None:
            return self.embedder.encode(_texts(inputs), progress=progress)
        plan = self.plan(task_metadata)
        if prompt_type == "query":
            instruction, length = plan.instruction, plan.query_max_length
            return self.embedder.encode_queries(
                _texts(inputs), instruction=instruction, max_length=length, progress=progress
            )
        return self.embedder.encode_corpus(_contents(inputs), max_length=plan.document_max_length, progress=progress)

    def plan(self, task_metadata: TaskMetadata) -> Plan:
        """Instruction and lengths of a task; see `evaluation.plan.make_plan`.

        Raises:
            DataError: An unknown protocol.
        """
        benchmark, name = _TASKS.get(task_metadata.name.lower(), ("beir", task_metadata.name))
        plan = make_plan(RetrievalTask(name, benchmark, (), (), Qrels({})), self.embedder, Wanted(self.protocol))
        if plan.instruction is None and self.protocol == "mteb" and self.embedder.takes_instructions:
            prompt = task_metadata.prompt
            return replace(plan, instruction=prompt.get("query") if isinstance(prompt, dict) else prompt)
        return plan

    def similarity(self, embeddings1: Array, embeddings2: Array) -> torch.Tensor:
        """Cosines of every row with every row: (n, dim), (m, dim) -> (n, m) float32."""
        import torch

        return torch.from_numpy(self.embedder.similarity(_numpy(embeddings1), _numpy(embeddings2)))

    def similarity_pairwise(self, embeddings1: Array, embeddings2: Array) -> torch.Tensor:
        """Cosines of the rows that face each other: (n, dim), (n, dim) -> (n,) float32."""
        import torch

        left, right = torch.from_numpy(_numpy(embeddings1)), torch.from_numpy(_numpy(embeddings2))
        return torch.nn.functional.cosine_similarity(left, right, dim=-1)

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb files the scores under: protocol and fingerprint are part of it, so that no score is taken for another's.

        Raises:
            MissingExtraError: mteb is not installed.
        """
        try:
            from mteb.models.model_meta import ModelMeta, ScoringFunction
        except ImportError as error:
            raise MissingExtraError("mteb", "mteb", "mteb's model card") from error
        embedder = self.embedder
        return ModelMeta.create_empty(
            overwrites={
                "name": embedder.name if "/" in embedder.name else f"reasonembed/{embedder.name}",
                "revision": embedder.revision or embedder.fingerprint,
                "max_tokens": embedder.checkpoint.document_max_length,
                "embed_dim": embedder.dim,
                "framework": [_FRAMEWORK[embedder.engine.name]],
                "similarity_fn_name": ScoringFunction.COSINE,
                "use_instructions": embedder.takes_instructions,
                "experiment_kwargs": {"protocol": self.protocol, "fingerprint": embedder.fingerprint},
            }
        )


def _texts(inputs: DataLoader[BatchedInput]) -> list[str]:
    return [text for batch in inputs for text in batch["text"]]


def _contents(inputs: DataLoader[BatchedInput]) -> list[str]:
    """Title and text of each document, joined as everywhere in this package."""
    contents = []
    for batch in inputs:
        bodies = batch.get("body", batch["text"])
        titles = batch.get("title", [""] * len(bodies))
        contents += [Document("", body, title).content for body, title in zip(bodies, titles, strict=True)]
    return contents


def _numpy(vectors: Array) -> Vectors:
    return np.asarray(vectors, np.float32)
