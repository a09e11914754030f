"""Matrices of float32 vectors on disk as `.npy`: written by blocks, opened memory-mapped, never pickled."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError
from reasonembed.io.atomic import atomic_write


def write_blocks(file: IO[bytes], blocks: Iterable[npt.NDArray[Any]], shape: tuple[int, ...], dtype: str) -> None:
    """Write an array as `.npy` to an open file, one block of rows after another.

    `numpy.save` hides the system's reason when a disk is full; writing the bytes ourselves keeps it.

    Args:
        file: Open for writing bytes.
        blocks: Arrays that stand below each other along the first axis.
        shape: Shape of the whole.
        dtype: NumPy's name of the type, such as `float32`.

    Raises:
        ValueError: The blocks do not add up to `shape`.
        OSError: The disk is full.
    """
    kind = np.dtype(dtype)
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    rows = 0
    for block in blocks:
        data = np.ascontiguousarray(block, dtype=kind)
        if data.shape[1:] != shape[1:]:
            raise ValueError(f"a block has shape {data.shape}, the whole {shape}")
        rows += len(data)
        if data.size:
            file.write(data.data.cast("B"))
    if rows != shape[0]:
        raise ValueError(f"{rows} rows were given for shape {shape}")


def write_vectors(path: Path | str, blocks: Iterable[npt.NDArray[Any]], *, count: int, dim: int) -> None:
    """Write float32 vectors as `.npy`, atomically.

    Args:
        path: Destination.
        blocks: (n, dim) arrays; their rows add up to `count`.
        count: Number of vectors.
        dim: Width of a vector.

    Raises:
        StorageError: The file could not be written whole.
    """
    with atomic_write(path, "wb") as file:
        write_blocks(cast("IO[bytes]", file), blocks, (count, dim), "float32")


def open_array(path: Path | str, *, ndim: int, dtype: str, mmap: bool = True) -> npt.NDArray[Any]:
    """Open a `.npy` file, memory-mapped and read-only unless told otherwise.

    Raises:
        DataError: The file is missing, cut short, pickled, or holds another shape or type.
    """
    path = Path(path)
    try:
        array = _open_mapped(path) if mmap else _read(path)
    except FileNotFoundError as error:
        raise DataError("no such file", path=path, fix="the folder is incomplete; make it again") from error
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"not a whole .npy file: {error}", path=path, fix="the file is damaged; make it again"
        ) from error
    if array.ndim != ndim or array.dtype != np.dtype(dtype):
        found = f"{array.ndim}-D {array.dtype}"
        raise DataError(f"holds {found}, a {ndim}-D {dtype} array was expected", path=path, fix="make the file again")
    return array


def open_vectors(path: Path | str, *, mmap: bool = True) -> npt.NDArray[np.float32]:
    """Open a matrix of vectors, (n, dim) float32.

    Raises:
        DataError: The file is missing, cut short, pickled, or no float32 matrix.
    """
    return open_array(path, ndim=2, dtype="float32", mmap=mmap)


def _open_mapped(path: Path) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    return array


def _read(path: Path) -> npt.NDArray[Any]:
    with path.open("rb") as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array
