"""Arrays on disk: NumPy reads what we write, and nothing pickled is opened."""

from __future__ import annotations

import numpy as np
import pytest

from reasonembed.errors import DataError
from reasonembed.io.vectors import open_array, open_vectors, write_vectors

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_numpy_reads_the_same_bytes_as_it_would_write(tmp_path):
    write_vectors(tmp_path / "x.npy", iter([VECTORS[:1], VECTORS[1:1], VECTORS[1:]]), count=4, dim=3)
    np.save(tmp_path / "y.npy", VECTORS)
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "y.npy").read_bytes()


def test_blocks_of_other_types_and_layouts(tmp_path):
    write_vectors(tmp_path / "x.npy", [np.asfortranarray(VECTORS.astype(np.float64))], count=4, dim=3)
    np.testing.assert_array_equal(open_vectors(tmp_path / "x.npy"), VECTORS)


@pytest.mark.parametrize("mmap", [True, False])
def test_opens_mapped_or_in_memory(tmp_path, mmap):
    write_vectors(tmp_path / "x.npy", [VECTORS], count=4, dim=3)
    opened = open_vectors(tmp_path / "x.npy", mmap=mmap)
    assert isinstance(opened, np.memmap) == mmap
    np.testing.assert_array_equal(opened, VECTORS)
    write_vectors(tmp_path / "empty.npy", [], count=0, dim=3)
    assert open_vectors(tmp_path / "empty.npy", mmap=mmap).shape == (0, 3)


def test_wrong_number_of_rows_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="4 rows were given"):
        write_vectors(tmp_path / "x.npy", [VECTORS], count=5, dim=3)
    with pytest.raises(ValueError, match="a block has shape"):
        write_vectors(tmp_path / "x.npy", [VECTORS], count=4, dim=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mmap", [True, False])
def test_refusals(tmp_path, mmap):
    path = tmp_path / "x.npy"
    with pytest.raises(DataError, match=r"x\.npy: no such file"):
        open_vectors(path, mmap=mmap)
    np.save(path, VECTORS)
    whole = path.read_bytes()
    for data in (b"", whole[:5], whole[:-1], b"junk" * 100):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"x\.npy: not a whole"):
            open_vectors(path, mmap=mmap)
    np.save(path, np.array([{"a": print}, None], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy: not a whole"):
        open_vectors(path, mmap=mmap)
    np.save(path, VECTORS.astype(np.float64))
    with pytest.raises(DataError, match="holds 2-D float64, a 2-D float32 array was expected"):
        open_vectors(path, mmap=mmap)
    np.save(path, VECTORS[0])
    with pytest.raises(DataError, match="holds 1-D float32"):
        open_vectors(path, mmap=mmap)
    with pytest.raises(DataError, match="a 1-D int64 array was expected"):
        open_array(path, ndim=1, dtype="int64", mmap=mmap)
