"""What a model wrote, cleaned, and whether it may stay: language, length, copies of its source, words that point to or name the source.

Gets texts, gives a text or the reason why not. The rules are simple and stated; they know no model.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reasonembed.corpus.duplicates import shingles
from reasonembed.llm.answers import strip_thinking

MIN_LETTERS = 20
"""Texts with fewer letters have no language that could be told."""
SAME_SCRIPT = 0.7
"""Share of a query's letters that must be of the script its source is mostly in: code and formulas may be in another."""
HARD_LIMIT = 10_000
"""Words that a band without an upper end ends at."""

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_COUNTED = re.compile(rf"[{_CJK}]|[^\s{_CJK}]+")
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
_FENCE = re.compile(r"\A```[\w+-]*\n(.*?)\n?```\Z", re.DOTALL)
_LABEL = re.compile(
    r"\A[\s*_#>]*(?:(?:(?:generated|new|final|your|the|my)\s+)?"
    r"(?:query|question|post|problem|task|output|answer|prompt|title|exam question|math problem|coding problem)"
    r"(?:\s+statement)?)[\s*_]*[:：][\s*_]*",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"\A(?:sure|certainly|of course|okay|ok|here(?:'s| is| are))\b[^\n]{0,200}?[:!.]\s*\n+", re.IGNORECASE
)
_ANSWER = re.compile(
    r"\n[\s*_#>]*(?:(?:the|correct|expected|sample|final|your)\s+)*(?:answer|solution|explanation|hint|note)s?[\s*_]*[:：].*\Z",
    re.IGNORECASE | re.DOTALL,
)
_TAIL = re.compile(r"\s*\[?(?:end of (?:content|output|query|question|post|problem))\]?\s*\Z", re.IGNORECASE)
_QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("`", "`"), ("«", "»"), ("**", "**"))
_SOURCE = (
    r"(?:passages?|excerpts?|texts?|content|articles?|paragraphs?|documents?|materials?|sections?|chapters?|theorems?)"
)
_POINTS = re.compile(
    rf"\b(?:the|this|that|these)\s+(?:above|given|provided|following|attached|aforementioned|preceding|source|original)\s+{_SOURCE}\b"
    rf"|\b(?:this|given\s+the)\s+(?:passage|excerpt|paragraph|content|article)\b"
    r"|\bthe\s+(?:passage|excerpt)\b(?!\s+(?:of|through|between|from|to|into|over|across|along|in)\b)"
    rf"|\b(?:according\s+to|based\s+on|described\s+in|mentioned\s+in|stated\s+in|discussed\s+in|explained\s+in|from|in)\s+the\s+"
    rf"(?:passage|excerpt|content|article|paragraph)\b(?!\s+of\b)"
    rf"|\b(?:described|mentioned|discussed|stated|given|provided|explained)\s+(?:above|in\s+the\s+(?:text|passage|content))\b"
    rf"|\bthe\s+(?:content|passage|excerpt|text)\s+(?:above|below|states|says|describes|explains|discusses|mentions)\b",
    re.IGNORECASE,
)


_HEADINGS = re.compile(r"\s[-–—>›/|]\s")
"""Between the headings of a title that is a path."""
NAME_WORDS = (2, 8)
"""Words of a heading that is a name: a single word ("Energy") is too common to be refused, more are a sentence."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a query must keep to.

    Attributes:
        tolerance: How far outside its band a length may be, as a share of the band's ends.
        longest_copy: Most words in a row that may be its source's.
        overlap: Largest share of its runs of five words that may be its source's.
    """

    tolerance: float
    longest_copy: int
    overlap: float


def clean(answer: str) -> str:
    r"""A text without what models put around it: thinking, greetings, fences, labels such as `Question:`, quotes, an answer.

    Example:
        >>> clean('Here is the question:\n\n**Question:** "Why does ice float?"')
        'Why does ice float?'
    """
    text, _ = strip_thinking(answer)
    before = None
    while text != before:
        before = text
        if fenced := _FENCE.match(text):
            text = fenced[1].strip()
        text = _TAIL.sub("", _ANSWER.sub("", _LABEL.sub("", _LEAD.sub("", text)))).strip()
        for opening, closing in _QUOTES:
            inner = text[len(opening) : -len(closing)]
            wrapped = len(text) > len(opening + closing) and text.startswith(opening) and text.endswith(closing)
            if wrapped and opening not in inner and closing not in inner:
                text = inner.strip()
    return text


