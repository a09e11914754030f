"""Judging pairs through a real HTTP server whose judge is a known function of query and document."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter
from statistics import fmean

import pytest
from llm_server import CUT_JSON, Act, LlmServer, faulty

from reasonembed.errors import LlmError
from reasonembed.llm.client import Llm
from reasonembed.llm.failures import AttemptFailed
from reasonembed.llm.open import open_llm
from reasonembed.llm.types import Answer, Message, TokenChoice
from reasonembed.protocols import relevance_for
from reasonembed.synth.annotate import ATTEMPTS, AnnotateSettings, Unjudged, annotate_pairs
from reasonembed.types import Annotation, Document, SynthQuery

QUERY = re.compile(r"\[begin of query\]\n(.*?)\n\[end of query\]", re.DOTALL)
DOCUMENT = re.compile(r"\[begin of document\]\n(.*?)\n\[end of document\]", re.DOTALL)
LISTED = re.compile(r"^\[(\d+)\]\n(.*)$", re.MULTILINE)


def grade(query: str, document: str) -> int:
    return sum(map(ord, query + document)) % 5 + 1


def judge(asked) -> Act:
    """Grades whatever form it is asked for."""
    query = QUERY.search(asked.prompt)[1]
    listed = dict(LISTED.findall(asked.prompt)) or {"1": DOCUMENT.search(asked.prompt)[1]}
    grouped = "[begin of document]" not in asked.prompt
    rows = [
        {"document": int(number), "reason": f"of {text}", "score": grade(query, text)}
        for number, text in listed.items()
    ]
    if "response_format" in asked.body:
        return Act(
            text=json.dumps({"judgements": rows} if grouped else {key: rows[0][key] for key in ("reason", "score")})
        )
    lines = [f"[{row['document']}] {row['reason']} <score>{row['score']}</score>" for row in rows]
    return Act(text="\n".join(lines) if grouped else lines[0].removeprefix("[1] "))


def some_pairs(queries=6, documents=7):
    return [
        (SynthQuery(f"q{q}", f"query {q}", "source", (1, 2), "college"), Document(f"d{d}", f"document {q} {d}"), d + 1)
        for q in range(queries)
        for d in range(documents + q % 3)
    ]


def expected(pairs):
    return [
        Annotation(query.id, document.id, float(value), (float(value),), f"of {document.text}", rank)
        for query, document, rank in pairs
        for value in [grade(query.text, document.text)]
    ]


def annotate(script, pairs, *, cache=None, **settings):
    """Outcomes, counts and the server."""
    counts: Counter[str] = Counter()
    with LlmServer(script) as server, open_llm(server.url, cache=cache) as llm:
        outcomes = list(annotate_pairs(llm, iter(pairs), settings=AnnotateSettings(**settings), counts=counts))
    return outcomes, +counts, server


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr("reasonembed.llm.failures.FIRST_WAIT", 0.001)


@pytest.mark.parametrize("output", ["tags", "json"])
@pytest.mark.parametrize("mode", ["pointwise", "grouped"])
def test_every_pair_gets_its_own_score_in_order(mode, output):
    pairs = some_pairs()
    outcomes, counts, server = annotate(judge, pairs, mode=mode, output=output, reasoning="brief")
    assert outcomes == expected(pairs)
    assert not counts
    groups = len(pairs) if mode == "pointwise" else sum(math.ceil((7 + q % 3) / 5) for q in range(6))
    assert sum(server.asked.values()) == groups
    assert all(("response_format" in body) == (output == "json") for body in server.bodies)


def test_the_paper_is_the_default():
    _, _, server = annotate(judge, some_pairs(1, 1))
    body = server.bodies[0]
    assert (body["temperature"], body["top_p"], body["top_k"], body["max_tokens"]) == (0.7, 0.95, 40, 2048)
    assert "three steps" in body["messages"][0]["content"]


@pytest.mark.parametrize("mode", ["pointwise", "grouped"])
def test_an_unreadable_answer_is_asked_for_again(mode):
    pairs = some_pairs()
    script = faulty(Act(text="I cannot say."), Act(text="<score>6</score>"), then=judge)
    outcomes, counts, server = annotate(script, pairs, mode=mode)
    assert outcomes == expected(pairs)
    assert counts == {"answers_unreadable": 2 * len(server.asked)}


def test_what_stays_unreadable_is_dropped_and_said():
    pairs = some_pairs(2, 3)
    bad = {pairs[1][1].text, pairs[4][1].text}

    def script(asked):
        return Act(text="No idea.") if DOCUMENT.search(asked.prompt)[1] in bad else judge(asked)

    outcomes, counts, server = annotate(script, pairs)
    assert [outcome for outcome in outcomes if isinstance(outcome, Unjudged)] == [
        Unjudged(pairs[at][0].id, pairs[at][1].id, pairs[at][2], "unreadable", "No idea.") for at in (1, 4)
    ]
    assert [outcome for outcome in outcomes if isinstance(outcome, Annotation)] == [
        one for at, one in enumerate(expected(pairs)) if at not in (1, 4)
    ]
    assert counts == {"answers_unreadable": 2 * ATTEMPTS, "samples_lost": 2}
    assert set(server.asked.values()) == {1, ATTEMPTS}


def test_an_answer_that_broke_off_is_not_read():
    broken = Act(text="The scale says <score>5</score> if", choice={"finish_reason": "length"})
    outcomes, _, _ = annotate(faulty(broken, then=judge), some_pairs(1, 2))
    assert outcomes == expected(some_pairs(1, 2))


def test_samples_have_a_mean_and_the_reasoning_nearest_to_it():
    def script(asked):
        return Act(text=f"answer {asked.attempt}. <score>{(5, 1, 2, 4)[asked.attempt - 1]}</score>")

    outcomes, counts, _ = annotate(script, some_pairs(1, 1), samples=4)
    assert sorted(outcomes[0].samples) == [1, 2, 4, 5]
    assert outcomes[0].score == 3.0
    first_of_the_nearest = next(score for score in outcomes[0].samples if score in (2, 4))
    assert outcomes[0].reason == {2: "answer 3.", 4: "answer 4."}[first_of_the_nearest]
    assert not counts


def test_samples_that_cannot_be_read_are_left_out_of_the_mean():
    def script(asked):
        return Act(text=f"<score>{asked.attempt}</score>" if asked.attempt in (2, 4) else "none")

    outcomes, counts, server = annotate(script, some_pairs(1, 1), samples=3)
    assert sorted(outcomes[0].samples) == [2, 4]
    assert outcomes[0].score == 3.0
    assert counts["samples_lost"] == 1
    assert sum(server.asked.values()) == 2 + counts["answers_unreadable"]


def test_faults_change_nothing():
    pairs = some_pairs(2, 4)
    acts = [
        Act(status=500),
        Act(drop=True),
        CUT_JSON,
        Act(text="x", cut=True),
        Act(status=429, headers={"Retry-After": "0"}),
    ]
    for settings in ({"samples": 2}, {"mode": "grouped"}):
        clean, _, _ = annotate(judge, pairs, **settings)
        faulted, counts, _ = annotate(faulty(*acts, then=judge), pairs, **settings)
        assert faulted == clean
        assert not counts


@pytest.mark.parametrize("between", [(), [Act(text="none")] * ATTEMPTS])
def test_a_pair_with_a_failed_request_is_unjudged_whatever_else_was_answered(between):
    refused = faulty(Act(status=400, error="context too long"), *between, then=judge)
    outcomes, _, _ = annotate(refused, some_pairs(1, 2), samples=3)
    assert [(outcome.reason, outcome.rank) for outcome in outcomes] == [("refused", 1), ("refused", 2)]
    assert "context too long" in outcomes[0].detail


def test_a_server_that_is_gone_ends_it():
    with LlmServer(judge) as server:
        llm = open_llm(server.url, cache=None)
    llm_pairs = some_pairs()
    with llm, pytest.raises(LlmError, match="stopped"):
        list(annotate_pairs(llm, llm_pairs))


def test_what_was_answered_is_not_asked_again(tmp_path):
    pairs, cache = some_pairs(15, 4), tmp_path / "llm.sqlite"
    script = faulty(Act(text="no number"), then=judge)
    with LlmServer(script) as server:
        with open_llm(server.url, cache=cache, concurrency=2) as llm:
            begun = annotate_pairs(llm, pairs)
            first = [next(begun) for _ in range(7)]
            begun.close()
        with open_llm(server.url, cache=cache) as llm:
            outcomes = list(annotate_pairs(llm, pairs))
        assert set(server.asked.values()) == {2}  # one unreadable answer, one readable; nothing twice
        with open_llm(server.url, cache=cache) as llm:
            assert list(annotate_pairs(llm, pairs)) == outcomes
            assert llm.totals.answered == 0
    assert outcomes == expected(pairs)
    assert first == outcomes[:7]


class Fives:
    """A judge in this process that finds everything relevant, at once; like a local model it refuses log-probabilities."""

    def describe(self):
        return {"kind": "local"}

    async def answer(self, request):
        await asyncio.sleep(0)
        if request.sampling.top_logprobs:
            raise AttemptFailed("refused", "a local model gives no top_logprobs")
        return Answer("<score>5</score>")

    async def aclose(self):
        pass


def test_pairs_are_taken_as_they_are_needed():
    taken = 0

    def endless():
        nonlocal taken
        number = 0
        while True:
            query = SynthQuery(f"q{number}", f"query {number}", "s", (1, 2), "college")
            for place in range(10):
                taken += 1
                yield query, Document(f"d{place}", f"document {number} {place}"), place + 1
            number += 1

    with Llm(Fives()) as llm:
        given = annotate_pairs(llm, endless(), settings=AnnotateSettings(reasoning="brief"))
        furthest = 0
        for count in range(1, 3001):
            assert isinstance(next(given), Annotation)
            furthest = max(furthest, taken - count)
        given.close()
    assert furthest <= 1024 + 64 + 10  # the window of `Llm`, a batch, a query


def test_a_group_stands_in_a_new_order_for_each_sample():
    pairs = some_pairs(1, 10)
    _, _, server = annotate(judge, pairs, mode="grouped", samples=8, group=5)
    orders = [tuple(text for _, text in LISTED.findall(body["messages"][0]["content"])) for body in server.bodies]
    assert len(orders) == 16
    assert all(len(order) == 5 for order in orders)
    assert all(Counter(text for order in orders for text in order)[document.text] == 8 for _, document, _ in pairs)
    assert len({frozenset(order) for order in orders}) > 8  # not the same company every time
    places = {
        document.text: [order.index(document.text) for order in orders if document.text in order]
        for _, document, _ in pairs
    }
    assert fmean(place for all_of_one in places.values() for place in all_of_one) == 2.0
    assert all(len(set(all_of_one)) > 1 for all_of_one in places.values())
    _, _, again = annotate(judge, pairs, mode="grouped", samples=8, group=5)
    assert again.asked == server.asked
    _, _, other = annotate(judge, pairs, mode="grouped", samples=8, group=5, seed=43)
    assert other.asked != server.asked


def test_a_group_that_lacks_a_candidate_is_asked_again_for_it():
    pairs = some_pairs(1, 5)
    partly = Act(text="[1] fine <score>2</score>\n[9] who? <score>5</score>\n[3] <score>none</score>")
    outcomes, counts, server = annotate(faulty(partly, then=judge), pairs, mode="grouped")
    first = LISTED.findall(server.bodies[0]["messages"][0]["content"])[0][1]
    wanted = expected(pairs)
    for outcome, one in zip(outcomes, wanted, strict=True):
        text = pairs[outcome.rank - 1][1].text
        assert outcome == (Annotation("q0", one.document, 2.0, (2.0,), "fine", one.rank) if text == first else one)
    assert counts == {"answers_unreadable": 1}


def with_logprobs(*tokens):
    content = [
        {
            "token": token,
            "logprob": top.get(token, 0.0),
            "top_logprobs": [{"token": t, "logprob": p} for t, p in top.items()],
        }
        for token, top in tokens
    ]
    return Act(text="".join(token for token, _ in tokens), choice={"logprobs": {"content": content}})


def test_the_expected_score_is_weighed_by_probabilities():
    top = {"4": math.log(0.5), "2": math.log(0.25), "9": math.log(0.2)}
    act = with_logprobs(("<score>", {}), ("4", top), ("</score>", {}))
    outcomes, counts, server = annotate(lambda asked: act, some_pairs(1, 1), logprobs=True, reasoning="score")
    assert outcomes[0].score == pytest.approx((4 * 0.5 + 2 * 0.25) / 0.75)
    assert not counts
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 20)


def test_a_server_without_log_probabilities_gives_the_written_score():
    pairs = some_pairs(1, 3)
    outcomes, counts, _ = annotate(judge, pairs, logprobs=True)
    assert outcomes == expected(pairs)
    assert counts == {"without_logprobs": 3}


def test_a_local_model_is_not_asked_for_log_probabilities():
    counts: Counter[str] = Counter()
    with Llm(Fives()) as llm:
        outcomes = list(annotate_pairs(llm, some_pairs(1, 3), settings=AnnotateSettings(logprobs=True), counts=counts))
    assert [outcome.score for outcome in outcomes] == [5.0] * 3
    assert +counts == {"without_logprobs": 3}


@pytest.mark.parametrize(("mode", "share"), [("pointwise", 1), ("grouped", 2)])
def test_long_texts_are_cut_and_counted(mode, share):
    query = SynthQuery("q", "Q" * 130, "s", (1, 2), "college")
    pairs = [(query, Document("a", "A" * 101), 1), (query, Document("b", "B" * 50), 2)]
    script = faulty(then=lambda asked: Act(text="[1] <score>1</score>\n[2] <score>1</score>"))
    _, counts, server = annotate(script, pairs, mode=mode, text_chars=100, group=2)
    prompt = "".join(body["messages"][0]["content"] for body in server.bodies)
    assert max(map(len, re.findall("A+", prompt))) == 100 // share
    assert max(map(len, re.findall("Q+", prompt))) == 100
    assert max(map(len, re.findall("B+", prompt))) == 50
    assert counts == {"documents_cut": 1, "queries_cut": 1}


def test_the_meaning_of_relevance_is_the_tasks():
    with LlmServer(judge) as server, open_llm(server.url, cache=None) as llm:
        list(annotate_pairs(llm, some_pairs(1, 1), relevance=relevance_for("bright/pony")))
    assert relevance_for("bright/pony").definition in server.bodies[0]["messages"][0]["content"]


def test_no_pairs():
    assert annotate(judge, [])[0] == []


class OneToken(Fives):
    """A judge in this process that gives alternatives of a first token; everything is 4 or, a third as likely, 2."""

    def __init__(self):
        self.requests = []

    async def answer(self, request):
        self.requests.append(request)
        top = (("4", math.log(0.6)), ("2", math.log(0.2)), ("NUMBER", math.log(0.2)))
        return Answer("4", finish_reason="length", tokens=(TokenChoice("4", math.log(0.6), top),))


def test_a_local_judge_is_asked_for_the_first_token_of_the_score():
    backend = OneToken()
    with Llm(backend) as llm:
        (outcome,) = annotate_pairs(llm, some_pairs(1, 1), settings=AnnotateSettings(reasoning="score", logprobs=True))
    assert (outcome.score, outcome.reason) == (pytest.approx((4 * 0.6 + 2 * 0.2) / 0.8), "")
    (request,) = backend.requests
    assert request.messages[-1] == Message("assistant", "<score>")
    assert (request.sampling.max_tokens, request.sampling.top_logprobs) == (1, 20)


def test_the_first_token_counts_though_another_word_is_likelier():
    class Other(OneToken):
        async def answer(self, request):
            top = (("NUMBER", math.log(0.5)), ("5", math.log(0.3)), ("3", math.log(0.1)))
            return Answer("NUMBER", finish_reason="length", tokens=(TokenChoice(*top[0], top),))

    counts: Counter[str] = Counter()
    settings = AnnotateSettings(reasoning="score", logprobs=True)
    with Llm(Other()) as llm:
        (outcome,) = annotate_pairs(llm, some_pairs(1, 1), settings=settings, counts=counts)
    assert outcome.score == pytest.approx((5 * 0.3 + 3 * 0.1) / 0.4)
    assert not +counts


@pytest.mark.parametrize("other", [{"reasoning": "brief"}, {"reasoning": "score", "output": "json"}])
def test_a_local_judge_that_writes_more_gives_the_written_score(caplog, other):
    with Llm(Fives()) as llm:
        (outcome,) = annotate_pairs(llm, some_pairs(1, 1), settings=AnnotateSettings(logprobs=True, **other))
    assert outcome.score == 5.0
    assert "the written scores count" in caplog.text
