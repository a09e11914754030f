"""What is asked and how answers are read, on answers as models write them."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonembed.errors import DataError
from reasonembed.llm.types import Answer, TokenChoice
from reasonembed.protocols import relevance_for
from reasonembed.synth.judgement import (
    AnnotateSettings,
    judgement_request,
    prompts_fingerprint,
    read_judgement,
    read_judgements,
)
from reasonembed.types import Document

TAGS, JSON, SCORE = AnnotateSettings(), AnnotateSettings(output="json"), AnnotateSettings(reasoning="score")
GROUP, GROUP_JSON = AnnotateSettings(mode="grouped"), AnnotateSettings(mode="grouped", output="json")


@pytest.mark.parametrize(
    ("text", "score", "reason"),
    [
        ("It states the theorem.\n<score>4</score>", 4, "It states the theorem."),
        ("It states the theorem. **<score> 4 </score>**", 4, "It states the theorem."),
        ("A 5? No: <score>5</score> is too much.\n<score>3</score>", 3, "A 5? No: is too much."),
        ("**Reason:** It states it.\n<score>4</score>", 4, "It states it."),
        ("Judgement: it helps.\nScore: 2/5", 2, "Judgement: it helps.\nScore: 2/5"),
        ("5", 5, ""),
        ("<score>6</score>", None, ""),
        ("<score>0</score>", None, ""),
        ("<score>3.5</score>", None, ""),
        ("<score>NUMBER</score>", None, ""),
        ("It has 4 parts.", None, ""),
        ("", None, ""),
    ],
)
def test_tags(text, score, reason):
    reading = read_judgement(Answer(text), TAGS)
    assert (reading and (reading.score, reading.reason)) == (score and (score, reason))


@pytest.mark.parametrize(
    ("text", "score", "reason"),
    [
        ('{"query_analysis": "a", "document_analysis": " b ", "judgement": "c", "score": 4}', 4, "a\nb\nc"),
        ('```json\n{"reason": "r", "score": "2"}\n```', 2, "r"),
        ('{"reason": "r", "score": 4.0}', 4, "r"),
        ('{"reason": "r", "score": true}', None, ""),
        ('{"reason": "r", "score": 1e999}', None, ""),
        ('{"reason": "r", "score": 9}', None, ""),
        ("[1, 2]", None, ""),
        ("Fine. <score>5</score>", 5, "Fine."),
    ],
)
def test_json(text, score, reason):
    reading = read_judgement(Answer(text), JSON)
    assert (reading and (reading.score, reading.reason)) == (score and (score, reason))


def test_an_answer_cut_at_its_limit_counts_only_where_nothing_but_a_score_was_wanted():
    cut = Answer("<score>4</score> because", finish_reason="length")
    assert read_judgement(cut, TAGS) is None
    assert read_judgement(cut, SCORE).score == 4


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("[1] one <score>4</score>\n[2] two <score>1</score>\n[3] three <score>2</score>", {0: 4, 1: 1, 2: 2}),
        ("The query needs [3].\n\n**[2]** as [1] has it: <score>5</score>\n- [1] no\n<score>1</score>", {1: 5, 0: 1}),
        ("[1] <score>4</score>\n[1] rather <score>3</score>", {0: 3}),
        ("[1]: 4\n[2]: 2", {0: 4, 1: 2}),
        ("Document [1]: fine. <score>2</score>\nDocument [4]: <score>2</score>\n[0] <score>2</score>", {0: 2}),
        ("Document 1: <score>4</score>\n**Document 2** <score>2</score>", {0: 4, 1: 2}),
        ("1. First, <score>4</score>", {}),
        ("[1] <score>7</score>\n[2] <score>2</score>", {1: 2}),
        ("<score>4</score>", {}),
    ],
)
def test_groups_in_tags(text, scores):
    assert {place: reading.score for place, reading in read_judgements(Answer(text), 3, GROUP).items()} == scores


def test_a_group_keeps_the_reason_of_each():
    readings = read_judgements(Answer("Analysis.\n[2] tells why.\n<score>4</score>\n[1] <score>1</score>"), 2, GROUP)
    assert {place: reading.reason for place, reading in readings.items()} == {1: "tells why.", 0: ""}


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ('{"judgements": [{"document": 2, "reason": "r", "score": 4}, {"document": 1, "score": 1}]}', {1: 4, 0: 1}),
        ('[{"document": 1, "score": 3}, {"document": 5, "score": 3}, 7, {"score": 2}]', {0: 3}),
        ('{"judgements": {"1": 3}}', {}),
        ("[1] <score>3</score>", {0: 3}),
    ],
)
def test_groups_in_json(text, scores):
    assert {place: reading.score for place, reading in read_judgements(Answer(text), 3, GROUP_JSON).items()} == scores


@given(st.text(alphabet='[]1234567890 score<>/:{}"\n', max_size=60), st.sampled_from([TAGS, JSON, SCORE]))
def test_any_text_is_read_or_not(text, settings):
    reading = read_judgement(Answer(text), settings)
    assert reading is None or reading.score in {1, 2, 3, 4, 5}
    readings = read_judgements(Answer(text), 4, GROUP_JSON if settings is JSON else GROUP)
    assert all(place in range(4) and reading.score in {1, 2, 3, 4, 5} for place, reading in readings.items())


def test_log_probabilities_count_where_they_are_wanted():
    tokens = (TokenChoice("3", math.log(0.6), (("3", math.log(0.6)), ("5", math.log(0.2)))),)
    answer = Answer("3", tokens=tokens)
    wanted = read_judgement(answer, AnnotateSettings(reasoning="score", logprobs=True))
    assert wanted.score == pytest.approx((3 * 0.6 + 5 * 0.2) / 0.8)
    assert wanted.expected
    assert read_judgement(answer, SCORE).score == 3


@pytest.mark.parametrize("output", ["tags", "json"])
@pytest.mark.parametrize("reasoning", ["full", "brief", "score"])
@pytest.mark.parametrize("mode", ["pointwise", "grouped"])
def test_every_prompt_holds_the_texts_the_scale_and_the_form(mode, reasoning, output):
    settings = AnnotateSettings(mode=mode, reasoning=reasoning, output=output)
    documents = [Document("a", "first {query} text", "Title"), Document("b", "second text")][
        : 2 if mode == "grouped" else 1
    ]
    request = judgement_request("why {x}?", documents, settings=settings, relevance=relevance_for("bright/biology"))
    text = request.messages[-1].content
    for part in (
        "why {x}?",
        "Title first {query} text",
        "5, highly relevant",
        relevance_for("bright/biology").definition,
    ):
        assert part in text
    assert ("second text" in text) == (mode == "grouped")
    assert ("<score>NUMBER" in text) == (output == "tags")
    if output == "json":
        schema = request.sampling.schema
        inner = schema["properties"]["judgements"]["items"] if mode == "grouped" else schema
        assert list(inner["properties"])[-1] == "score"
        assert inner["properties"]["score"]["enum"] == [1, 2, 3, 4, 5]
        assert inner["additionalProperties"] is False
        assert all(f"{name} (" in text for name in inner["properties"])


def test_the_fingerprint_goes_with_the_prompt():
    kinds = itertools.product(("pointwise", "grouped"), ("full", "brief", "score"), ("tags", "json"))
    every = [AnnotateSettings(mode=mode, reasoning=reasoning, output=output) for mode, reasoning, output in kinds]
    assert len({prompts_fingerprint(settings) for settings in every}) == len(every)
    assert prompts_fingerprint(AnnotateSettings(samples=4)) == prompts_fingerprint(TAGS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "listwise"}, "pointwise, grouped"),
        ({"reasoning": "long"}, "full, brief, score"),
        ({"output": "xml"}, "tags, json"),
        ({"samples": 0}, "samples is 0"),
        ({"group": 0}, "group is 0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"text_chars": 0}, "text_chars is 0"),
        ({"mode": "grouped", "logprobs": True}, "logprobs with mode grouped"),
    ],
)
def test_settings_are_checked(values, message):
    with pytest.raises(DataError, match=message):
        AnnotateSettings(**values)
