"""Text to token ids, with the special tokens where the checkpoint wants them, whatever is cut.

The tokenizer's own template gives what stands before and after a text; the text between is cut to the limit, so that the
EOS which last-token pooling reads always survives (mteb#3217). At load, `open_tokenizer` checks that the pooled token is the
one the checkpoint wants: it adds EOS where the checkpoint asks for it and transformers 5 would forget it (mteb#5237), and
refuses where nobody says what is right.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reasonembed.errors import ModelError, ReasonEmbedError
from reasonembed.io.manifest import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from reasonembed.model.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

_SLOW_FILES = ("vocab.txt", "vocab.json", "*.model", "*.spm")
"""Tokenizer files from which transformers makes a tokenizer where there is no tokenizer.json."""

TokenIds = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A tokenizer with its template made explicit.

    Attributes:
        tokenizer: Hugging Face `tokenizers.Tokenizer`, used without its truncation, padding and template.
        prefix: Token ids before every text.
        suffix: Token ids after every text; the last one is the token that last-token pooling reads.
        lower_case: Whether texts are lower-cased first.
    """

    tokenizer: Tokenizer
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    lower_case: bool = False

    def encode(self, texts: Sequence[str], *, max_length: int) -> tuple[list[TokenIds], int]:
        """Token ids of texts.

        Args:
            texts: Any strings.
            max_length: Longest result in tokens, special tokens included.

        Returns:
            One 1-D int64 array a text, and how many texts were cut.

        Raises:
            ModelError: `max_length` leaves no room for a token, or a text has no tokens at all.
        """
        room = max_length - len(self.prefix) - len(self.suffix)
        if room < 1:
            special = len(self.prefix) + len(self.suffix)
            raise ModelError(
                f"max_length {max_length} leaves no room beside {special} special tokens. Fix: at least {special + 1}"
            )
        if self.lower_case:
            texts = [text.lower() for text in texts]
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids, n_cut = [], 0
        for item in encoded:
            content = item.ids
            n_cut += len(content) > room
            whole = np.array([*self.prefix, *content[:room], *self.suffix], dtype=np.int64)
            if not len(whole):
                raise ModelError(
                    "an empty text has no tokens under this tokenizer (no BOS, no EOS). Fix: leave empty texts out"
                )
            ids.append(whole)
        return ids, n_cut

    def count(self, text: str) -> int:
        """Tokens of a text without special tokens."""
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)

    @property
    def pooled_token(self) -> str | None:
        """Text of the token that ends every input; None where inputs end in their own last token."""
        return str(self.tokenizer.id_to_token(self.suffix[-1])) if self.suffix else None


def open_tokenizer(checkpoint: Checkpoint) -> TextTokenizer:
    """Open a checkpoint's tokenizer and make its last token the one the checkpoint wants pooled.

    Raises:
        ModelError: No tokenizer, or last-token pooling over a tokenizer that adds no EOS while nothing says that this is meant.
    """
    tokenizer, config = _load(checkpoint)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    prefix, suffix = _template(tokenizer)
    if "last" in checkpoint.pooling:
        suffix = _with_eos(checkpoint, tokenizer, config, suffix)
    opened = TextTokenizer(tokenizer, prefix, suffix, lower_case=checkpoint.lower_case)
    _probe(opened, checkpoint)
    return opened


