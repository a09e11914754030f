"""A teacher: a model that is not trained, whose similarities of a batch's texts the loss `distillation` has as targets.

Gets the texts of a batch, since its tokenizer and prompts are its own, and gives unit vectors. The texts are cut to the lengths of
the recipe, in its own tokens: what the trained model does not read, it is not asked to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from reasonembed.encode.embedder import Embedder
from reasonembed.model.tokens import TokenIds
from reasonembed.training.batches import TextEncoder

if TYPE_CHECKING:
    from reasonembed.training.config import TrainConfig


class Teacher:
    """The teacher of a training.

    Args:
        config: Names it as `teacher`, and gives lengths and instruction.
        device: Such as `cpu`.

    Attributes:
        embedder: The model.
        encode: Makes its token ids.

    Raises:
        ModelError: It cannot be opened, or does not take the lengths.
    """

    def __init__(self, config: TrainConfig, *, device: str) -> None:
        self.embedder = Embedder(config.teacher, device=device)
        self.encode = TextEncoder(self.embedder, config)

    def vectors(self, token_ids: Sequence[TokenIds]) -> torch.Tensor:
        """Vectors of texts, equal ones embedded once.

        Args:
            token_ids: One 1-D array a text, of `encode`.

        Returns:
            (n_texts, teacher's dim) float32 on the CPU, without gradient.
        """
        different = {ids.tobytes(): ids for ids in token_ids}
        place = {key: number for number, key in enumerate(different)}
        vectors = torch.from_numpy(self.embedder.embed_tokens(list(different.values())))  # (n_different, dim)
        return vectors[[place[ids.tobytes()] for ids in token_ids]]
