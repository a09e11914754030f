"""Queries and analyses: conditions by seed, what is asked, what is asked again, what is lost; and the helper that asks."""

from __future__ import annotations

from collections import Counter

import pytest
from scripted_llm import scripted

from reasonembed.llm.prompts import load_prompt
from reasonembed.llm.types import Answer
from reasonembed.synth.asking import Lost, ask_each
from reasonembed.synth.checks import HARD_LIMIT, count_words
from reasonembed.synth.config import QueriesConfig, ReasoningConfig
from reasonembed.synth.queries import FRAME, orders, query_request, written
from reasonembed.synth.reasoning import analysed
from reasonembed.synth.tasks import PROMPTS, writing_for
from reasonembed.types import Document, SynthQuery

SOURCES = [Document(f"d{n}", f"alpha beta gamma {n} {{braces}}") for n in range(6000)]
GOOD = "one two three four five six seven eight nine ten eleven twelve"
BAND = ((10, 15, 1),)


def test_conditions_follow_the_weights():
    made = list(orders(SOURCES, QueriesConfig(), per_document=1, seed=42))
    lengths, levels = (Counter(getattr(order, name) for order in made) for name in ("length", "level"))
    expected = {(0, 99): 1, (100, 200): 2, (200, 300): 3, (300, 400): 3, (400, 500): 2, (500, HARD_LIMIT): 1}
    deviation = lambda n, share: 4.5 * (n * share * (1 - share)) ** 0.5  # noqa: E731
    for band, weight in expected.items():
        assert abs(lengths[band] - 6000 * weight / 12) < deviation(6000, weight / 12)
    for level, weight in {"high school": 1, "college": 2, "phd": 2}.items():
        assert abs(levels[level] - 6000 * weight / 5) < deviation(6000, weight / 5)


def test_conditions_of_a_query_depend_on_nothing_but_seed_and_id():
    config = QueriesConfig()
    alone = list(orders(SOURCES[7:8], config, per_document=3, seed=1))
    among = [order for order in orders(SOURCES[:20], config, per_document=3, seed=1) if order.source.id == "d7"]
    assert alone == among
    assert [order.id for order in alone] == ["d7#q1", "d7#q2", "d7#q3"]
    assert len({(order.length, order.level) for order in orders(SOURCES[:1], config, per_document=20, seed=1)}) > 3


def ask(script, config, sources=SOURCES[:3], task="bright/biology"):
    llm, asked = scripted(script)
    with llm:
        made = list(written(llm, orders(sources, config, per_document=1, seed=0), config, writing_for(task, None)))
    return made, asked


def test_the_prompt_says_what_the_paper_says():
    config = QueriesConfig(lengths=[[500, None, 1]], levels={"phd": 1})
    _, asked = ask(lambda request: GOOD, config, SOURCES[:1])
    prompt = asked[0].messages[-1].content
    for part in (
        "Biology post",
        "alpha beta gamma 0 {braces}",
        "at least 500 words",
        "phd level",
        "never seen the content",
    ):
        assert part in prompt
    assert (asked[0].sampling.temperature, asked[0].sampling.top_p) == (1.0, 0.6)


def test_a_refused_query_is_asked_again_with_the_next_number():
    config = QueriesConfig(lengths=BAND)
    answers = {0: "short", 1: "Based on the passage, " + GOOD, 2: f'"{GOOD}"'}
    made, asked = ask(lambda request: answers[request.sample], config)
    assert [query.text for _, query in made] == [GOOD] * 3
    assert [query.source for _, query in made] == ["d0", "d1", "d2"]
    assert Counter(request.sample for request in asked) == {0: 3, 1: 3, 2: 3}


def test_a_query_that_never_passes_is_lost_with_its_last_reason():
    config = QueriesConfig(lengths=BAND, attempts=2)
    made, asked = ask(lambda request: Answer(GOOD, finish_reason="length") if request.sample else "short", config)
    assert [query for _, query in made] == [Lost("cut at max_tokens", GOOD)] * 3
    assert len(asked) == 6


def test_a_failure_is_not_asked_again():
    made, asked = ask(lambda request: None, QueriesConfig(lengths=BAND))
    assert [(lost.reason, lost.passing) for _, lost in made] == [("refused", False)] * 3
    assert len(asked) == 3


@pytest.mark.parametrize("n", [0, 1, 200])
def test_outcomes_are_in_order_and_every_record_has_one(n):
    """Against a loop that asks one at a time."""

    def says(number, attempt):
        return (number * 7 + attempt * 3) % 5

    def alone(number):
        for attempt in range(3):
            if says(number, attempt) < 2:
                return f"{number} {attempt}"
        return None

    llm, _ = scripted(lambda request: request.messages[-1].content)
    from reasonembed.llm.types import user

    with llm:
        outcomes = list(ask_each(
            llm, range(n), request=lambda number, attempt: user(f"{number} {attempt}", sample=attempt),
            read=lambda number, answer: answer.text if says(*map(int, answer.text.split())) < 2 else Lost("no"),
            attempts=3, label="x",
        ))  # fmt: skip
    expected = [(number, alone(number) or Lost("no")) for number in range(n)]
    assert outcomes == expected


def test_analyses():
    queries = [SynthQuery(f"q{n}", f"why does thing number {n} fall?", f"d{n}", (1, 9), "phd") for n in range(4)]

    def script(request):
        text = request.messages[-1].content
        if "number 1" in text:
            return Answer("half an analysis", finish_reason="length")
        if "number 2" in text:
            return "<think>hm</think>" if request.sample == 0 else "It is gravity."
        return (
            "因为万有引力的作用所以苹果会从树上掉下来这是牛顿发现的规律"
            if "number 3" in text
            else "Mass attracts mass."
        )

    llm, _ = scripted(script)
    with llm:
        made = dict(
            (query.id, outcome)
            for query, outcome in analysed(llm, queries, ReasoningConfig(), writing_for(None, "exam"))
        )
    assert made["q0"] == "why does thing number 0 fall?\n\nMass attracts mass."
    assert made["q1"].reason == "cut at max_tokens"
    assert made["q2"].endswith("It is gravity.")
    assert made["q3"].reason == "language"
    assert count_words(made["q0"]) == 9


def test_queries_of_a_document_under_the_same_conditions_are_asked_for_apart():
    config = QueriesConfig(lengths=((15, 40, 1),), levels={"college": 1})
    made = list(orders(SOURCES[:2], config, per_document=3, seed=1))
    assert [order.repeat for order in made] == [0, 1, 2, 0, 1, 2]
    frame, writing = load_prompt(PROMPTS, FRAME), writing_for(None, "exam")
    asked = [
        query_request(frame, order, config, writing, attempt) for order in made for attempt in range(config.attempts)
    ]
    assert len(set(asked)) == len(asked), "an answer in the cache would be the answer to another query too"


def test_a_query_that_names_its_source_is_asked_again():
    sources = [Document("d", "alpha beta gamma", "Compression - Huffman coding")]
    answers = {0: GOOD.replace("five six", "Huffman coding"), 1: GOOD}
    made, asked = ask(lambda request: answers[request.sample], QueriesConfig(lengths=BAND), sources)
    assert [query.text for _, query in made] == [GOOD]
    assert [request.sample for request in asked] == [0, 1]
