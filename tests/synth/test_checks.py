"""Cleaning and checking what a model wrote; copies are measured against loops over all stretches."""

from __future__ import annotations

import random

import pytest

from reasonembed.synth.checks import (
    HARD_LIMIT,
    Rules,
    clean,
    count_words,
    longest_run,
    normalised,
    overlap,
    problem,
    same_script,
)

RULES = Rules(tolerance=0.25, longest_copy=6, overlap=0.25)
SOURCE = (
    "The law of large numbers says that the average of many independent draws comes near the expected value, "
    "whatever the distribution is, as long as that value exists."
)


@pytest.mark.parametrize("answer", [
    "Why does ice float?",
    '"Why does ice float?"',
    "“Why does ice float?”",
    "```\nWhy does ice float?\n```",
    "```text\nQuery: Why does ice float?\n```",
    "<think>They want a question.</think>\nWhy does ice float?",
    "They want a question.</think>\n**Question:** Why does ice float?",
    "Sure! Here is the post:\n\n### Post: Why does ice float?",
    "Here's a new math problem that fits:\n\n**Problem Statement:**\n\nWhy does ice float?",
    "**The Problem:**\n\nWhy does ice float?",
    "**Why does ice float?**\n\n**Answer:** Since water is\n\ndense.",
    "Why does ice float?\n\n### Solution:\nWater is dense.",
    "**Generated query:** \"Why does ice float?\" [End of Content]",
])  # fmt: skip
def test_wrappings_are_removed(answer):
    assert clean(answer) == "Why does ice float?"


@pytest.mark.parametrize("answer", [
    'She said "no". Why did he say "yes"?',
    "A problem: water freezes at 0 degrees. Why?",
    "Sure of the result, Ann asks why.",
    "The answer: is it 3 or 4?\nExplain.",
])  # fmt: skip
def test_what_belongs_to_the_text_stays(answer):
    assert clean(answer).endswith(answer[-20:])
    assert '"no"' in clean(answer) or '"no"' not in answer


def test_words():
    assert count_words("Is $x^2 + 1$ prime?") == 5
    assert count_words("三角形の面積") == 6
    assert count_words("") == 0


def longest_by_loops(text, source):
    ours, theirs = text.split(), source.split()
    return max(
        (n for n in range(1, len(ours) + 1) for i in range(len(ours) - n + 1) for j in range(len(theirs) - n + 1)
         if ours[i : i + n] == theirs[j : j + n]),
        default=0,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(30))
def test_longest_run_against_all_stretches(seed):
    drawn = random.Random(seed)
    text, source = (" ".join(drawn.choices("abcd", k=drawn.randint(0, 25))) for _ in range(2))
    assert longest_run(text, source) == longest_by_loops(text, source)


def test_longest_run_ignores_case_and_punctuation():
    assert longest_run("The LAW, of large numbers!", SOURCE) == 5


def test_overlap_counts_runs_of_five_words():
    text = "the law of large numbers says nothing here at all today"  # 7 runs, 2 of them in the source
    assert overlap(text, SOURCE) == pytest.approx(2 / 7)
    assert overlap(SOURCE, SOURCE) == 1
    assert overlap("", SOURCE) == 0


@pytest.mark.parametrize(("text", "source", "same"), [
    ("Почему лед плавает в холодной воде?", "Почему лёд не тонет в воде озера зимой?", True),
    ("为什么冰会浮在水面上而不沉下去呢这是一个很好的问题啊", SOURCE, False),
    ("Warum schwimmt Eis auf kaltem Wasser?", SOURCE, True),
    ("氷はなぜ水に浮くのですか教えてくださいお願いします", "冰浮在水上是因为它的密度比水小这是一个物理现象对吗", True),
    ("Solve α + β = γ with the given integers alpha and beta", SOURCE, True),
    ("x = 3?", "为什么冰会浮在水面上而不沉下去呢这是一个很好的问题啊", True),
])  # fmt: skip
def test_script(text, source, same):
    assert same_script(text, source) is same


BAND = (8, 12)


@pytest.mark.parametrize(("query", "reason"), [
    ("A casino earns nearly the same each month. Which principle explains it?", None),
    ("", "empty"),
    ("Why?", "too short"),
    ("why " * 16, "too long"),
    ("赌场每个月的收入几乎相同请问这可以用什么样的原理来解释", "language"),
    ("Given the passage, why does a casino earn the same?", "points to its source"),
    ("Why, in the context of the passage, does a casino earn the same?", "points to its source"),
    ("What evidence does the passage provide that a casino earns the same?", "points to its source"),
    ("Based on the passage, why does a casino earn the same?", "points to its source"),
    ("Why does the given theorem explain what a casino earns here?", "points to its source"),
    ("As described above, why would a casino earn the same sum?", "points to its source"),
    ("Does the average of many independent draws come near something?", "copies its source"),
])  # fmt: skip
def test_problems(query, reason):
    assert problem(query, SOURCE, BAND, RULES) == reason


def test_the_tolerance_is_a_share_of_the_ends_of_the_band():
    text = "A b c d e f g h i j k l m n o p q r s t".lower().split()
    fits = [n for n in range(1, 21) if problem(" ".join(text[:n]), SOURCE, BAND, RULES) is None]
    assert fits == list(range(6, 16))  # 8 * 0.75 to 12 * 1.25
    assert problem("word other " * 700, SOURCE, (500, HARD_LIMIT), RULES) is None


@pytest.mark.parametrize("query", [
    "The passage of a bill through parliament takes time. Why do they vote twice?",
    "Consider the following function. Is it continuous at the origin?",
    "In the given triangle the angles are known. What is missing?",
    "My code prints the text twice. What is wrong with the loop?",
    "Why is the passage through the strait safer at slack water than when the tide runs?",
    "How does the passage of a current through a coil turn a needle beside it?",
])  # fmt: skip
def test_innocent_words_do_not_point_to_the_source(query):
    assert problem(query, SOURCE, (5, 30), RULES) is None


def test_normalised():
    assert normalised("  Ｉce\n FLOATS ") == "ice floats"
