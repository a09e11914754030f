"""FlagEmbedding's `FlagLLMModel` and `FlagModel` over our `Embedder`: changing the import line runs a user's code unchanged.

Arguments and defaults are those of FlagEmbedding 1.4. Arguments about its process pools are accepted where they change no
vector; what it does silently wrong (fp16 on a CPU, catching every RuntimeError) is not imitated.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reasonembed.encode.embedder import Embedder
from reasonembed.errors import ModelError
from reasonembed.io.manifest import read_json
from reasonembed.model.checkpoint import open_checkpoint

logger = logging.getLogger(__name__)


class FlagModel:
    """FlagEmbedding's encoder interface.

    Args:
        model_name_or_path: See `Embedder`.
        normalize_embeddings: L2-normalise.
        use_fp16: float16 on a GPU; a CPU computes in float32, as FlagEmbedding does.
        use_bf16: bfloat16 on a GPU; wins over `use_fp16`.
        query_instruction_for_retrieval: Instruction of `encode_queries`; None embeds bare queries.
        query_instruction_format: Two `{}`: instruction, query. A literal backslash-n is read as a line break.
        devices: One device; a list is accepted if it names one.
        pooling_method: `cls`, `mean` or `last_token`.
        trust_remote_code: Let Python inside the model directory run.
        cache_dir: Not used: the hub client's own cache is.
        batch_size: Not used: batches follow a token budget.
        query_max_length: Tokens; at most what the model takes.
        passage_max_length: Tokens; at most what the model takes.
        convert_to_numpy: False returns torch tensors.
        truncate_dim: Leading dimensions kept.

    Raises:
        ModelError: See `Embedder`; several devices.
    """

    pooling_method = "cls"
    instruction_format = "{}{}"

    def __init__(
        self,
        model_name_or_path: str,
        normalize_embeddings: bool = True,
        use_fp16: bool = True,
        use_bf16: bool = False,
        query_instruction_for_retrieval: str | None = None,
        query_instruction_format: str | None = None,
        devices: str | int | Sequence[str | int] | None = None,
        pooling_method: str | None = None,
        trust_remote_code: bool = False,
        cache_dir: str | None = None,
        batch_size: int = 256,
        query_max_length: int = 512,
        passage_max_length: int = 512,
        convert_to_numpy: bool = True,
        truncate_dim: int | None = None,
    ) -> None:
        device = _one_device(devices)
        self.embedder = Embedder(
            model_name_or_path,
            engine="torch",
            device=device,
            dtype=_dtype(device, use_fp16=use_fp16, use_bf16=use_bf16),
            trust_remote_code=trust_remote_code,
            pooling=(pooling_method or self.pooling_method).replace("last_token", "last"),
            query_format=(query_instruction_format or self.instruction_format).replace("\\n", "\n"),
            append_eos=_append_eos(model_name_or_path),
            truncate_dim=truncate_dim,
            normalize=normalize_embeddings,
        )
        self.query_instruction_for_retrieval = query_instruction_for_retrieval
        longest = self.embedder.checkpoint.max_positions or max(query_max_length, passage_max_length)
        self.query_max_length = min(query_max_length, longest)
        self.passage_max_length = min(passage_max_length, longest)
        self.convert_to_numpy = convert_to_numpy

    def encode_queries(
        self, queries: str | list[str], batch_size: int | None = None, max_length: int | None = None,
        convert_to_numpy: bool | None = None, **ignored: Any,
    ) -> Any:  # fmt: skip
        """Embed queries with the instruction.

        Returns:
            (n, dim) float32, (dim,) for a single str; numpy, or torch where `convert_to_numpy` is False.
        """
        vectors = self.embedder.encode_queries(
            queries,
            instruction=self.query_instruction_for_retrieval or "",
            max_length=max_length or self.query_max_length,
        )
        return self._converted(vectors, convert_to_numpy)

    def encode_corpus(
        self, corpus: str | list[str], batch_size: int | None = None, max_length: int | None = None,
        convert_to_numpy: bool | None = None, **ignored: Any,
    ) -> Any:  # fmt: skip
        """Embed passages, bare.

        Returns:
            As `encode_queries`.
        """
        return self.encode(corpus, batch_size, max_length or self.passage_max_length, convert_to_numpy)

    def encode(
        self, sentences: str | list[str], batch_size: int | None = None, max_length: int | None = None,
        convert_to_numpy: bool | None = None, instruction: str | None = None, instruction_format: str | None = None,
    ) -> Any:  # fmt: skip
        """Embed texts as they are, or with `instruction` put into `instruction_format`.

        Returns:
            As `encode_queries`.
        """
        texts: Any = sentences
        if instruction is not None:
            form = (instruction_format or "{}{}").replace("\\n", "\n")
            texts = (
                form.format(instruction, texts)
                if isinstance(texts, str)
                else [form.format(instruction, t) for t in texts]
            )
        vectors = self.embedder.encode_queries(texts, instruction="", max_length=max_length or self.passage_max_length)
        return self._converted(vectors, convert_to_numpy)

    def _converted(self, vectors: npt.NDArray[np.float32], convert_to_numpy: bool | None) -> Any:
        if self.convert_to_numpy if convert_to_numpy is None else convert_to_numpy:
            return vectors
        import torch

        return torch.from_numpy(vectors)


class FlagLLMModel(FlagModel):
    """FlagEmbedding's decoder interface: last token, instruction and query on two lines; arguments as `FlagModel`.

    As in FlagEmbedding, the tokenizer decides whether a text ends in EOS, except for checkpoints of the known table.
    """

    pooling_method = "last_token"
    instruction_format = "Instruct: {}\nQuery: {}"

    def __init__(self, model_name_or_path: str, *args: Any, **options: Any) -> None:
        if options.get("pooling_method", "last_token") != "last_token":
            raise ModelError(
                f"FlagLLMModel pools the last token, not {options['pooling_method']!r}. Fix: FlagModel or Embedder(pooling=...)"
            )
        super().__init__(model_name_or_path, *args, **options)


def _append_eos(name: str) -> bool | None:
    """None where the checkpoint says something of EOS (then that holds), else False: the tokenizer is left alone."""
    checkpoint = open_checkpoint(name)
    config = checkpoint.path / "tokenizer_config.json"
    said = checkpoint.append_eos is not None or (
        config.is_file() and read_json(config).get("add_eos_token") is not None
    )
    return None if said else False


def _one_device(devices: str | int | Sequence[str | int] | None) -> str | None:
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        if len(devices) > 1:
            raise ModelError(
                f"devices {list(devices)}: one device is supported. Fix: name one, or shard with `reasonembed encode --rank`"
            )
        devices = devices[0] if devices else None
    return f"cuda:{devices}" if isinstance(devices, int) else devices


def _dtype(device: str | None, *, use_fp16: bool, use_bf16: bool) -> str:
    if device is None:
        import torch

        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return "float32"
    return "bfloat16" if use_bf16 else "float16" if use_fp16 else "float32"
