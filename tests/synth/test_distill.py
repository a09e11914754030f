"""The fine-tuning export: which pairs, in which words."""

from __future__ import annotations

from collections import Counter

import pytest

from reasonembed.errors import DataError
from reasonembed.llm.types import Answer
from reasonembed.protocols import relevance_for
from reasonembed.synth.distill import distillation_rows
from reasonembed.synth.judgement import AnnotateSettings, judgement_request, read_judgement
from reasonembed.types import Annotation, Document

MEANING = relevance_for("bright/biology")


def annotation(query, document, *samples, reason="because"):
    mean = sum(samples) / len(samples)
    return Annotation(query, document, mean, tuple(map(float, samples)), reason, 1)


def rows(annotations, counts=None, **options):
    settings = AnnotateSettings(**options.pop("settings", {}))
    return list(distillation_rows(
        annotations, query_text=lambda key: f"text of {key}", document=lambda key: Document(key, f"text of {key}", "T"),
        settings=settings, relevance=MEANING, counts=counts, **options,
    ))  # fmt: skip


def many(n=40):
    return [annotation(f"q{q}", f"d{d}", score) for q in range(n) for d, score in enumerate([5, 4, 3, 2.5, 2, 1, 1])]


def test_a_row_is_the_students_prompt_and_the_teachers_answer():
    first, second = rows([annotation("q", "a", 4, reason="Three steps."), annotation("q", "b", 1)])
    settings = AnnotateSettings()
    request = judgement_request("text of q", [Document("a", "text of a", "T")], settings=settings, relevance=MEANING)
    assert first == {
        "messages": [
            {"role": "user", "content": request.messages[0].content},
            {"role": "assistant", "content": "Three steps.\n<score>4</score>"},
        ],
        "query": "q", "document": "a", "score": 4,
    }  # fmt: skip
    reading = read_judgement(Answer(second["messages"][1]["content"]), settings)
    assert (reading.score, reading.reason) == (1, "because")


def test_a_positive_and_a_negative_of_each_query():
    counts = Counter()
    got = rows([*many(), annotation("only", "d", 5), annotation("only", "e", 4)], counts)
    assert [row["query"] for row in got] == [f"q{q}" for q in range(40) for _ in range(2)]
    assert {row["document"] for row in got[::2]} == {"d0", "d1", "d2"}  # 3 and more
    assert {row["document"] for row in got[1::2]} == {"d4", "d5", "d6"}  # 2 and less; 2.5 is neither
    assert counts == {"queries_with_both": 40, "queries_without_both": 1, "pairs_without_reasoning": 0}


def test_the_draw_goes_by_the_seed_and_not_by_the_order():
    def drawn(annotations, **options):
        return {(row["query"], row["document"]) for row in rows(annotations, **options)}

    some = drawn(many(), queries=10)
    assert len(some) == 20
    assert drawn(many()[::-1][::-1], queries=10) == some
    assert drawn(sorted(many(), key=lambda one: one.query[::-1]), queries=10) == some
    assert drawn(many(), queries=10, seed=1) != some
    assert some <= drawn(many(), queries=None)


def test_of_several_samples_the_score_is_that_of_the_reasoning_kept():
    got = rows([annotation("q", "a", 5, 4, 2), annotation("q", "b", 1, 2, 2, 3)])
    assert [row["score"] for row in got] == [4, 2]  # means 3.67 and 2
    assert [row["score"] for row in rows([annotation("q", "a", 3.6), annotation("q", "b", 1.2)])] == [4, 1]


def test_what_has_no_reasoning_teaches_nothing():
    counts = Counter()
    assert rows([annotation("q", "a", 5, reason=" "), annotation("q", "b", 1)], counts) == []
    assert counts["pairs_without_reasoning"] == 1
    with pytest.raises(DataError, match="hold no reasoning"):
        rows(many(1), settings={"reasoning": "score"})
    with pytest.raises(DataError, match="at least 1"):
        rows(many(1), queries=0)


def test_the_student_of_a_teacher_of_groups_judges_one_by_one():
    got = rows(many(1), settings={"mode": "grouped", "output": "json", "samples": 3})
    brief = AnnotateSettings(reasoning="brief")
    document = Document(got[0]["document"], f"text of {got[0]['document']}", "T")
    wanted = judgement_request("text of q0", [document], settings=brief, relevance=MEANING)
    assert got[0]["messages"][0]["content"] == wanted.messages[0].content