def count_words(text: str) -> int:
    """Words between blanks; a Chinese, Japanese or Korean character is a word.

    Example:
        >>> count_words("Is x^2 + 1 prime?"), count_words("为什么 ice 浮")
        (5, 5)
    """
    return sum(1 for _ in _COUNTED.finditer(text))


def longest_run(text: str, source: str) -> int:
    """Length in words of the longest stretch of a text that its source has too; case and punctuation do not count.

    A run of n words holds runs of every smaller length, so the length is found by halving: O(n log n).

    Example:
        >>> longest_run("Prove that every bounded sequence has a limit point.", "Every bounded sequence, in R, has one.")
        3
    """
    ours, theirs = _words(text), _words(source)
    low, high = 0, min(len(ours), len(theirs))
    while low < high:
        middle = (low + high + 1) // 2
        if _runs(ours, middle).isdisjoint(_runs(theirs, middle)):
            high = middle - 1
        else:
            low = middle
    return low


def overlap(text: str, source: str) -> float:
    """Share of a text's runs of five words that its source has too, in [0, 1]."""
    ours, theirs = list(shingles(text)), set(shingles(source))
    return sum(run in theirs for run in ours) / len(ours) if ours else 0.0


def names(query: str, title: str) -> bool:
    """Whether a query has a heading of a title in it, word for word: it then names what it should lead to.

    Example:
        >>> names("What is Huffman coding, and how does it work?", "Compression - Huffman coding")
        True
        >>> names("How few bits can these letters take?", "Compression - Huffman coding")
        False
    """
    asked = f" {' '.join(_words(query))} "
    headings = (_words(heading) for heading in _HEADINGS.split(title))
    return any(f" {' '.join(words)} " in asked for words in headings if NAME_WORDS[0] <= len(words) <= NAME_WORDS[1])


def problem(query: str, source: str, length: tuple[int, int], rules: Rules, *, title: str = "") -> str | None:
    """Why a query may not stay.

    Args:
        query: Cleaned.
        source: Text it was written from.
        length: Its band: least and most words.
        rules: See `Rules`.
        title: Of the source; its headings may not stand in the query (`names`).

    Returns:
        `empty`, `language`, `too short`, `too long`, `points to its source`, `names its source`, `copies its source`; None if it
        may stay.
    """
    words = count_words(query)
    if not words:
        return "empty"
    if not same_script(query, source):
        return "language"
    if words < length[0] * (1 - rules.tolerance):
        return "too short"
    if words > length[1] * (1 + rules.tolerance):
        return "too long"
    if _POINTS.search(query):
        return "points to its source"
    if names(query, title):
        return "names its source"
    if longest_run(query, source) > rules.longest_copy or overlap(query, source) > rules.overlap:
        return "copies its source"
    return None


def same_script(text: str, source: str) -> bool:
    """Whether a text is mostly in the script of its source (Latin, Cyrillic, Han with kana, ...); true where either has few letters."""
    ours, theirs = _scripts(text), _scripts(source)
    if min(ours.total(), theirs.total()) < MIN_LETTERS:
        return True
    script, _ = min(theirs.items(), key=lambda item: (-item[1], item[0]))
    return ours[script] >= SAME_SCRIPT * ours.total()


def normalised(text: str) -> str:
    """What makes two texts equal here: compatibility forms, case and blanks do not count."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _scripts(text: str) -> Counter[str]:
    """Letters by script; the first word of a letter's Unicode name says it."""
    found: Counter[str] = Counter()
    for letter, count in Counter(text).items():
        if letter.isalpha():
            script = unicodedata.name(letter, "?").split()[0].split("-")[0]
            found["CJK" if script in ("HIRAGANA", "KATAKANA") else script] += count
    return found


def _words(text: str) -> list[str]:
    return [match.group() for match in _WORD.finditer(text.lower())]


def _runs(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}
