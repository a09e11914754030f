"""What answers say, also hostile ones; a mean score against an independent sum."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonembed.llm.answers import expected_score, json_in, score_in, strip_thinking, tagged
from reasonembed.llm.types import TokenChoice

PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<>")).map(str.strip)
PIECES = (
    "<think>", "</think>", "<thinking>", "<score>", "</score>", "8", "85", "/", "100", ".", "-", "{", "}", "[", "]", '"',
    "```", "json\n", "score", ":", "**", " ", "a", "\n", "\\boxed{", "\ud800", "NaN", "１２",
)  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", ("plain", "")),
        ("<think>why</think>because", ("because", "why")),
        ("<THINKING>\nwhy\n</THINKING>\n\nbecause\n", ("because", "why")),
        ("why</think>because", ("because", "why")),  # the template wrote the opening tag
        ("<think>never closed, 5 < 6", ("", "never closed, 5 < 6")),
        ("<think>a<think>b</think>c</think>d", ("d", "abc")),
        ("<think>a <think> is a tag</think>d", ("d", "a  is a tag")),
        ("<think>a</think>b<think>c", ("b", "a\nc")),
        ("<think>a</think>b<think>c</think>d", ("bd", "ac")),
        ("<think></think>", ("", "")),
        ("", ("", "")),
    ],
)
def test_thinking(text, expected):
    assert strip_thinking(text) == expected


@settings(deadline=None)
@given(PLAIN, PLAIN)
def test_thinking_and_answer_come_apart_unchanged(thought, said):
    assert strip_thinking(f"<think>{thought}</think>{said}") == (said, thought)
    assert strip_thinking(f"{thought}</think>{said}") == (said, thought)
    assert strip_thinking(f"<think>{thought}") == ("", thought)


@settings(deadline=None)
@given(HOSTILE)
def test_no_answer_breaks_the_readers(text):
    said, thought = strip_thinking(text)
    assert "think>" not in said
    assert len(said) + len(thought) <= len(text)
    value = score_in(text, 0, 100)
    assert value is None or 0 <= value <= 100
    tagged(text, "score")
    json.dumps(json_in(text), allow_nan=False)


@pytest.mark.parametrize(
    "piece", ["score", "score ", " ", "1", "1.", "<score>", "<think>", "</think>", "```\n", "{", "[1,", '"']
)
def test_long_answers_are_read_in_one_go(piece):
    """Patterns that try every split of a long text would take hours here."""
    for text in (piece * 30_000, f"score {piece * 30_000}", f"<score>{piece * 30_000}", f"{piece * 30_000}</score>"):
        strip_thinking(text)
        assert score_in(text, 0, 0) is None
        tagged(text, "score")
        json_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "<score>85</score>", "<score> 85.0 </score>", "<Score>**85**</Score>", "<score>85/100</score>", "<score>85%</score>",
        "<score>85 points</score>", "so <score>85", "**Score:** 85", "Score: 85/100", "**Score: 85**", "Final score = 85.",
        "The relevance score is 85 out of 100", '{"reason": "x", "score": 85}', "Rating: 85", "\\boxed{85}", "85", " **85** ",
        "85/100", "Score: 10\nOn second thoughts.\nScore: 85", "<score>10</score> no, <score>85</score>",
        "Score: 10 <score>85</score> Score: 20", "<score>85</score> in the form <score>N</score>", "Score: `85`",
        "Relevance score: [85]",
    ],
)  # fmt: skip
def test_score_in_common_forms(text):
    assert score_in(text, 0, 100) == 85


@pytest.mark.parametrize(
    "text",
    [
        "", "no number", "It has 85 parts", "<score></score>", "<score>high</score>", "<score>101</score>", "<score>-3</score>",
        "85 of them", "Score: 80-90", "<score>80-90</score>", "<score>8/10</score>", "<score>50</score><score>500</score>",
        "scored 85", "1e5", "<score>NaN</score>", "<score>1.2.3</score>", "８５",
    ],
)  # fmt: skip
def test_score_in_refuses(text):
    assert score_in(text, 0, 100) is None


@settings(deadline=None)
@given(st.integers(0, 100), HOSTILE.filter(lambda text: "<" not in text and ">" not in text))
def test_the_last_tagged_score_counts_whatever_is_before(value, before):
    assert score_in(f"{before}<score>7</score>{before}<score>{value}</score>", 0, 100) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<q>one</q>", "one"),
        ("<q>one</q> and <Q> two </Q>", "two"),
        ("<q>a<q>b</q></q>", "b"),
        ("<q>cut", None),
        ("</q>x<q>", None),
        ("<q></q>", ""),
        ("<query>x</query>", None),
    ],
)
def test_tagged(text, expected):
    assert tagged(text, "q") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1, 2]", [1, 2]),
        ('Here:\n```json\n{"a": [1]}\n```\nas asked [1].', {"a": [1]}),
        ('```\n{"a": 1}\n```\nbetter:\n```json\n{"a": 2}\n```', {"a": 2}),
        ('I think {braces} of {"a": {"b": "}"}} and [1].', {"a": {"b": "}"}}),
        ('{"a": NaN}', None),
        ('{"a": ', None),
        ("none", None),
        ("[" * 100_000, None),
        ('{"a":' * 50_000, None),
    ],
)
def test_json_in(text, expected):
    assert json_in(text) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=3), st.booleans())
def test_json_survives_talk_around_it(value, fenced):
    written = json.dumps(value)
    shown = f"```json\n{written}\n```" if fenced and "```" not in written else written
    assert json_in(f"Sure. {shown}\nDone.") == value


def choices(*tokens, top=()):
    return [TokenChoice(token, -0.1, top) for token in tokens]


def test_expected_score_is_the_weighted_mean():
    top = tuple((str(value), math.log(p)) for value, p in ((85, 0.5), (80, 0.3), (95, 0.1), (300, 0.05)))
    scored = TokenChoice("85", math.log(0.5), (*top, ("high", math.log(0.05))))
    tokens = [*choices("<think>", "7", "0", "</think>", "<score>"), scored, *choices("</score>")]
    expected = (85 * 0.5 + 80 * 0.3 + 95 * 0.1) / 0.9
    assert expected_score(tokens, 0, 100) == pytest.approx(expected, rel=1e-12)


def test_expected_score_knows_its_limits():
    assert expected_score([], 0, 100) is None
    assert expected_score(choices("no ", "score"), 0, 100) is None
    assert expected_score(choices("<score>", "8", "5", "</score>"), 0, 100) is None  # two tokens
    assert expected_score(choices("<score>", "5", "</score>"), 0, 3) is None
    assert expected_score(choices("<score>", "5", "</score>"), 0, 5) == 5.0  # no alternatives known
