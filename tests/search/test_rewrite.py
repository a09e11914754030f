"""Rewriting: what is asked, what becomes a text to search for, and what happens where the model fails."""

from __future__ import annotations

import dataclasses
from importlib import resources

import pytest
from llm_server import Act, LlmServer
from scripted_llm import scripted

from reasonembed import protocols
from reasonembed.errors import DataError
from reasonembed.llm.open import open_llm
from reasonembed.llm.types import Answer
from reasonembed.search.rewrite import Rewriter, Rewriting

PROMPTS = resources.files("reasonembed.search") / "prompts" / "rewrite"


def test_n_texts_a_query_in_the_order_of_the_samples():
    llm, asked = scripted(
        lambda request: f"rewrite {request.sample} of {'b' if 'bees' in request.messages[0].content else 'a'}"
    )
    with llm:
        found = Rewriter(llm, n=3).rewrite(["ants {query}?", "bees?"])
    assert found == [
        Rewriting(("rewrite 0 of a", "rewrite 1 of a", "rewrite 2 of a"), 0),
        Rewriting(("rewrite 0 of b", "rewrite 1 of b", "rewrite 2 of b"), 0),
    ]
    assert len(asked) == 6
    assert any("ants {query}?" in request.messages[0].content for request in asked)  # braces of a query stay


def test_the_sampling_is_that_of_bge_reasoner():
    llm, asked = scripted(lambda request: "x")
    with llm:
        Rewriter(llm).rewrite(["q"])
    sampling = asked[0].sampling
    assert sorted(request.sample for request in asked) == [0, 1, 2, 3, 4]
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.repetition_penalty) == (0.6, 0.9, 20, 1.05)


@pytest.mark.parametrize(
    ("keep", "with_query", "expected"),
    [
        (True, False, "the law of Ohm\nIntro. U = R I"),
        (False, False, "U = R I"),
        (True, True, "volts?\nthe law of Ohm\nIntro. U = R I"),
        (False, True, "volts?\nU = R I"),
    ],
)
def test_thinking_and_query_by_option(keep, with_query, expected):
    llm, _ = scripted(lambda request: Answer("Intro. <response>U = R I</response>", reasoning="the law of Ohm"))
    with llm:
        found = Rewriter(llm, n=1, keep_thinking=keep, with_query=with_query).rewrite(["volts?"])
    assert found == [Rewriting((expected,), 0)]


def test_failed_rewrites_are_counted_and_a_query_without_any_keeps_its_text():
    def script(request):
        if "hopeless" in request.messages[0].content:
            return None if request.sample else Answer("<response> </response>", reasoning=" ")
        return None if request.sample == 0 else f"text {request.sample}"

    llm, _ = scripted(script)
    with llm:
        found = Rewriter(llm, n=3).rewrite(["hopeless case", "easy"])
    assert found == [Rewriting(("hopeless case",), 3), Rewriting(("text 1", "text 2"), 1)]


def test_thinking_alone_is_a_rewrite_only_where_thinking_is_kept():
    llm, _ = scripted(lambda request: Answer("", reasoning="cut before the end", finish_reason="length"))
    with llm:
        assert Rewriter(llm, n=1).rewrite(["q"]) == [Rewriting(("cut before the end",), 0)]
        assert Rewriter(llm, n=1, keep_thinking=False).rewrite(["q"]) == [Rewriting(("q",), 1)]


def test_through_a_real_server():
    def script(asked):
        if "bad" in asked.prompt:
            return Act(status=400, error="too long")
        return Act("<think>why</think><response>because</response>")

    with LlmServer(script) as server, open_llm(server.url, cache=None) as llm:
        found = Rewriter(llm, n=2).rewrite(["good", "bad"])
        assert found == [Rewriting(("why\nbecause",) * 2, 0), Rewriting(("bad",), 2)]
        assert llm.totals.failed == {"refused": 2}
        body = next(body for body in server.bodies if "good" in body["messages"][-1]["content"])
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.6, 0.9, 20)


TASKS = [None, "r2med/PMC-Clinical", "beir/scifact", *(f"bright/{name}" for name in protocols.BRIGHT_TASKS)]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_prompt_that_asks_its_question(task):
    llm, asked = scripted(lambda request: "x")
    with llm:
        rewriter = Rewriter(llm, n=1, task=task)
        rewriter.rewrite(["Where do {braces} go?"])
    said = asked[0].messages[0].content
    assert said.count("Where do {braces} go?") == 1
    assert protocols.relevance_for(task).query_type in said
    assert rewriter.describe()["prompt"] == f"rewrite/{protocols.relevance_for(task).kind}"


def test_no_prompt_is_orphaned():
    kinds = {protocols.relevance_for(task).kind for task in TASKS}
    assert {f"{kind}.txt" for kind in kinds} == {file.name for file in PROMPTS.iterdir()}


def test_a_prompt_of_ones_own(tmp_path):
    own = tmp_path / "mine.txt"
    own.write_text("A {query_type}: {query} -- write {json: true}")
    llm, asked = scripted(lambda request: "x")
    with llm:
        first = Rewriter(llm, n=1, task="bright/biology", prompt=own)
        first.rewrite(["why?"])
        assert asked[0].messages[0].content == "A Biology post: why? -- write {json: true}"
        own.write_text("A {query_type}: {query} -- write it")
        digests = {Rewriter(llm, prompt=own).describe()["prompt_sha256"], first.describe()["prompt_sha256"]}
        assert len(digests) == 2
        own.write_text("no place")
        with pytest.raises(DataError, match="query"):
            Rewriter(llm, prompt=own)
        own.write_text("{query} {answer}")
        with pytest.raises(DataError, match="answer"):
            Rewriter(llm, prompt=own)


def test_the_description_says_what_decides_the_result():
    llm, _ = scripted(lambda request: "x")
    with llm:
        said = Rewriter(llm, n=2, temperature=0.1, task="bright/pony").describe()
        assert (said["n"], said["sampling"]["temperature"], said["task"]) == (2, 0.1, "bright/pony")
        assert said["llm"]["model"] == "scripted"
        with pytest.raises(DataError, match="n is 0"):
            Rewriter(llm, n=0)
        with pytest.raises(DataError, match="list of queries"):
            Rewriter(llm).rewrite("one query")


def test_relevance_of_tasks():
    assert protocols.relevance_for("BRIGHT/Biology").query_type == "Biology post"
    assert protocols.relevance_for("bright-long/pony") == protocols.relevance_for("bright/pony")
    assert protocols.relevance_for("beir/theoremqa") == protocols.relevance_for("bright/theoremqa_theorems")
    assert protocols.relevance_for("beir/nfcorpus") == protocols.relevance_for(None)
    assert len({protocols.relevance_for(f"bright/{name}") for name in protocols.BRIGHT_TASKS}) == 11
    assert all(value for value in dataclasses.asdict(protocols.relevance_for(None)).values())
    with pytest.raises(DataError, match="benchmark/name"):
        protocols.relevance_for("biology")
