"""The small model that ships with the package: a Sentence Transformers directory with OpenVINO weights.

reasonembed-mini: granite-embedding-30m-english trained further by `scripts/make_mini.py`, exported by `scripts/export_mini.py`. It is
opened like any other directory; other weights are another folder and another name here.
"""

from __future__ import annotations

from pathlib import Path

NAME = "reasonembed-mini"


def path() -> Path:
    """The model directory."""
    return Path(__file__).parent / NAME
