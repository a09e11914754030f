"""Saves an Embedder as a directory every tool opens, with reference vectors and a short model card beside the weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonembed.encode.reference import write_reference
from reasonembed.errors import ModelError
from reasonembed.io.atomic import atomic_folder, atomic_write
from reasonembed.model.engines.torch import without_bars
from reasonembed.model.layout import write_layout

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [reasonembed, sentence-transformers, feature-extraction]
---
# {model}

Written by reasonembed. Pooling: {pooling}; pooled token: {pooled_token}; width: {dim}.
Queries: `{query_format}`; documents bare. Lengths: {query_max_length} / {document_max_length} tokens.

```python
from reasonembed import Embedder
embedder = Embedder("path/to/this/folder")
```
`reasonembed doctor path/to/this/folder` compares any tool's vectors with the eight reference vectors stored here.
"""


def save_embedder(embedder: Embedder, folder: Path) -> None:
    """Write weights, tokenizer, Sentence Transformers files, `reasonembed.json`, reference vectors and a model card.

    Raises:
        ModelError: The engine is not `torch`, or the vectors are cut (`truncate_dim`), which the layout cannot say.
        StorageError: The folder could not be written; an old one stays.
    """
    engine: Any = embedder.engine
    if engine.name != "torch":
        raise ModelError(
            f"engine {engine.name!r} holds no weights to save. Fix: Embedder({embedder.name!r}, engine='torch')"
        )
    if embedder.truncate_dim is not None:
        raise ModelError(
            "a model with truncate_dim cannot be saved. Fix: save it whole, pass truncate_dim when opening it"
        )
    before, _ = embedder.query_prompt()
    with atomic_folder(folder) as temporary:
        model = _plain(engine.model) if embedder.checkpoint.gguf_file else engine.model
        with without_bars():
            model.save_pretrained(str(temporary))
        write_layout(
            temporary,
            embedder.checkpoint,
            embedder.tokenizer,
            hidden_size=int(model.config.hidden_size),
            query_prompt=before,
        )
        write_reference(temporary, embedder)
        with atomic_write(temporary / "README.md") as file:
            file.write(_CARD.format(**embedder.describe()))  # type: ignore[call-overload]


def _plain(model: Any) -> Any:
    """A model loaded from GGUF as an ordinary one: transformers refuses to save what it calls quantised."""
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = type(model)(config).to(model.dtype)
    plain.load_state_dict(model.state_dict())
    return plain
