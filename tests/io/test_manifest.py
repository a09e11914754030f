"""Fingerprints, versions and JSON objects on disk."""

from __future__ import annotations

import datetime
import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonembed.errors import DataError
from reasonembed.io.manifest import fingerprint, now, read_json, versions, write_json

parts = st.lists(st.text() | st.binary(), max_size=5)


@given(parts, parts)
def test_different_parts_have_different_fingerprints(first, second):
    as_bytes = [[p.encode() if isinstance(p, str) else p for p in side] for side in (first, second)]
    assert (fingerprint(first) == fingerprint(second)) == (as_bytes[0] == as_bytes[1])


def test_fingerprint_is_what_its_docstring_says():
    data = (1).to_bytes(8, "little") + b"a" + (2).to_bytes(8, "little") + "ü".encode()
    assert fingerprint(["a", "ü".encode()]) == hashlib.sha256(data).hexdigest()[:32]
    assert fingerprint(iter(["\ud800"])) != fingerprint(["\ud801"])  # lone surrogates occur in scraped text


def test_versions_name_what_computes():
    found = versions()
    assert found["numpy"] == np.__version__
    assert "python" in found


def test_now_is_utc_to_the_second():
    stamp = datetime.datetime.fromisoformat(now())
    assert stamp.utcoffset() == datetime.timedelta(0)
    assert stamp.microsecond == 0


def test_json_round_trip(tmp_path):
    value = {"a": [1, 2.5, None], "ü": {"b": "√"}}
    write_json(tmp_path / "deep/x.json", value)
    assert read_json(tmp_path / "deep/x.json") == value
    assert "√" in (tmp_path / "deep/x.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"{", "not a JSON file"), (b"[1]", "object was expected, found list"), (b"\xff", "not a JSON file")],
)
def test_bad_json_names_the_file(tmp_path, data, message):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(DataError, match=rf"x\.json: .*{message}"):
        read_json(tmp_path / "x.json")


def test_missing_json(tmp_path):
    with pytest.raises(DataError, match=r"x\.json: no such file"):
        read_json(tmp_path / "x.json")
