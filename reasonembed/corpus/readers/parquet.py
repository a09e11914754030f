"""Parquet through pyarrow, batch by batch; one record a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reasonembed.corpus.passages import Passage
from reasonembed.corpus.readers.records import ID_FIELDS, TEXT_FIELDS, Row, check_columns, passages_from
from reasonembed.corpus.sources import Skipped
from reasonembed.errors import MissingExtraError

ROWS = 1024
"""Rows in memory at a time."""


def read(path: Path, key: str) -> Iterator[Passage | Skipped]:
    """Yield a passage a row, or why it is none.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: No column of texts.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "docs", "reading Parquet") from error
    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        check_columns(names)
        columns = [name for name in (*ID_FIELDS, *TEXT_FIELDS, "title") if name in names]

        def rows() -> Iterator[Row]:
            number = 0
            for batch in file.iter_batches(batch_size=ROWS, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row

        yield from passages_from(rows(), path=path, key=key)
