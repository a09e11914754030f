"""Encodings and invisible characters."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonembed.corpus.cleaning import clean, decode
from reasonembed.errors import DataError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_with_and_without_a_mark(encoding):
    assert decode("Größe € 漢字".encode(encoding)) == "Größe € 漢字"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("naïve “quotes” – 5 €", "cp1252"), ("日本語の文章", "shift_jis"), ("Привет", "koi8-r"), ("日本", "iso2022_jp")],
)
def test_the_declared_encoding_is_used(text, encoding):
    assert decode(text.encode(encoding), declared=encoding) == text


def test_undeclared_is_cp1252_and_utf8_wins_over_a_wrong_declaration():
    assert decode("café “x”".encode("cp1252")) == "café “x”"
    assert decode("café".encode(), declared="iso-8859-1") == "café"
    assert decode("“a”".encode("cp1252"), declared="iso-8859-1") == "“a”"  # as browsers read Latin-1
    assert decode(b"plain", declared="no such encoding") == "plain"
    assert decode(b"a+AGE-b", declared="utf-7") == "a+AGE-b"
    assert decode(b"\x81 undefined in cp1252 \xe9") == "\ufffd undefined in cp1252 é"


@pytest.mark.parametrize("data", [b"text\0text", bytes(range(1, 32)) * 10, "wide".encode("utf-16-le")])
def test_binary_is_refused(data):
    with pytest.raises(DataError, match="binary content"):
        decode(data)


def test_invisible_characters_go_and_letters_are_composed():
    assert clean("soft\u00adhyphen zero\u200bwidth \ufeffmark \x07bell") == "softhyphen zerowidth mark bell"
    assert clean("cafe\u0301") == "café"
    assert clean("a \t\u00a0\n b\x0bc\x1fd") == "a b c d"
    assert clean("می\u200cخواهم") == "می\u200cخواهم"  # a word of Persian
    assert clean("half \ud800 a character") == "half \ufffd a character"
    assert clean(" \u200b\n") == ""


def test_layout_keeps_lines_and_indentation():
    assert clean("\n\ndef f():\r\n    return  1  \n\n", layout=True) == "def f():\n    return  1"
    assert clean(" \n \n", layout=True) == ""


@given(st.text())
def test_clean_is_stable_and_keeps_the_visible(text):
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned.isprintable() or any(unicodedata.category(char) in ("Cn", "Co", "Cf") for char in cleaned)
    letters = [char for char in unicodedata.normalize("NFC", text) if char.isascii() and char.isalnum()]
    assert [char for char in cleaned if char.isascii() and char.isalnum()] == letters
