"""The examples in docstrings are run: an example that is wrong fails here."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import reasonembed

PACKAGE = Path(reasonembed.__file__).parent
MODULES = [
    ".".join(("reasonembed", *file.relative_to(PACKAGE).with_suffix("").parts))
    for file in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in file.read_text("utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name):
    failed, tried = doctest.testmod(importlib.import_module(name.removesuffix(".__init__")))
    assert tried
    assert not failed
