"""What a judge of relevance is asked, and what its answer says: prompts, JSON schema, and reading a score from 1 to 5.

Gets a query with one document, or with several at once; gives a request, and from an answer the readings. The prompts are text files
in `prompts/annotate`, written from the meaning of ReMixer's annotation (paper.md 1.4).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from reasonembed.errors import DataError
from reasonembed.io.manifest import fingerprint
from reasonembed.llm.answers import expected_score, json_in, score_in
from reasonembed.llm.prompts import load_prompt, render
from reasonembed.llm.types import Answer, Message, Request, Sampling, user
from reasonembed.protocols import Relevance
from reasonembed.types import Document

LOW, HIGH = 1, 5
"""The scale of paper.md 1.4; 3 and more is relevant."""
ANSWER_TOKENS: Mapping[str, int] = {"full": 2048, "brief": 192, "score": 32}
"""Longest answer by how much the judge writes. 2,048 is the paper's (1.4); the others hold two sentences and the score."""
TEXT_CHARS = 49_152
"""0.3 * 4 * 40,960: the paper's limit for a query or document in characters (1.4, context of 40,960 tokens). It drops what is
longer; here it is cut and counted."""
OPENING = "<score>"
"""What an answer begins with that is nothing but a score (the form of prompts/annotate/form-pointwise-score.txt)."""
TOP_LOGPROBS = 20
"""Alternatives asked for at each token: the most that the OpenAI interface gives."""

