"""Data that ships with the package: TheoremQA (MIT, see NOTICE) as a BEIR folder."""

from __future__ import annotations

from pathlib import Path


def theoremqa() -> Path:
    """The BEIR folder of TheoremQA: 354 theorems, 747 questions, `qrels/test.tsv.gz`."""
    return Path(__file__).parent / "theoremqa"


def minilm_run() -> Path:
    """The best ten theorems of each question by all-MiniLM-L6-v2 (float32), a TREC run; written by `scripts/minilm_run.py`."""
    return Path(__file__).parent / "theoremqa" / "all-MiniLM-L6-v2.run"
