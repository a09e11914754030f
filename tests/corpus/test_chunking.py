"""Chunks: nothing lost or doubled, never over the limit, cut no finer than needed, counted in few calls."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonembed.corpus.chunking import MIN_LIMIT, Paragraph, Section, chunk
from reasonembed.errors import DataError

MINI = Path(__file__).parents[2] / "reasonembed" / "model" / "mini" / "reasonembed-mini" / "tokenizer.json"
TINY_QWEN = Path(__file__).parents[1] / "data" / "tiny-qwen3" / "tokenizer.json"


def words(texts):
    return [len(text.split()) for text in texts]


def of_file(path):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(item.ids) for item in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


COUNTERS = {
    "words": words,
    "bytes": lambda texts: [len(text.encode()) for text in texts],
    "wordpiece": of_file(MINI),
    "byte-level BPE": of_file(TINY_QWEN),
}


def section(*paragraphs, headings=()):
    return Section(headings, tuple(Paragraph(text, f"L{n}") for n, text in enumerate(paragraphs)))


def chunks(*sections, limit=MIN_LIMIT, count=words):
    return list(chunk(sections, limit=limit, count_tokens=count))


def content(piece):
    return f"{piece.title} {piece.text}".strip()


texts = st.text(st.sampled_from("abcdé漢😀.!? \n\t。-'"), min_size=1, max_size=200).map(str.strip).filter(bool)
sections = st.lists(
    st.builds(
        lambda headings, paragraphs: section(*paragraphs, headings=tuple(headings)),
        st.lists(texts, max_size=3),
        st.lists(texts, min_size=1, max_size=6),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@pytest.mark.parametrize("counter", COUNTERS)
@settings(max_examples=60, deadline=None)
@given(sections=sections, limit=st.integers(MIN_LIMIT, 80))
def test_every_character_once_in_order_and_within_the_limit(counter, sections, limit):
    count = COUNTERS[counter]
    found = chunks(*sections, limit=limit, count=count)
    written = "".join(paragraph.text for part in sections for paragraph in part.paragraphs)
    assert re.sub(r"\s", "", "".join(piece.text for piece in found)) == re.sub(r"\s", "", written)
    assert max(count([content(piece) for piece in found])) <= limit
    assert found == chunks(*sections, limit=limit, count=count)


@settings(max_examples=60, deadline=None)
@given(sections=sections, limit=st.integers(MIN_LIMIT, 40))
def test_words_stay_whole_where_a_word_has_room(sections, limit):
    found = chunks(*sections, limit=limit)
    written = [word for part in sections for paragraph in part.paragraphs for word in paragraph.text.split()]
    assert [word for piece in found for word in piece.text.split()] == written


def test_paragraphs_are_packed_and_stay_whole():
    found = chunks(section("a b c d e", "f g h i j", "k l m n o"))
    assert [piece.text for piece in found] == ["a b c d e\n\nf g h i j", "k l m n o"]
    assert [piece.place for piece in found] == ["L0", "L2"]


def test_sections_are_never_mixed():
    found = chunks(section("a", headings=("One",)), section("b", headings=("One",)), section("c"))
    assert [(piece.title, piece.text) for piece in found] == [("One", "a"), ("One", "b"), ("", "c")]


def test_a_long_paragraph_is_cut_at_sentences_and_shares_its_ends():
    long = "One two three four five. Six seven eight nine ten! “Is it eleven?” Twelve thirteen fourteen."
    found = chunks(section("Before.", long, "After."))
    assert [piece.text for piece in found] == [
        "Before.\n\nOne two three four five. Six seven eight nine ten! “Is it eleven?”",
        "Twelve thirteen fourteen.\n\nAfter.",
    ]
    assert [piece.place for piece in found] == ["L0", "L1"]


def test_code_is_cut_at_line_ends():
    code = "\n".join(f"line {n} has five words" for n in range(6))
    assert all(piece.text.count("\n") == 1 for piece in chunks(section(code)))


def test_a_sentence_is_cut_at_words_and_a_word_at_characters():
    found = chunks(section(" ".join(f"w{n}" for n in range(30))))
    assert [len(piece.text.split()) for piece in found] == [14, 14, 2]
    found = chunks(section("x" * 100), limit=20, count=COUNTERS["bytes"])
    assert "".join(piece.text for piece in found) == "x" * 100
    assert len(found) == 7  # of 16 characters, by slices of a quarter of 18: four each


def test_the_heading_path_counts_and_its_outer_part_goes_first():
    found = chunks(section("t " * 30, headings=("Part one", "Chapter two", "Section three")), limit=16)
    assert {piece.title for piece in found} == {"Part one > Chapter two > Section three"}
    assert max(words(map(content, found))) <= 16
    found = chunks(section("t " * 30, headings=("Part one of the book", "Chapter two", "Section three")), limit=16)
    assert {piece.title for piece in found} == {"Chapter two > Section three"}
    (piece,) = chunks(section("t", headings=("h" * 500,)), limit=16, count=COUNTERS["bytes"])
    assert piece.title == "h" * 7


def test_few_calls_whatever_the_number_of_paragraphs():
    calls = []

    def count(texts):
        calls.append(len(texts))
        return words(texts)

    chunks(*(section("word " * 40 + "end. " * 5, "short") for _ in range(300)), count=count)
    assert len(calls) <= 20, calls
    assert max(calls) <= 1024


def test_a_text_without_end_reaches_the_counter_in_parts():
    longest = 0

    def count(texts):
        nonlocal longest
        longest = max(longest, *map(len, texts))
        return words(texts)

    found = chunks(section("ab. " * 100_000), limit=256, count=count)
    assert longest <= 256 * 32
    assert sum(words(piece.text for piece in found)) == 100_000


def test_a_limit_without_room_is_refused():
    with pytest.raises(DataError, match=r"a limit of 15 tokens.*at least 16"):
        chunks(section("a"), limit=15)
