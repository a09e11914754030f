"""What an answer says: its text without the thinking, a score, a tagged part, a JSON value.

Gets what a model wrote, which may be anything; gives the value or None, and never raises. Where a form occurs several
times the last counts: models think aloud, quote the format, correct themselves.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from reasonembed.llm.types import TokenChoice

_THINK = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
_NUMBER = r"[-+]?(?:[0-9]{1,12}(?:\.[0-9]{1,12})?|\.[0-9]{1,12})"  # every repetition is bounded: no text takes long
_MARKS = r"[\s*_`\"']{0,12}"
_VALUE = rf"[\s*_`\"'\[({{]{{0,12}}(?P<value>{_NUMBER})(?!\.?[0-9])(?:\s{{0,4}}(?:/|out\s{{1,4}}of|of)\s{{0,4}}(?P<of>{_NUMBER}))?"
_TAGGED_SCORE = re.compile(rf"<score>{_VALUE}[^<0-9]{{0,20}}(?:</score>|\Z)", re.IGNORECASE)
_NAMED_SCORE = re.compile(
    rf"\b(?:score|rating)\b{_MARKS}(?:is|of)?{_MARKS}[:=]?{_VALUE}(?!\s{{0,4}}[-–]\s{{0,4}}[0-9])", re.IGNORECASE
)
_BOXED = re.compile(rf"\\boxed\{{{_VALUE}\s{{0,4}}\}}")
_ALONE = re.compile(rf"\A{_VALUE}[\s*_`\"'\])}}%.]{{0,12}}\Z")
_FENCE = re.compile(r"```[a-zA-Z0-9]*\s*\n(.*?)```", re.DOTALL)
_JSON_STARTS = 256


def strip_thinking(text: str) -> tuple[str, str]:
    """Part an answer from the thinking before it.

    Blocks `<think>…</think>` (`<thinking>` too) may nest. A closing tag whose opening one is missing (some chat templates
    put it into the prompt) makes everything before it thinking; a block that is never closed goes to the end.

    Returns:
        (text, thinking), each without surrounding blanks.
    """
    tags = list(_THINK.finditer(text))
    if not tags:
        return text.strip(), ""
    depths = _depths(tags)
    if min(depths) >= 0 and depths[-1] == 0:
        said, thought = _split_by_depth(text, tags, depths)
        return said.strip(), thought.strip()
    last_close = max((i for i, tag in enumerate(tags) if tag.group(1)), default=-1)
    begin = 0 if tags[0].group(1) else tags[0].start()
    if last_close < 0:
        return text[:begin].strip(), _untagged(text[begin:])
    end = tags[last_close].end()
    reopened = tags[last_close + 1].start() if last_close + 1 < len(tags) else len(text)
    said = f"{text[:begin]}{text[end:reopened]}"
    return said.strip(), _untagged(f"{text[begin:end]}\n{text[reopened:]}")


def _depths(tags: Sequence[re.Match[str]]) -> list[int]:
    """How deep in blocks one is behind each tag."""
    depths, depth = [], 0
    for tag in tags:
        depth += -1 if tag.group(1) else 1
        depths.append(depth)
    return depths


def _split_by_depth(text: str, tags: Sequence[re.Match[str]], depths: Sequence[int]) -> tuple[str, str]:
    said, thought = [text[: tags[0].start()]], list[str]()
    for tag, following, depth in zip(tags, [*(tag.start() for tag in tags[1:]), len(text)], depths, strict=True):
        (thought if depth else said).append(text[tag.end() : following])
    return "".join(said), "".join(thought)


def _untagged(text: str) -> str:
    return _THINK.sub("", text).strip()


def score_in(text: str, low: float, high: float) -> float | None:
    r"""The score an answer gives.

    `<score>85</score>` counts before `Score: 85`, `"score": 85`, `**Score:** 85/100`, `\boxed{85}`, and a text that is
    nothing but a number; of several the last. `85/100` counts only where 100 is `high`.

    Args:
        text: The answer without its thinking.
        low: Lowest score allowed.
        high: Highest score allowed.

    Returns:
        The score; None where there is none, or the last one is out of range.
    """
    found = _score_match(text)
    if found is None:
        return None
    value, of = float(found["value"]), found["of"]
    if not low <= value <= high or (of is not None and float(of) != high):
        return None
    return value


def _score_match(text: str) -> re.Match[str] | None:
    for form in (_TAGGED_SCORE, _NAMED_SCORE, _BOXED):
        if found := list(form.finditer(text)):
            return found[-1]
    return _ALONE.match(text)


def expected_score(tokens: Iterable[TokenChoice], low: float, high: float) -> float | None:
    """The mean of the scores a model considered, weighted by their probabilities.

    At the token that is the score: sum of p(v)·v over sum of p(v), over its alternatives that are whole numbers in range
    (G-Eval, Liu et al. 2023, section 2). An answer of one token is the score's place, whatever was written there.

    Returns:
        The mean; None without a score, or where the score is not one token (a number of several digits in some
        tokenizers): the alternatives of its first digit say nothing about the number.
    """
    tokens = list(tokens)
    if len(tokens) == 1:
        return _mean_score(tokens[0], low, high)
    text = "".join(choice.token for choice in tokens)
    thinking = max((tag.end() for tag in _THINK.finditer(text) if tag.group(1)), default=0)
    found = _score_match(text[thinking:])
    if found is None or score_in(text[thinking:], low, high) is None:
        return None
    place, begin = thinking + found.start("value"), 0
    for choice in tokens:
        if begin + len(choice.token) > place:
            return _mean_score(choice, low, high) if choice.token.strip() == found["value"] else None
        begin += len(choice.token)
    return None


def _mean_score(choice: TokenChoice, low: float, high: float) -> float | None:
    weights: dict[int, float] = {}
    for token, logprob in {choice.token: choice.logprob, **dict(choice.top)}.items():
        digits = token.strip()
        if re.fullmatch(r"[0-9]{1,9}", digits) and low <= int(digits) <= high:
            weights[int(digits)] = weights.get(int(digits), 0.0) + math.exp(min(logprob, 0.0))
    total = sum(weights.values())
    return sum(value * weight for value, weight in weights.items()) / total if total > 0 else None


def tagged(text: str, tag: str) -> str | None:
    """What stands in the last complete `<tag>…</tag>`, without surrounding blanks; None without one."""
    name = re.escape(tag)
    ends = [
        (match.start(), match.end(), bool(match[1])) for match in re.finditer(rf"<(/?){name}>", text, re.IGNORECASE)
    ]
    for (_, begin, closes), (end, _, closed) in reversed(list(itertools.pairwise(ends))):
        if not closes and closed:
            return text[begin:end].strip()
    return None


def json_in(text: str) -> Any | None:
    """The JSON value in an answer: the whole text, a fenced block, or the longest object or list within the text.

    Returns:
        The value; None where there is none (and for a bare `null`). `NaN` and `Infinity` are no JSON.
    """
    for part in (text, *(block.group(1) for block in reversed(list(_FENCE.finditer(text))))):
        try:
            return _DECODER.decode(part.strip())
        except (ValueError, RecursionError):
            continue
    longest, value, place = 0, None, 0
    for _ in range(_JSON_STARTS):
        start = min((at for at in (text.find("{", place), text.find("[", place)) if at >= 0), default=-1)
        if start < 0:
            break
        try:
            read, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            place = start + 1
            continue
        if end - start > longest:
            longest, value = end - start, read
        place = end
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
