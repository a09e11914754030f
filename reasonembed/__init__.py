"""reasonembed: embeddings, search and evaluation for retrieval that reasons. Names load when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reasonembed.adaptation.run import adapt as adapt
    from reasonembed.encode.embedder import Embedder as Embedder
    from reasonembed.encode.flag import FlagLLMModel as FlagLLMModel
    from reasonembed.encode.flag import FlagModel as FlagModel
    from reasonembed.evaluation.runner import evaluate as evaluate
    from reasonembed.search.bm25 import BM25Searcher as BM25Searcher
    from reasonembed.search.exact import ExactSearcher as ExactSearcher
    from reasonembed.search.pipeline import Pipeline as Pipeline
    from reasonembed.synth.run import synthesize as synthesize
    from reasonembed.training.run import train as train

_HOMES = {
    "adapt": "reasonembed.adaptation.run",
    "Embedder": "reasonembed.encode.embedder",
    "FlagLLMModel": "reasonembed.encode.flag",
    "FlagModel": "reasonembed.encode.flag",
    "ExactSearcher": "reasonembed.search.exact",
    "BM25Searcher": "reasonembed.search.bm25",
    "Pipeline": "reasonembed.search.pipeline",
    "evaluate": "reasonembed.evaluation.runner",
    "synthesize": "reasonembed.synth.run",
    "train": "reasonembed.training.run",
}

__all__ = [
    "BM25Searcher",
    "Embedder",
    "ExactSearcher",
    "FlagLLMModel",
    "FlagModel",
    "Pipeline",
    "adapt",
    "evaluate",
    "synthesize",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'reasonembed' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