Reasoning = Literal["full", "brief", "score"]
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "full": ("query_analysis", "document_analysis", "judgement"),
    "brief": ("reason",),
    "score": (),
}
_MODES, _OUTPUTS = ("pointwise", "grouped"), ("tags", "json")
_SCORE_TAG = re.compile(r"[\s*_`]*<score>[^<]{0,40}(?:</score>)?[\s*_`]*", re.IGNORECASE)
_REASON_LABEL = re.compile(r"\A[\s*_`]*reason[\s*_`]*:[\s*_`]*", re.IGNORECASE)
_NUMBER_OF_DOCUMENT = re.compile(
    r"^[\s*_#>-]*(?:document\s*\[?|\[)\s*(?P<number>[0-9]{1,4})\b\s*\]?", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class AnnotateSettings:
    """How pairs are judged. Sampling and the long answer are the paper's (1.4); it judges pointwise, once, in full.

    Attributes:
        mode: `pointwise`: a request a pair; `grouped`: several candidates of a query in one request.
        reasoning: What is written before the score: `full` (three steps), `brief` (a sentence or two), `score` (nothing).
        output: `tags`, or `json` (structured output by a JSON schema, for models that have it).
        samples: Judgements of each pair; its score is their mean.
        logprobs: Take the expected score over the probabilities of the numbers instead of the number written, where the
            model gives log-probabilities; pointwise only.
        group: Most candidates in one request of `grouped`.
        temperature: Of the sampling.
        top_p: Of the sampling.
        top_k: Of the sampling; None for servers that refuse it.
        max_tokens: Longest answer; None is `ANSWER_TOKENS`, for `grouped` once for each candidate.
        text_chars: A longer query or document is cut to it; the candidates of a group share it.
        seed: Of who is in a group, and in which order.

    Raises:
        DataError: A value out of its range, or log-probabilities for groups.
    """

    mode: Literal["pointwise", "grouped"] = "pointwise"
    reasoning: Reasoning = "full"
    output: Literal["tags", "json"] = "tags"
    samples: int = 1
    logprobs: bool = False
    group: int = 5
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int | None = 40
    max_tokens: int | None = None
    text_chars: int = TEXT_CHARS
    seed: int = 42

    def __post_init__(self) -> None:
        for name, known in (("mode", _MODES), ("reasoning", tuple(_TEXTS)), ("output", _OUTPUTS)):
            if getattr(self, name) not in known:
                raise DataError(f"annotate: {name} is {getattr(self, name)!r}", fix=f"one of {', '.join(known)}")
        for name in ("samples", "group", "max_tokens", "text_chars"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise DataError(f"annotate: {name} is {value}", fix="at least 1")
        if self.logprobs and self.mode == "grouped":
            raise DataError("annotate: logprobs with mode grouped", fix="logprobs: false, or mode: pointwise")


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says of a pair.

    Attributes:
        score: In [1, 5]; a whole number unless it is an expected score.
        reason: What was written beside the score.
        expected: The score was taken from log-probabilities.
    """

    score: float
    reason: str
    expected: bool


def judgement_request(
    query: str,
    documents: Sequence[Document],
    *,
    settings: AnnotateSettings,
    relevance: Relevance,
    sample: int = 0,
    opened: bool = False,
) -> Request:
    """What the judge is asked.

    Args:
        query: Text of the query.
        documents: One for `pointwise`, several for `grouped`, in the order in which they are shown.
        settings: How pairs are judged.
        relevance: What makes a document relevant.
        sample: Number of the sample.
        opened: Begin the answer with the tag, so that the score is its first token and its alternatives are the scores: for a
            model that gives log-probabilities of one token.
    """
    grouped = settings.mode == "grouped"
    limit = settings.text_chars // (len(documents) if grouped else 1)
    shown = [document.content[:limit] for document in documents]
    words = {
        **relevance.words(),
        "query": query[: settings.text_chars],
        "scale": _prompt("scale"),
        "form": _form(settings),
    }
    if grouped:
        words["count"] = str(len(documents))
        words["documents"] = "\n\n".join(f"[{number}]\n{text}" for number, text in enumerate(shown, start=1))
    else:
        words["document"] = shown[0]
    text = render(_prompt(f"{settings.mode}-{settings.reasoning}"), **words)
    request = user(text, sampling=_sampling(settings, len(documents)), sample=sample)
    if not opened:
        return request
    begun = (*request.messages, Message("assistant", OPENING))
    return replace(request, messages=begun, sampling=replace(request.sampling, max_tokens=1))


def prompts_fingerprint(settings: AnnotateSettings) -> str:
    """SHA-256 (32 hex digits) over the prompt files that these settings use: part of what invalidates a stage."""
    return fingerprint([_prompt(f"{settings.mode}-{settings.reasoning}"), _prompt("scale"), _form(settings)])


def read_judgement(answer: Answer, settings: AnnotateSettings) -> Reading | None:
    """The score and the reasoning in a pointwise answer.

    Returns:
        None where no whole number from 1 to 5 is given, or where the answer broke off before its end. With `logprobs` the
        score is the expected one, if the answer has log-probabilities at the number.
    """
    if answer.finish_reason == "length" and settings.reasoning != "score":
        return None
    value = json_in(answer.text) if settings.output == "json" else None
    if isinstance(value, dict) and "score" in value:
        score, reason = _whole(value["score"]), _reason_of(value)
    else:
        score, reason = _whole(score_in(answer.text, LOW, HIGH)), _told(answer.text)
        reason = "" if reason.isdecimal() else reason  # nothing but the score
    expected = expected_score(answer.tokens, LOW, HIGH) if settings.logprobs else None
    if expected is not None:
        return Reading(expected, "" if settings.reasoning == "score" else reason, True)
    return None if score is None else Reading(score, reason, False)


def read_judgements(answer: Answer, count: int, settings: AnnotateSettings) -> dict[int, Reading]:
    """The scores and reasonings in the answer to a group.

    Args:
        answer: What the judge wrote; one that broke off gives what it holds up to there.
        count: Candidates in the group.
        settings: How pairs are judged.

    Returns:
        place shown, from 0 -> reading; candidates without a readable score are missing.
    """
    value = json_in(answer.text) if settings.output == "json" else None
    rows = value.get("judgements") if isinstance(value, dict) else value
    found: dict[int, Reading] = {}
    if isinstance(rows, list) and any(isinstance(row, dict) for row in rows):
        for row in rows:
            number = row.get("document") if isinstance(row, dict) else None
            if isinstance(number, int) and (score := _whole(row.get("score"))) is not None:
                found[number - 1] = Reading(score, _reason_of(row), False)
    else:
        marks = list(_NUMBER_OF_DOCUMENT.finditer(answer.text))
        for mark, following in itertools.zip_longest(marks, marks[1:]):
            part = answer.text[mark.end() : following.start() if following else None]
            if (score := _whole(score_in(part.strip(" \n:.-*"), LOW, HIGH))) is not None:
                found[int(mark["number"]) - 1] = Reading(score, _told(part), False)
    return {place: reading for place, reading in found.items() if 0 <= place < count}


def _sampling(settings: AnnotateSettings, count: int) -> Sampling:
    longest = settings.max_tokens or ANSWER_TOKENS[settings.reasoning] * (
        count if settings.mode == "grouped" and settings.reasoning != "full" else 1
    )
    return Sampling(
        settings.temperature,
        settings.top_p,
        settings.top_k,
        max_tokens=longest,
        top_logprobs=TOP_LOGPROBS if settings.logprobs else 0,
        schema=_schema(settings) if settings.output == "json" else None,
    )


def _schema(settings: AnnotateSettings) -> dict[str, Any]:
    """JSON schema of an answer: the reasoning first, for the score is to follow from it."""
    texts: dict[str, Any] = {name: {"type": "string"} for name in _TEXTS[settings.reasoning]}
    score = {"type": "integer", "enum": list(range(LOW, HIGH + 1))}
    if settings.mode == "pointwise":
        return _object({**texts, "score": score})
    texts = {} if settings.reasoning == "score" else {"reason": {"type": "string"}}
    rows = {"type": "array", "items": _object({"document": {"type": "integer"}, **texts, "score": score})}
    before = {"query_analysis": {"type": "string"}} if settings.reasoning == "full" else {}
    return _object({**before, "judgements": rows})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _form(settings: AnnotateSettings) -> str:
    """The sentence that says how the answer is to be written down."""
    if settings.output == "tags":
        return _prompt(f"form-{settings.mode}-{settings.reasoning}")
    return render(_prompt("form-json"), fields=_named_fields(_schema(settings)))


def _named_fields(schema: Mapping[str, Any]) -> str:
    names = []
    for name, value in schema["properties"].items():
        if value["type"] == "array":
            names.append(f"{name} (a list with an object for each document, of {_named_fields(value['items'])})")
        else:
            kind = {"string": "text", "integer": "whole number"}[value["type"]]
            names.append(f"{name} ({kind})")
    return ", ".join(names)


def _told(text: str) -> str:
    """What was written beside the score."""
    return _REASON_LABEL.sub("", _SCORE_TAG.sub(" ", text).strip(" \n:-")).strip()


def _reason_of(fields: Mapping[str, Any]) -> str:
    texts = (value for name, value in fields.items() if name != "score" and isinstance(value, str))
    return "\n".join(text.strip() for text in texts if text.strip())


def _whole(value: object) -> float | None:
    """A score as the scale has it: a whole number from 1 to 5."""
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]\s*", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if value in range(LOW, HIGH + 1) else None


@cache
def _prompt(name: str) -> str:
    return load_prompt("reasonembed.synth", f"prompts/annotate/{name}.txt")
