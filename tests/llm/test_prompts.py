from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonembed.errors import DataError
from reasonembed.llm.prompts import load_prompt, read_prompt, render


@settings(deadline=None)
@given(st.text(), st.text())
def test_values_go_in_once_whatever_they_hold(query, document):
    template = 'Q: {query}\nD: {document}\nAgain: {query}\nAnswer as {"score": 1} or {} or {Query}'
    expected = f'Q: {query}\nD: {document}\nAgain: {query}\nAnswer as {{"score": 1}} or {{}} or {{Query}}'
    assert render(template, query=query, document=document) == expected


def test_a_value_that_looks_like_a_placeholder_stays():
    assert render("{a} {b}", a="{b}", b="{a}") == "{b} {a}"


def test_missing_and_unknown_are_refused():
    with pytest.raises(DataError, match=r"the prompt wants document.*query"):
        render("{query} {document}", query="q")
    with pytest.raises(DataError, match="has no place for documents"):
        render("{query}", query="q", documents="d")


def test_prompt_files(tmp_path, monkeypatch):
    package = tmp_path / "prompting"
    (package / "rewrite").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "rewrite" / "bright.txt").write_text("Think: {query}\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert load_prompt("prompting", "rewrite/bright.txt") == "Think: {query}"
        with pytest.raises(DataError, match=r"no prompt 'rewrite/none.txt'"):
            load_prompt("prompting", "rewrite/none.txt")
    finally:
        sys.modules.pop("prompting", None)
    assert read_prompt(package / "rewrite" / "bright.txt") == "Think: {query}"
    (tmp_path / "latin").write_bytes(b"\xe9")
    for name in ("latin", "none"):
        with pytest.raises(DataError, match=f"{name}: no readable prompt"):
            read_prompt(tmp_path / name)
