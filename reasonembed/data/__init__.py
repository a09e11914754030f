"""Data that ships with the package: TheoremQA (MIT, see NOTICE) as a BEIR folder."""

from __future__ import annotations

from pathlib import Path


def theoremqa() -> Path:
    """The BEIR folder of TheoremQA: 354 theorems, 747 questions, `qrels/test.tsv.gz`."""
    return Path(__file__).parent / "theoremqa"
