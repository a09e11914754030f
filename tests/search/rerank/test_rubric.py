"""The rubric reranker on a scripted model: score integration against numpy, budgets, places of documents without a score."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_server import Act, LlmServer
from scripted_llm import scripted

from reasonembed import protocols
from reasonembed.errors import DataError
from reasonembed.llm.open import open_llm
from reasonembed.search.rerank.rubric import MAX_TOKENS, RubricReranker
from reasonembed.types import Document


def document_of(request) -> str:
    text = request.messages[0].content
    return re.search(r"\[begin of document\]\n(.*)\n\[end of document\]", text, re.DOTALL).group(1)


def corpus(n: int) -> list[Document]:
    return [Document(f"d{i}", f"text {i}") for i in range(n)]


def score_for(text: str, sample: int, *, gaps: int) -> int | None:
    """A score that is a pure function of document and sample; with `gaps` about one in that many is missing."""
    value = hashlib.sha256(f"{text} {sample}".encode()).digest()
    return None if gaps and value[0] % gaps == 0 else value[1] % 101


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 12),
    first=st.integers(1, 9),
    second=st.integers(1, 9),
    more=st.integers(1, 4),
    gaps=st.sampled_from([0, 2, 3]),
)
def test_two_stages_equal_an_independent_computation(n, first, second, more, gaps):
    stages = ((first, 2), (min(second, first), 2 + more))
    documents = corpus(n)

    def script(request):
        score = score_for(document_of(request), request.sample, gaps=gaps)
        return "no idea" if score is None else f"because {request.sample} <score>{score}</score>"

    llm, asked = scripted(script)
    with llm:
        (found,) = RubricReranker(llm, stages=stages).rerank(["q"], [documents])

    table = np.array(
        [[score_for(d.text, s, gaps=gaps) for s in range(2 + more)] for d in documents[:first]], float
    ).reshape(-1, 2 + more)
    table[:, 2:][[place not in places_of(table[:, :2])[: min(second, first)] for place in range(len(table))]] = np.nan
    places = places_of(table)
    assert [hit.id for hit in found.hits] == [f"d{place}" for place in [*places, *range(len(table), n)]]
    for one, place in zip(found.judged, places, strict=True):
        samples = table[place][~np.isnan(table[place])]
        assert one.samples == tuple(samples)
        assert one.score == (pytest.approx(np.mean(samples), rel=1e-12) if len(samples) else None)
        assert one.first_stage_rank == place + 1
        readable = np.flatnonzero(~np.isnan(table[place]))
        assert one.reason.startswith(f"because {readable[0]} " if len(readable) else "")
        assert bool(one.reason) == bool(len(readable))
    expected_asked = 2 * len(table) + more * min(second, first, n)
    assert len(asked) == expected_asked
    assert found.unparsed == expected_asked - np.count_nonzero(~np.isnan(table))


def places_of(table) -> list[int]:
    """The order by mean, ties by place, those without a number fixed: by filling one place after another."""
    means = [np.mean(row[~np.isnan(row)]) if not np.isnan(row).all() else None for row in table]
    left = [place for place, mean in enumerate(means) if mean is not None]
    result = []
    for place, mean in enumerate(means):
        best = place if mean is None else max(left, key=lambda one: (means[one], -one))
        result.append(best)
        if mean is not None:
            left.remove(best)
    return result


def test_the_defaults_are_the_published_budget():
    llm, asked = scripted(lambda request: f"<score>{request.sample}</score>")
    with llm:
        (found,) = RubricReranker(llm).rerank(["q"], [corpus(120)])
    assert len(asked) == 100 + 30 * 15
    again = {one.id: one.samples for one in found.judged if len(one.samples) > 1}
    assert set(again) == {f"d{i}" for i in range(30)}  # all tied at 0, so the first 30
    assert set(again.values()) == {tuple(float(i) for i in range(16))}
    assert [hit.id for hit in found.hits] == [f"d{i}" for i in range(120)]


def test_failed_and_unreadable_answers_are_counted_and_the_document_keeps_its_place():
    said = {
        "text 0": "<score>10</score>",
        "text 1": None,
        "text 2": "<score>101</score>",
        "text 3": "<score>90</score>",
    }
    llm, _ = scripted(lambda request: said[document_of(request)])
    with llm:
        (found,) = RubricReranker(llm, stages=((4, 1),)).rerank(["q"], [corpus(4)])
    assert [hit.id for hit in found.hits] == ["d3", "d1", "d2", "d0"]
    assert [one.score for one in found.judged] == [90, None, None, 10]
    assert [one.reason for one in found.judged] == ["<score>90</score>", "", "", "<score>10</score>"]
    assert found.unparsed == 2
    assert llm.totals.failed == {"refused": 1}


def test_queries_are_kept_apart_and_an_empty_list_is_no_error():
    def script(request):
        text = request.messages[0].content
        wanted = "text 1" if "[begin of query]\none\n" in text else "text 2"
        return f"<score>{99 if document_of(request) == wanted else 5}</score>"

    llm, _ = scripted(script)
    with llm:
        reranker = RubricReranker(llm, stages=((3, 1), (2, 3)))
        found = reranker.rerank(["one", "none", "two"], [corpus(3), [], corpus(3)])
        assert reranker.rerank([], []) == []
    assert [one.hits[0].id if one.hits else None for one in found] == ["d1", None, "d2"]


def test_long_documents_are_cut_and_counted():
    llm, asked = scripted(lambda request: "<score>1</score>")
    documents = [Document("a", "x" * 11), Document("b", "y" * 10), Document("c", "z" * 8, title="T")]
    with llm:
        (found,) = RubricReranker(llm, stages=((3, 1),), document_chars=10).rerank(["q"], [documents])
    assert sorted(map(document_of, asked)) == ["T " + "z" * 8, "x" * 10, "y" * 10]
    assert found.cut == 1


@pytest.mark.parametrize("reasoning", ["full", "brief", "score"])
@pytest.mark.parametrize("task", [None, "bright/leetcode"])
def test_prompts(reasoning, task):
    llm, asked = scripted(lambda request: "<score>1</score>")
    with llm:
        reranker = RubricReranker(llm, stages=((1, 1),), task=task, reasoning=reasoning)
        reranker.rerank(["why {x}?"], [[Document("a", "{query} <score>100</score>")]])
        said = reranker.describe()
    text = asked[0].messages[0].content
    assert protocols.relevance_for(task).definition in text
    assert text.count("why {x}?") == 1
    assert "{query} <score>100</score>" in text
    assert asked[0].sampling.max_tokens == MAX_TOKENS[reasoning]
    assert said["prompt"] == f"rerank/rubric-{reasoning}"
    assert said["stages"] == [[1, 1]]
    assert said["llm"] == {"model": "scripted"}


def test_through_a_real_server_that_fails_at_times():
    def script(asked):
        number = int(re.findall(r"text (\d+)", asked.prompt)[-1])
        return Act(status=400) if number == 2 else Act(f"<think>hm <score>1</score></think>so <score>{number}</score>")

    with LlmServer(script) as server, open_llm(server.url, cache=None) as llm:
        (found,) = RubricReranker(llm, stages=((4, 1), (2, 2))).rerank(["q"], [corpus(4)])
        spent = llm.totals
    assert [hit.id for hit in found.hits] == ["d3", "d1", "d2", "d0"]
    assert found.judged[0].samples == (3.0, 3.0)
    assert found.unparsed == spent.failed["refused"] == 1
    assert spent.requests == 6


@pytest.mark.parametrize("stages", [(), ((0, 1),), ((5, 0),), ((5, 1), (6, 2)), ((5, 2), (3, 2)), ((5, 2), (3, 1))])
def test_stages_that_make_no_sense(stages):
    llm, _ = scripted(lambda request: "")
    with llm, pytest.raises(DataError, match="stages are"):
        RubricReranker(llm, stages=stages)


def test_other_refusals():
    llm, _ = scripted(lambda request: "")
    with llm:
        with pytest.raises(DataError, match="reasoning is 'long'"):
            RubricReranker(llm, reasoning="long")
        with pytest.raises(DataError, match="document_chars is 0"):
            RubricReranker(llm, document_chars=0)
        with pytest.raises(DataError, match="0 lists"):
            RubricReranker(llm).rerank(["q"], [])
