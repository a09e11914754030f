"""Which beginnings of prompts a local engine has read, and which it is reading: a prompt that begins like one of these waits for it.

The engine finds states that it can share when a prompt comes, and never again: of prompts that come together and begin alike each
would be read in full (three queries of each of four documents took 2.3 times as long, docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

BLOCK = 32
"""Tokens of a block of attention states, the smallest piece that prompts share: OpenVINO's, on a CPU."""
REMEMBERED = 2**16
"""Blocks that are believed to be in the engine's cache, the oldest forgotten first: two million tokens, more than 8 GB hold."""


def blocks_of(ids: Sequence[int]) -> tuple[int, ...]:
    """A number for every full block of a prompt; equal for two prompts as far as they begin alike.

    Example:
        >>> ours, theirs = blocks_of(range(100)), blocks_of([*range(64), *range(36)])
        >>> len(ours), ours[:2] == theirs[:2], ours[2] == theirs[2]
        (3, True, False)
    """
    numbers: list[int] = []
    before = 0
    for start in range(0, len(ids) - BLOCK + 1, BLOCK):
        before = hash((before, *ids[start : start + BLOCK]))
        numbers.append(before)
    return tuple(numbers)


class Prefixes:
    """What is read and what is being read, in blocks. A wrong belief costs time and nothing else."""

    def __init__(self) -> None:
        self._read: dict[int, None] = {}
        self._reading: set[int] = set()
        self._of: dict[Hashable, tuple[int, ...]] = {}

    def must_wait(self, blocks: Sequence[int]) -> bool:
        """Whether the first block that is not read yet is being read for another prompt."""
        return next((block for block in blocks if block not in self._read), None) in self._reading

    def begin(self, reader: Hashable, blocks: Sequence[int]) -> None:
        """A prompt begins to be read."""
        fresh = tuple(block for block in blocks if block not in self._read and block not in self._reading)
        self._of[reader] = fresh
        self._reading.update(fresh)

    def end(self, reader: Hashable, *, read: bool) -> None:
        """A prompt is read, or will not be; a second call for a reader does nothing."""
        for block in self._of.pop(reader, ()):
            self._reading.remove(block)
            if read:
                self._read[block] = None
        while len(self._read) > REMEMBERED:
            del self._read[next(iter(self._read))]