def _load(checkpoint: Checkpoint) -> tuple[Tokenizer, dict[str, Any]]:
    from tokenizers import Tokenizer

    file = checkpoint.path / "tokenizer.json"
    config_file = checkpoint.path / "tokenizer_config.json"
    config = read_json(config_file) if config_file.is_file() else {}
    if checkpoint.gguf_file is None and file.is_file():
        try:
            return Tokenizer.from_file(str(file)), config
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelError(f"{file}: cannot be read as a tokenizer: {error}. Fix: fetch the model again") from error
    if checkpoint.gguf_file is None and not any(any(checkpoint.path.glob(name)) for name in _SLOW_FILES):
        # transformers would make an empty tokenizer of the right class without a word
        raise ModelError(
            f"{checkpoint.path}: no tokenizer ({', '.join(('tokenizer.json', *_SLOW_FILES))}). Fix: fetch the model whole"
        )
    try:
        from transformers import AutoTokenizer

        options = {"gguf_file": checkpoint.gguf_file} if checkpoint.gguf_file else {}
        slow = AutoTokenizer.from_pretrained(
            str(checkpoint.path),
            trust_remote_code=checkpoint.trust_remote_code,
            local_files_only=True,
            **options,
        )
        tokenizer = Tokenizer.from_str(slow.backend_tokenizer.to_str())
    except ImportError as error:
        raise ModelError(
            f"{checkpoint.path}: no tokenizer.json, and without transformers it cannot be made. Fix: pip install 'reasonembed[torch]'"
        ) from error
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise ModelError(f"{checkpoint.path}: no tokenizer that can be opened: {error}") from error
    eos = slow.eos_token
    return tokenizer, {"eos_token": eos, "add_eos_token": getattr(slow, "add_eos_token", None), **config}


def _template(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids the tokenizer's template puts before and after a text, found by comparing a probe with and without them."""
    bare = tokenizer.encode("probe", add_special_tokens=False).ids
    full = tokenizer.encode("probe", add_special_tokens=True).ids
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return tuple(full[:start]), tuple(full[start + len(bare) :])
    raise ModelError("the tokenizer's template rewrites the text itself; such tokenizers are not supported")


def _with_eos(
    checkpoint: Checkpoint, tokenizer: Tokenizer, config: dict[str, Any], suffix: tuple[int, ...]
) -> tuple[int, ...]:
    wanted = checkpoint.append_eos
    if wanted is None and not suffix:
        wanted = config.get("add_eos_token")
        if wanted is None and checkpoint.layout == "transformers":
            raise ModelError(
                f"{checkpoint.path}: last-token pooling, but the tokenizer appends no EOS and nothing says whether it should, "
                "so the pooled token would be whatever a text ends in. Fix: Embedder(..., append_eos=True) if the model was "
                "trained with EOS, append_eos=False if it was not, or set add_eos_token in tokenizer_config.json"
            )
    if not wanted:
        return suffix
    eos = _eos_id(checkpoint, tokenizer, config)
    if suffix and suffix[-1] == eos:
        return suffix
    if suffix and checkpoint.append_eos is None:
        return suffix
    logger.info("%s: EOS (id %d) is appended to every text, as the checkpoint wants", checkpoint.name, eos)
    return (*suffix, eos)


def _eos_id(checkpoint: Checkpoint, tokenizer: Tokenizer, config: dict[str, Any]) -> int:
    token = checkpoint.eos_token or config.get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    found = tokenizer.token_to_id(text) if text else checkpoint.config.get("eos_token_id")
    found = found[0] if isinstance(found, list) and found else found
    if not isinstance(found, int):
        raise ModelError(
            f"{checkpoint.path}: EOS is wanted, but the tokenizer does not name one. Fix: set eos_token in tokenizer_config.json"
        )
    return found


def _probe(opened: TextTokenizer, checkpoint: Checkpoint) -> None:
    """A probe text and one longer than the limit must both end in the pooled token and respect the limit."""
    limit = min(checkpoint.query_max_length, checkpoint.document_max_length)
    try:
        (short, long), _ = opened.encode(["probe", "probe " * (limit + 8)], max_length=limit)
    except ReasonEmbedError:
        raise
    except Exception as error:
        raise ModelError(f"{checkpoint.path}: the tokenizer fails on a probe text: {error}") from error
    ends = {tuple(ids[len(ids) - len(opened.suffix) :]) for ids in (short, long)}
    if ends != {opened.suffix} or len(long) > limit:
        raise ModelError(
            f"{checkpoint.path}: a probe of {len(short)} tokens and one cut to {len(long)} (limit {limit}) do not end in the same token"
        )
