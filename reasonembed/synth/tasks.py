"""What is to be written from a document, and what is relevant to it: by task of a benchmark, by kind, or in the user's words.

The sentences are text files in `prompts/queries`; their meaning is that of paper.md 1.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from reasonembed.errors import DataError
from reasonembed.llm.prompts import load_prompt, render
from reasonembed.protocols import GENERIC_INSTRUCTION, Relevance, canonical, instruction_for, relevance_for

PROMPTS = "reasonembed.synth"
_POST = relevance_for("bright/biology").definition
_KINDS = {
    "post": Relevance("post of a question-and-answer site", "passage", _POST, "stackexchange"),
    "coding": Relevance(
        "coding problem", "passage about programming",
        "the technique, algorithm or syntax it explains helps to solve the problem", "generic",
    ),
    "math": Relevance(
        "math problem", "passage about mathematics",
        "a theorem, formula or method it states helps to solve the problem", "math_theorems",
    ),
    "exam": Relevance(
        "exam question", "passage of a textbook", "it explains the principle with which the question is answered", "generic"
    ),
}  # fmt: skip
_OWN = ("leetcode", "pony", "aops", "theoremqa_questions", "theoremqa_theorems")
KINDS = tuple(_KINDS)
"""Kinds of queries that can be asked for by one word."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What is to be written.

    Attributes:
        sentence: The task, before the document.
        relevance: What makes a document relevant to what is written; its `query_type` is the name of it.
        instruction: Of the queries when they are embedded.
    """

    sentence: str
    relevance: Relevance
    instruction: str


def writing_for(task: str | None, kind: str | None) -> Writing:
    """What is to be written for a task of a benchmark, or for a kind.

    Args:
        task: `benchmark/name`, such as `bright/biology`; None goes by the kind.
        kind: One of `KINDS`, or a sentence that says what is to be written; None is any question.

    Raises:
        DataError: A task of another form, or a single word that is no kind.
    """
    if task is not None:
        relevance = relevance_for(task)
        return Writing(
            _filled(_sentence_of(task, relevance), relevance), relevance, instruction_for(task) or GENERIC_INSTRUCTION
        )
    if kind is None or kind in _KINDS:
        relevance = relevance_for(None) if kind is None else _KINDS[kind]
        return Writing(_filled(kind or "generic", relevance), relevance, GENERIC_INSTRUCTION)
    if len(kind.split()) < 3:
        raise DataError(f"kind {kind!r} is unknown", fix=f"one of {', '.join(KINDS)}, or a sentence of your own")
    return Writing(kind.strip(), relevance_for(None), GENERIC_INSTRUCTION)


def _sentence_of(task: str, relevance: Relevance) -> str:
    """Name of the file that holds the sentence of a task."""
    name = canonical(task.partition("/")[2]).removeprefix("bright_")
    name = "theoremqa_theorems" if name == "theoremqa" else name
    if name in _OWN:
        return name
    return "post" if relevance.kind == "stackexchange" else "generic"


def _filled(sentence: str, relevance: Relevance) -> str:
    return render(load_prompt(PROMPTS, f"prompts/queries/{sentence}.txt"), noun=relevance.query_type)
