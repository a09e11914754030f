"""The small model that ships with the package: a Sentence Transformers directory with OpenVINO weights.

It is opened like any other directory. Made by `scripts/export_mini.py`; other weights are another folder and
another name here.
"""

from __future__ import annotations

from pathlib import Path

NAME = "all-MiniLM-L6-v2-int8"


def path() -> Path:
    """The model directory."""
    return Path(__file__).parent / NAME
