"""Training samples in the forms of other tools: triplets of Sentence Transformers, in and out, and a BEIR folder, out.

A row of triplets is `{"anchor", "positive", "negative"}`; rows of one query follow each other. Scores, instructions and
reasoning have no place in these forms and are left behind.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from reasonembed.errors import DataError
from reasonembed.io.atomic import atomic_folder
from reasonembed.io.jsonl import read_jsonl, text_field, write_jsonl
from reasonembed.types import TrainingSample


def write_triplets(path: Path | str, samples: Iterable[TrainingSample]) -> int:
    """Write rows for Sentence Transformers' losses; returns how many.

    Every passage occurs at least once: a sample gives as many rows as the longer of `pos` and `neg` has texts, and the
    shorter one starts again from its beginning.

    Raises:
        DataError: A sample without negatives.
        StorageError: The file could not be written whole.
    """
    return write_jsonl(path, (row for sample in samples for row in _triplets(sample)))


def _triplets(sample: TrainingSample) -> Iterator[dict[str, str]]:
    if not sample.neg:
        raise DataError(
            f"the query {sample.query[:60]!r} has no negative", fix="a triplet needs one: remove the sample"
        )
    for place in range(max(len(sample.pos), len(sample.neg))):
        positive, negative = sample.pos[place % len(sample.pos)], sample.neg[place % len(sample.neg)]
        yield {"anchor": sample.query, "positive": positive, "negative": negative}


def read_triplets(path: Path | str) -> Iterator[TrainingSample]:
    """Yield a sample for each run of rows with the same anchor; a passage that is repeated in it counts once.

    Raises:
        DataError: Broken JSON, or a field missing, empty or no string; with file and line.
    """
    names = ("anchor", "positive", "negative")
    rows = ((line, [text_field(row, name, path=path, line=line) for name in names]) for line, row in read_jsonl(path))
    for anchor, group in itertools.groupby(_filled(rows, names, path), key=lambda texts: texts[0]):
        texts = list(group)
        pos, neg = (tuple(dict.fromkeys(text[column] for text in texts)) for column in (1, 2))
        yield TrainingSample(anchor, pos, neg)


def _filled(rows: Iterable[tuple[int, list[str]]], names: tuple[str, ...], path: Path | str) -> Iterator[list[str]]:
    for line, texts in rows:
        for name, text in zip(names, texts, strict=True):
            if not text.strip():
                raise DataError(f"field {name!r} is empty", path=path, line=line, fix="remove the line")
        yield texts


def write_beir(folder: Path | str, samples: Iterable[TrainingSample], *, split: str = "train") -> int:
    """Write a BEIR folder: every different passage a document, every sample a query; returns the number of samples.

    Positives are judged 1, negatives 0. The id of a document is a digest of its text, that of a query its number from 1.
    Memory: 60 bytes a different passage.

    Args:
        folder: Replaced if it is there.
        samples: Read once.
        split: Name of the file of judgements.

    Raises:
        StorageError: The folder could not be written whole.
    """
    seen: set[str] = set()
    number = 0
    with atomic_folder(folder) as fresh:
        (fresh / "qrels").mkdir()
        corpus = (fresh / "corpus.jsonl").open("w", encoding="utf-8", newline="\n")
        queries = (fresh / "queries.jsonl").open("w", encoding="utf-8", newline="\n")
        qrels = (fresh / "qrels" / f"{split}.tsv").open("w", encoding="utf-8", newline="\n")
        with corpus, queries, qrels:
            qrels.write("query-id\tcorpus-id\tscore\n")
            for number, sample in enumerate(samples, start=1):
                queries.write(_line({"_id": str(number), "text": sample.query}))
                grades = {**{text: 0 for text in sample.neg}, **{text: 1 for text in sample.pos}}
                for text, grade in grades.items():
                    key = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
                    qrels.write(f"{number}\t{key}\t{grade}\n")
                    if key not in seen:
                        seen.add(key)
                        corpus.write(_line({"_id": key, "title": "", "text": text}))
    return number


def _line(row: dict[str, str]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
