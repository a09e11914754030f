"""The listwise reranker on models that know the truth, that answer nonsense, and that fail."""

from __future__ import annotations

import itertools
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_llm import scripted

from reasonembed.errors import DataError
from reasonembed.search.rerank.listwise import ListwiseReranker, permutation, window_starts
from reasonembed.types import Document


def shown(request) -> list[int]:
    """The values of the documents of a window, in the order shown."""
    return [int(value) for value in re.findall(r"^\[\d+\] value (\d+)$", request.messages[0].content, re.MULTILINE)]


def truth(request) -> str:
    values = shown(request)
    best = sorted(range(len(values)), key=lambda place: -values[place])
    return "They differ, [1] most. <answer>" + " > ".join(f"[{place + 1}]" for place in best) + "</answer>"


def corpus(values) -> list[Document]:
    return [Document(f"d{value}", f"value {value}") for value in values]


@pytest.mark.parametrize("n", [2, 5, 20, 21, 30, 57, 100])
def test_the_best_ten_reach_the_front_whatever_the_number(n):
    values = random.Random(n).sample(range(1000), n)
    llm, asked = scripted(truth)
    with llm:
        (found,) = ListwiseReranker(llm).rerank(["q"], [corpus(values)])
    best = sorted(values, reverse=True)[:10]
    assert [hit.id for hit in found.hits[:10]] == [f"d{value}" for value in best]
    assert sorted(hit.id for hit in found.hits) == sorted(f"d{value}" for value in values)
    assert (found.unparsed, found.repaired) == (0, 0)
    assert len(asked) == len(window_starts(n, 20, 10))
    assert all(len(shown(request)) == min(n, 20) for request in asked)
    assert all(one.first_stage_rank == values.index(int(one.id[1:])) + 1 for one in found.judged)


def test_beyond_the_depth_nothing_moves_and_scores_fall():
    llm, _ = scripted(truth)
    with llm:
        (found,) = ListwiseReranker(llm, depth=4, window=3, step=1).rerank(["q"], [corpus([1, 2, 3, 4, 9, 8])])
    assert [hit.id for hit in found.hits] == ["d4", "d3", "d1", "d2", "d9", "d8"]
    assert [one.score for one in found.judged] == [100, 75, 50, 25]
    assert all(above.score > below.score for above, below in zip(found.hits, found.hits[1:], strict=False))


def test_failed_windows_keep_their_order_and_broken_ones_are_repaired():
    def script(request):
        text = request.messages[0].content
        if "lost" in text:
            return None
        return "I cannot." if "mute" in text else "<answer>[3] > [3] > [9] > [1]</answer>"

    llm, _ = scripted(script)
    with llm:
        found = ListwiseReranker(llm).rerank(
            ["lost", "mute", "odd", "one", "none"], [corpus([1, 2, 3])] * 3 + [corpus([7]), []]
        )
    assert [[hit.id for hit in one.hits] for one in found] == [
        ["d1", "d2", "d3"], ["d1", "d2", "d3"], ["d3", "d1", "d2"], ["d7"], [],
    ]  # fmt: skip
    assert [(one.unparsed, one.repaired) for one in found] == [(1, 0), (1, 0), (0, 1), (0, 0), (0, 0)]


def test_queries_of_different_lengths_run_together():
    lists = [random.Random(n).sample(range(1000), n) for n in (3, 45, 0, 25)]
    llm, asked = scripted(truth)
    with llm:
        found = ListwiseReranker(llm).rerank(["a", "b", "c", "d"], [corpus(values) for values in lists])
    for values, one in zip(lists, found, strict=True):
        assert [hit.id for hit in one.hits[:10]] == [f"d{value}" for value in sorted(values, reverse=True)[:10]]
    assert len(asked) == 1 + 4 + 0 + 2


def test_long_documents_are_cut_and_counted():
    llm, asked = scripted(lambda request: "<answer>[2] > [1]</answer>")
    documents = [Document("a", "x" * 9), Document("b", "y" * 8)]
    with llm:
        (found,) = ListwiseReranker(llm, document_chars=8, task="bright/pony").rerank(["q"], [documents])
    assert "[1] xxxxxxxx\n\n[2] yyyyyyyy\n" in asked[0].messages[0].content
    assert found.cut == 1
    assert [hit.id for hit in found.hits] == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [
        ("[2] > [1]", 2, ([1, 0], False)),
        ("[2], [1]", 2, ([1, 0], False)),
        ("I think [1] and [2] are close. [2] > [1] > [3]", 3, ([1, 0, 2], False)),
        ("[1] > [2]. No: [2] > [1]", 2, ([1, 0], False)),
        ("[2] > [1] <answer>[1] > [2]</answer> unlike [2] > [1]", 2, ([0, 1], False)),
        ("<answer>2 > 1 > 3</answer>", 3, ([1, 0, 2], False)),
        ("2 > 1", 2, None),
        ("[2]", 3, ([1, 0, 2], True)),
        ("[0] > [4] > [-1]", 3, None),
        ("<answer></answer>", 3, None),
        ("", 3, None),
        ("[99999999999999999999] > [1]", 2, ([0, 1], True)),
    ],
)
def test_permutation(text, n, expected):
    assert permutation(text, n) == expected


@given(st.text(alphabet="[]0123456789> ,<answer>/", max_size=200), st.integers(1, 30))
def test_permutation_of_anything_is_one(text, n):
    found = permutation(text, n)
    assert found is None or sorted(found[0]) == list(range(n))


@given(st.integers(0, 300), st.integers(2, 40), st.integers(1, 40))
def test_windows_cover_everything_and_overlap(n, window, step):
    step = min(step, window)
    starts = window_starts(n, window, step)
    assert {place for start in starts for place in range(start, min(start + window, n))} == (
        set(range(n)) if n > 1 else set()
    )
    assert all(0 < above - below <= step for above, below in itertools.pairwise(starts))
    assert not starts or (starts[-1] == 0 and starts[0] == max(0, n - window))


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"window": 1}, {"step": 0}, {"step": 21}, {"document_chars": 0}])
def test_numbers_out_of_range(wrong):
    llm, _ = scripted(truth)
    with llm, pytest.raises(DataError, match=next(iter(wrong))):
        ListwiseReranker(llm, **wrong)
