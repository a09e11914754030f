"""JSON lines: what is read, and what is refused with file and line."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonembed.errors import DataError
from reasonembed.io.jsonl import MAX_TEXT_CHARS, read_jsonl, read_lines, text_field, write_jsonl


def test_reads_plain_and_gzip_and_skips_blank_lines(tmp_path):
    data = '{"a": 1}\r\n\n   \n{"a": "ü\\u2028"}'.encode()
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + data)  # with a byte-order mark
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(data))
    for name in ("x.jsonl", "x.jsonl.gz"):
        assert list(read_jsonl(tmp_path / name)) == [(1, {"a": 1}), (4, {"a": "ü\u2028"})]


def test_a_compressed_file_is_the_same_bytes_wherever_and_whenever_it_is_written(tmp_path, monkeypatch):
    rows = [{"a": "ü"}, {"a": "b" * 1000}]
    assert write_jsonl(tmp_path / "x.jsonl.gz", rows) == 2
    monkeypatch.setattr("time.time", lambda: 1.0)
    write_jsonl(tmp_path / "other.jsonl.gz", iter(rows))
    assert (tmp_path / "x.jsonl.gz").read_bytes() == (tmp_path / "other.jsonl.gz").read_bytes()
    assert (tmp_path / "x.jsonl.gz").stat().st_size < 200
    assert [row for _, row in read_jsonl(tmp_path / "x.jsonl.gz")] == rows


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), max_size=5))
def test_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("jsonl") / "x.jsonl"
    assert write_jsonl(path, rows) == len(rows)
    assert [row for _, row in read_jsonl(path)] == rows
    assert len(path.read_bytes().split(b"\n")) == len(rows) + 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\n{"a": \n', r"x\.jsonl:2: broken JSON: .* at column 7"),
        (b'{"a": 1}\n["a"]\n', r"x\.jsonl:2: a JSON object was expected, found list"),
        (b"{}\n{}\n\xe9\n", r"x\.jsonl:3: not UTF-8: byte 0xe9 at byte 0 of the line.*iconv"),
    ],
)
def test_bad_lines_name_file_and_line(tmp_path, data, message):
    (tmp_path / "x.jsonl").write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        list(read_jsonl(tmp_path / "x.jsonl"))
    assert caught.value.path == tmp_path / "x.jsonl"
    assert caught.value.line == data.count(b"\n", 0, -1) + 1


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(read_lines(tmp_path / "none"))
    with pytest.raises(DataError, match="is a folder"):
        list(read_lines(tmp_path))
    (tmp_path / "x.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="damaged gzip"):
        list(read_lines(tmp_path / "x.gz"))
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"line\n" * 1000)[:-9])
    with pytest.raises(DataError, match="damaged gzip"):
        list(read_lines(tmp_path / "x.gz"))


def test_damaged_bytes_inside_gzip(tmp_path):
    whole = gzip.compress(json.dumps({"text": "".join(map(str, range(3000)))}).encode())
    for place in range(20, len(whole), 200):  # zlib finds some of them, the checksum or the text's encoding others
        data = bytearray(whole)
        data[place] ^= 0xFF
        (tmp_path / "x.jsonl.gz").write_bytes(data)
        with pytest.raises(DataError, match=r"x\.jsonl\.gz"):
            list(read_jsonl(tmp_path / "x.jsonl.gz"))


def test_lone_surrogates_are_refused_before_a_tokenizer_meets_them(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "fine \\ud83d\\ude00"}\n{"text": "cut \\ud83d"}\n')
    rows = list(read_jsonl(tmp_path / "x.jsonl"))
    assert text_field(rows[0][1], "text", path="x.jsonl", line=1) == "fine 😀"
    with pytest.raises(DataError, match=r"x\.jsonl:2: field 'text' has half a character \(surrogate U\+D83D\) at 4"):
        text_field(rows[1][1], "text", path="x.jsonl", line=2)


def test_a_path_the_system_cannot_open(tmp_path):
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        list(read_lines(tmp_path / ("x" * 300)))


def test_text_field(tmp_path):
    def get(row):
        return text_field(row, "text", path="x.jsonl", line=3)

    assert get({"text": "t"}) == "t"
    assert get({"text": "x" * MAX_TEXT_CHARS}) == "x" * MAX_TEXT_CHARS
    with pytest.raises(DataError, match=r"x\.jsonl:3: field 'text' is missing \(found: a, b\)"):
        get({"b": 1, "a": 2})
    with pytest.raises(DataError, match="must be a string, found int"):
        get({"text": 3})
    with pytest.raises(DataError, match=r"x\.jsonl:3: field 'text' has 10,000,000 characters, the limit is 5,000,000"):
        get({"text": "x" * 10_000_000})
