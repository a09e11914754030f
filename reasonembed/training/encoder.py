"""The torch engine as a module that can be trained, wrapped and sharded: token ids in, unit vectors with gradients out.

Gets lists of token ids, knows nothing of text. Packing, pooling and the choice of rows are the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from reasonembed.model.engines.torch import TokenIds, TorchEngine


class PackedEncoder(torch.nn.Module):  # type: ignore[misc]
    """A backbone with its pooling.

    The layer behind the first token that BERT's family brings ("pooler") is not part of a vector and gets no gradient; it is
    frozen, since DistributedDataParallel waits for the gradient of every trained weight.

    Args:
        engine: Its `model` is what is trained; the mode (`train`, `eval`) is left as it is.

    Attributes:
        backbone: The engine's model.
    """

    def __init__(self, engine: TorchEngine) -> None:
        super().__init__()
        self.backbone: torch.nn.Module = engine.model
        self._engine = engine
        unused = getattr(engine.model, "pooler", None)
        if unused is not None:
            unused.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self._engine.device)

    def forward(self, token_ids: Sequence[TokenIds]) -> torch.Tensor:
        """Run texts together as one packed row (a padded batch where the backbone takes no rows).

        Args:
            token_ids: One 1-D int64 array a text, at least one text.

        Returns:
            (n_texts, dim) float32, rows of unit length, in order.
        """
        return torch.nn.functional.normalize(self._engine.pooled(token_ids), dim=-1)

    def rows(self, lengths: Sequence[int], budget: int | None = None) -> list[list[int]]:
        """Which texts run together.

        Args:
            lengths: Tokens of each text.
            budget: Most tokens in a row; None is the engine's own for the device.

        Returns:
            Indices of the texts of each row, longest first; every index exactly once.
        """
        return list(self._engine.rows(lengths, budget))
