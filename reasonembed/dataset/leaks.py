"""Does training data hold what a test set asks? Queries against queries and, if asked, passages against relevant documents.

Gets training samples and test sets, gives what leaks: texts that are equal, equal but for case and punctuation, nearly equal
(Jaccard similarity of runs of words), or one within the other. A test set is small, so the similarity that MinHash
estimates is computed exactly here, through a table from runs of words to the test texts that have them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from reasonembed.corpus.duplicates import shingles
from reasonembed.errors import DataError
from reasonembed.io.beir import read_beir
from reasonembed.io.bright import bright_tasks, read_bright
from reasonembed.io.jsonl import read_jsonl, text_field
from reasonembed.io.rows import find_file
from reasonembed.types import RetrievalTask, TrainingSample

Kind = Literal["exact", "normalised", "near", "contained"]

NEAR = 0.5
"""Jaccard similarity of the runs of 5 words of two texts (`corpus.duplicates.shingles`) from which they are nearly equal. One
changed word inside a question of 20 words breaks 5 of its 16 runs: 11 / 21 = 0.52."""
CONTAINED = 0.8
"""Share of the shorter text's runs that the longer one must have to hold it."""
MIN_RUNS = 8
"""Runs (12 words) below which a text is too short to be looked for within another."""

_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A text that must not be trained on.

    Attributes:
        place: Where it stands, such as `theoremqa query 17`.
        text: It.
    """

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class HeldOutSet:
    """A test set.

    Attributes:
        queries: Its queries.
        gold: The documents that are relevant to them; empty where they are not asked for.
    """

    queries: tuple[HeldOut, ...]
    gold: tuple[HeldOut, ...] = ()


@dataclass(frozen=True, slots=True)
class Leak:
    """A training text that is a test text, or nearly so.

    Attributes:
        kind: How alike they are.
        where: Of the sample: `query`, `pos[2]`, `neg[0]`.
        text: The training text.
        test: The test text and its place.
        similarity: Jaccard similarity, in [0, 1]; for `contained` the share of the shorter text's runs.
    """

    kind: Kind
    where: str
    text: str
    test: HeldOut
    similarity: float


def read_test_set(place: Path | str, *, split: str = "test", gold: bool = False) -> HeldOutSet:
    """Read the queries of a test set, and the documents relevant to them.

    Args:
        place: A BEIR folder; a BRIGHT folder, a local copy of the Hub dataset or its id (all its tasks); or a JSON-lines
            file of queries (`query` or `text`), which names no documents.
        split: Of a BEIR folder.
        gold: Read the relevant documents too.

    Raises:
        DataError: It is none of these, a row is broken, or documents are asked of a file of queries.
    """
    path = Path(place)
    if path.is_file():
        if gold:
            raise DataError(
                "a file of queries names no relevant documents", path=path, fix="name the folder, or no gold"
            )
        return HeldOutSet(tuple(_queries_in(path)))
    if path.is_dir() and find_file(path, "queries") is not None:
        tasks = [read_beir(path, split=split, skip_empty=True)]
    else:
        tasks = [read_bright(place, task, skip_empty=True) for task in bright_tasks(place)]
    queries = tuple(HeldOut(f"{task.name} query {query.id}", query.text) for task in tasks for query in task.queries)
    return HeldOutSet(queries, tuple(held for task in tasks for held in _gold(task)) if gold else ())


def _queries_in(path: Path) -> Iterator[HeldOut]:
    for line, row in read_jsonl(path):
        text = text_field(row, "query" if "query" in row else "text", path=path, line=line)
        yield HeldOut(f"{path.name} line {line}", text)


def _gold(task: RetrievalTask) -> Iterator[HeldOut]:
    wanted = {key for grades in task.qrels.relevance.values() for key, grade in grades.items() if grade > 0}
    for document in task.documents:
        if document.id in wanted:
            yield HeldOut(f"{task.name} document {document.id}", document.content)


class LeakFinder:
    """Test sets, ready to be compared with training texts; some 200 bytes of memory a word of theirs.

    Args:
        sets: Test sets; their `gold` is compared with passages, their queries with queries.
        near: Jaccard similarity from which texts are nearly equal, in (0, 1].

    Raises:
        DataError: `near` out of its range.
    """

    def __init__(self, sets: Iterable[HeldOutSet], *, near: float = NEAR) -> None:
        if not 0 < near <= 1:
            raise DataError(f"near={near} is no similarity", fix=f"above 0, at most 1; usually {NEAR}")
        sets = tuple(sets)
        self._queries = _Table((held for one in sets for held in one.queries), near)
        self._gold = _Table((held for one in sets for held in one.gold), near)

    def __len__(self) -> int:
        """Number of test texts."""
        return len(self._queries.held) + len(self._gold.held)

    def query_leak(self, query: str) -> Leak | None:
        """The leak of a training query, or None."""
        return self._queries.find(query, "query")

    def clean(self, sample: TrainingSample) -> tuple[TrainingSample | None, tuple[Leak, ...]]:
        """A sample without what leaks.

        Returns:
            The sample without the passages that are relevant documents of a test set, None where its query leaks or no
            positive or no negative is left; and every leak found.
        """
        if (leak := self.query_leak(sample.query)) is not None:
            return None, (leak,)
        if not self._gold.held:
            return sample, ()
        pos, in_pos = self._passages(sample.pos, "pos")
        neg, in_neg = self._passages(sample.neg, "neg")
        leaks = (*in_pos, *in_neg)
        if not leaks:
            return sample, ()
        if not pos or (sample.neg and not neg):
            return None, leaks
        return _only(sample, pos, neg), leaks

    def _passages(self, texts: tuple[str, ...], name: str) -> tuple[list[int], list[Leak]]:
        """Places of the passages that stay, and the leaks of the others."""
        found = [self._gold.find(text, f"{name}[{place}]") for place, text in enumerate(texts)]
        return [place for place, leak in enumerate(found) if leak is None], [leak for leak in found if leak is not None]


def _only(sample: TrainingSample, pos: list[int], neg: list[int]) -> TrainingSample:
    """A sample with only the passages at these places."""
    pos_scores, neg_scores = sample.pos_scores, sample.neg_scores
    return replace(
        sample,
        pos=tuple(sample.pos[place] for place in pos),
        neg=tuple(sample.neg[place] for place in neg),
        pos_scores=None if pos_scores is None else tuple(pos_scores[place] for place in pos),
        neg_scores=None if neg_scores is None else tuple(neg_scores[place] for place in neg),
    )


class _Table:
    """Test texts, by themselves, by their words, and by their runs of words."""

    def __init__(self, held: Iterable[HeldOut], near: float) -> None:
        self.held = tuple(held)
        self._near = near
        self._exact: dict[str, int] = {}
        self._plain: dict[str, int] = {}
        self._having: dict[bytes, list[int]] = {}
        self._sizes: list[int] = []
        for number, item in enumerate(self.held):
            self._exact.setdefault(item.text, number)
            self._plain.setdefault(_plain(item.text), number)
            runs = set(shingles(item.text))
            self._sizes.append(len(runs))
            for run in runs:
                self._having.setdefault(run, []).append(number)

    def find(self, text: str, where: str) -> Leak | None:
        """The test text that a text repeats."""
        if (number := self._exact.get(text)) is not None:
            return Leak("exact", where, text, self.held[number], 1.0)
        if (plain := _plain(text)) and (number := self._plain.get(plain)) is not None:
            return Leak("normalised", where, text, self.held[number], 1.0)
        return self._alike(text, where)

    def _alike(self, text: str, where: str) -> Leak | None:
        runs = set(shingles(text))
        shared = Counter(number for run in runs for number in self._having.get(run, ()))
        near, contained = (0.0, 0), (0.0, 0)  # the best similarity and minus its test text: the first of equals wins
        for number, count in shared.items():
            size = self._sizes[number]
            near = max(near, (count / (size + len(runs) - count), -number))
            if (shorter := min(size, len(runs))) >= MIN_RUNS:
                contained = max(contained, (count / shorter, -number))
        if near[0] >= self._near:
            return Leak("near", where, text, self.held[-near[1]], near[0])
        if contained[0] >= CONTAINED:
            return Leak("contained", where, text, self.held[-contained[1]], contained[0])
        return None


def _plain(text: str) -> str:
    """Words in lower case with single blanks between them."""
    return _NOT_WORD.sub(" ", text.casefold()).strip()
