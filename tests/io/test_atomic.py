"""A file or folder appears whole or not at all, also when the system refuses to write."""

from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest

from reasonembed.errors import ReasonEmbedError, StorageError
from reasonembed.io.atomic import atomic_folder, atomic_write


class Broken(Exception):
    pass


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_and_break(path, text):
    with atomic_write(path) as file:
        file.write(text)
        file.flush()
        assert path.read_text() == "old"
        raise Broken


def fill_and_break(path, text):
    with atomic_folder(path) as folder:
        (folder / "file").write_text(text)
        raise Broken


def write_big(path):
    with atomic_write(path, "wb") as file:
        file.write(b"n" * 5000)


def fill_big(path):
    with atomic_folder(path) as folder:
        (folder / "big").write_bytes(b"n" * 5000)


def write_full(path):
    with atomic_write(path), Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")


def touch(path):
    with atomic_write(path) as file:
        file.write("x")


def fill(path):
    with atomic_folder(path):
        pass


def test_writes_text_and_bytes(tmp_path):
    with atomic_write(tmp_path / "a/b/text.txt") as file:
        file.write("ä\nb\n")
    assert (tmp_path / "a/b/text.txt").read_bytes() == "ä\nb\n".encode()
    with atomic_write(tmp_path / "bytes.bin", "wb") as file:
        file.write(b"\x00\xff")
    assert (tmp_path / "bytes.bin").read_bytes() == b"\x00\xff"
    assert stat.S_IMODE((tmp_path / "bytes.bin").stat().st_mode) == 0o644


def test_an_interrupted_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(Broken):
        write_and_break(path, "new, but only ha")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_an_interrupted_folder_leaves_the_old_one_alone(tmp_path):
    path = tmp_path / "out"
    for text in ("first", "second"):
        with atomic_folder(path) as folder:
            assert not list(folder.iterdir())
            (folder / "file").write_text(text)
        assert (path / "file").read_text() == text
    with pytest.raises(Broken):
        fill_and_break(path, "third")
    assert (path / "file").read_text() == "second"
    assert names(tmp_path) == ["out"]


def test_a_new_folder_is_readable_by_others(tmp_path):
    with atomic_folder(tmp_path / "deep/out") as folder:
        (folder / "file").write_text("x")
    assert stat.S_IMODE((tmp_path / "deep/out").stat().st_mode) == 0o755


@pytest.fixture
def small_files():
    """The kernel refuses files beyond 1,000 bytes in this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_refusal_of_the_system_is_explained_and_leaves_nothing(tmp_path, small_files):
    (tmp_path / "x.bin").write_bytes(b"old")
    with pytest.raises(StorageError, match=r"x\.bin: cannot write: File too large") as caught:
        write_big(tmp_path / "x.bin")
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, ReasonEmbedError)
    with pytest.raises(StorageError, match="out: cannot write: File too large"):
        fill_big(tmp_path / "out")
    assert names(tmp_path) == ["x.bin"]
    assert (tmp_path / "x.bin").read_bytes() == b"old"


def test_disk_full_is_named(tmp_path):
    """/dev/full answers every write with "no space left on device"."""
    with pytest.raises(StorageError, match=r"x\.txt: disk full \([\d,]+ bytes free\).*Fix: free space"):
        write_full(tmp_path / "x.txt")
    assert names(tmp_path) == []


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write"):
        touch(tmp_path / "file/x.txt")
    with pytest.raises(StorageError, match="cannot write"):
        fill(tmp_path / "file/out")
