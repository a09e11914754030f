"""Which texts run together: sorted by length, longest first, under a budget of padded tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def length_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group texts so that padding is small and a batch fits a budget.

    Args:
        lengths: Tokens of each text.
        budget: Most padded tokens (texts times longest) in a batch; a longer single text makes a batch of its own.

    Yields:
        Indices of the texts of a batch, longest first; every index exactly once.

    >>> list(length_batches([3, 9, 4, 2], budget=10))
    [[1], [2, 0], [3]]
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batch: list[int] = []
    for index in order:
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
