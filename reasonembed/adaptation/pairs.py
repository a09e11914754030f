"""Questions of one's own with their documents, or a log of clicks, read from CSV or JSON lines against the passages of a corpus.

Columns `query` and `document`, in a log `clicks` too; others are passed over. A document is the id of a passage, a whole passage, or
a file of the corpus (then BM25 picks its passage). A wrong header or line is refused; a document that is not in the corpus is told.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from reasonembed.adaptation.split import document_of
from reasonembed.corpus.readers import kind_of
from reasonembed.corpus.readers.table import table
from reasonembed.corpus.sources import Skipped
from reasonembed.errors import DataError
from reasonembed.io.jsonl import read_jsonl, text_field
from reasonembed.io.rows import id_field
from reasonembed.search.bm25 import BM25Searcher
from reasonembed.synth.checks import normalised
from reasonembed.types import Document

MIN_CLICKS = 2
"""Clicks on a document, over all lines of a log with the same query, from which it is relevant: one click may be a slip."""
COLUMNS = ("query", "document")
CLICKS = "clicks"
_SHOWN = 100
"""Characters of a document's name in a reason."""

Asked = tuple[str, str]
"""(normalised query, document as it is written)."""


@dataclass(frozen=True, slots=True)
class KnownPair:
    """A query with the passages that answer it.

    Attributes:
        query: Text, as it is written first.
        documents: Ids of passages, at least one, each once, in the order of the file.
    """

    query: str
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PairsRead:
    """What a file of pairs gave.

    Attributes:
        pairs: One a query, in the order of the file, at least one.
        skipped: What was left out and why, with its first line: one a document that is not in the corpus, one for all
            pairs with too few clicks.
    """

    pairs: tuple[KnownPair, ...]
    skipped: tuple[Skipped, ...]


@dataclass(slots=True)
class _Seen:
    """Of the lines that name a query and a document: the first, their number, and the clicks of all; None where it is no log."""

    line: int
    lines: int
    clicks: int | None


def read_pairs(path: Path | str, documents: Sequence[Document], *, min_clicks: int = MIN_CLICKS) -> PairsRead:
    """Read pairs and find their passages.

    Queries that are equal but for case, blanks and Unicode compatibility forms are one query.

    Args:
        path: `.csv`, `.tsv` (with a header) or `.jsonl`.
        documents: The passages of the corpus. Ids are those of an index: `FILE#PLACE`, or a record's own.
        min_clicks: Least clicks of a pair, at least 1; only where the file has a column `clicks`.

    Raises:
        DataError: Another kind of file, a wrong header or line (with its number), no document that is in the corpus, or no pair
            with enough clicks.
    """
    path = Path(path)
    if min_clicks < 1:
        raise DataError(f"min_clicks={min_clicks} is below 1", fix=f"usually {MIN_CLICKS}")
    spelled, seen = _collected(path)
    found, skipped = _passages(seen, spelled, documents, path)
    if not found:
        problem = f"no document can be used; the first: {skipped[0].place}: {skipped[0].reason}"
        fix = "name passages by id or by their whole text, or files; check that these are the documents"
        raise DataError(problem, path=path, fix=fix)
    answers: dict[str, Counter[str]] = {}  # normalised query -> passage -> clicks; where it is no log, enough of them
    for asked, passage in found.items():
        answers.setdefault(asked[0], Counter())[passage] += min_clicks if (n := seen[asked].clicks) is None else n
    few = sum(clicks < min_clicks for answer in answers.values() for clicks in answer.values())
    if few:
        skipped.append(Skipped(path.name, f"{few:,} pairs have fewer than {min_clicks} clicks"))
    pairs = tuple(
        KnownPair(spelled[query], relevant)
        for query, answer in answers.items()
        if (relevant := tuple(passage for passage, clicks in answer.items() if clicks >= min_clicks))
    )
    if not pairs:
        most = max(clicks for answer in answers.values() for clicks in answer.values())
        raise DataError(
            f"no pair has {min_clicks} clicks, the most are {most}", path=path,
            fix="take a longer log, or leave out the column `clicks` where every line is sure",
        )  # fmt: skip
    return PairsRead(pairs, tuple(skipped))


def _collected(path: Path) -> tuple[dict[str, str], dict[Asked, _Seen]]:
    """Normalised query -> how it is written first; and every query with a document. All lines are checked."""
    spelled: dict[str, str] = {}
    seen: dict[Asked, _Seen] = {}
    log: bool | None = None
    for line, row in _rows(path):
        query = text_field(row, "query", path=path, line=line).strip()
        if not query:
            raise DataError("field 'query' is empty", path=path, line=line, fix="remove the line")
        document = id_field(row, "document", path=path, line=line)
        clicks = _clicks(row, path, line)
        if log is None:
            log = clicks is not None
        elif log != (clicks is not None):
            problem = f"field {CLICKS!r} is {'missing' if log else 'here, and not in the lines above'}"
            raise DataError(problem, path=path, line=line, fix="in every line, or in none")
        asked = (normalised(query), document)
        spelled.setdefault(asked[0], query)
        if (one := seen.get(asked)) is None:
            seen[asked] = _Seen(line, 1, clicks)
        else:
            one.lines += 1
            one.clicks = None if one.clicks is None else one.clicks + (clicks or 0)
    if not seen:
        raise DataError("no pair in it", path=path, fix="one query and one document a line")
    return spelled, seen


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line of the file, fields) of every pair."""
    kind = kind_of(path.name)
    if kind not in ("jsonl", "table"):
        raise DataError("no file of pairs by its name", path=path, fix="pairs are .csv, .tsv or .jsonl")
    return read_jsonl(path) if kind == "jsonl" else _table_rows(path)


def _table_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    line = 1
    try:
        with table(path, strict=True) as rows:
            header = [name.strip() for name in next(rows, [])]
            _check_header(header, path)
            line = rows.line_num + 1
            for cells in rows:
                if cells and len(cells) != len(header):
                    problem = f"{len(cells)} cells, the header has {len(header)}"
                    raise DataError(problem, path=path, line=line, fix='a text with a separator needs "quotes"')
                if cells:
                    yield line, dict(zip(header, cells, strict=True))
                line = rows.line_num + 1
    except csv.Error as error:
        raise DataError(f"no table: {error}", path=path, line=line, fix='check the "quotes"') from error
    except DataError as error:
        raise error if error.path else DataError(str(error), path=path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=path) from error


def _check_header(header: Sequence[str], path: Path) -> None:
    for name in COLUMNS + (CLICKS,) * (CLICKS in header):
        if header.count(name) != 1:
            found = ", ".join(header)[:200] or "none"
            problem = f"{header.count(name)} columns {name!r} (found: {found})"
            raise DataError(problem, path=path, line=1, fix=f"a first line such as {','.join(COLUMNS)}")


def _clicks(row: Mapping[str, Any], path: Path, line: int) -> int | None:
    value = row.get(CLICKS)
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 19:
        return int(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise DataError(f"field {CLICKS!r} is {str(value)[:60]!r}", path=path, line=line, fix="a whole number from 0")


def _passages(
    seen: Mapping[Asked, _Seen], spelled: Mapping[str, str], documents: Sequence[Document], path: Path
) -> tuple[dict[Asked, str], list[Skipped]]:
    """The passage of each pair, in the order of the file, and why the others have none."""
    corpus = _Corpus(documents)
    places = {document: corpus.find(document) for document in dict.fromkeys(document for _, document in seen)}
    in_files: dict[str, list[Asked]] = {}
    for asked in seen:
        place = places[asked[1]]
        if isinstance(place, list) and len(place) == 1:
            in_files.setdefault(place[0], []).append(asked)
    best: dict[Asked, str] = {}
    for file, pairs in in_files.items():
        passages = _best([spelled[query] for query, _ in pairs], corpus.files[file])
        best |= {asked: passage for asked, passage in zip(pairs, passages, strict=True) if passage is not None}
    found = {
        asked: place if isinstance(place, str) else best[asked]
        for asked in seen
        if isinstance(place := places[asked[1]], str) or asked in best
    }
    missing: dict[tuple[str, str], list[_Seen]] = {}  # (document, reason)
    for asked, one in seen.items():
        if asked not in found:
            missing.setdefault((asked[1], _reason(places[asked[1]])), []).append(one)
    return found, [
        Skipped(f"{path.name}:{ones[0].line}", f"document {_short(name)!r} {reason} ({_lines(ones)})")
        for (name, reason), ones in missing.items()
    ]


def _reason(place: str | list[str]) -> str:
    if not place:
        return "is not in the corpus"
    return "holds no word of its query" if len(place) == 1 else f"is one of {len(place)} files: {', '.join(place[:3])}"


def _lines(ones: Collection[_Seen]) -> str:
    n = sum(one.lines for one in ones)
    return f"{n:,} line{'s' * (n != 1)}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


class _Corpus:
    """The passages of a corpus, by id, by text and by file.

    Attributes:
        files: Name of a file -> its passages.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents
        self._ids = {document.id for document in documents}
        self.files: dict[str, list[Document]] = {}
        for document in documents:
            if (file := document_of(document.id)) != document.id:
                self.files.setdefault(file, []).append(document)
        self._named: dict[str, list[str]] = {}  # last part of a file's name -> files
        for file in self.files:
            self._named.setdefault(PurePosixPath(file).name, []).append(file)

    def find(self, document: str) -> str | list[str]:
        """The id of a passage; or the files that a name may mean, none where it is not in the corpus."""
        if document in self._ids:
            return document
        if (passage := self._texts.get(hash(normalised(document)))) is not None:
            return passage
        return [document] if document in self.files else self._files_like(document)

    @cached_property
    def _texts(self) -> dict[int, str]:
        """Hash of a normalised text -> the first passage that has it, with or without its title."""
        texts: dict[int, str] = {}
        for document in self._documents:
            for text in (document.text, document.content):
                texts.setdefault(hash(normalised(text)), document.id)
        return texts

    def _files_like(self, name: str) -> list[str]:
        """Files whose path ends as the name does, or that the name, a longer path, ends with."""
        parts = PurePosixPath(name).parts
        like = []
        for file in self._named.get(parts[-1], ()) if parts else ():
            own = PurePosixPath(file).parts
            shared = min(len(own), len(parts))
            if own[-shared:] == parts[-shared:]:
                like.append(file)
        return like


def _best(queries: Iterable[str], passages: Sequence[Document]) -> list[str | None]:
    """For each query the passage of a file that BM25 ranks first; the only one there is needs no words in common."""
    queries = list(queries)
    if len(passages) == 1:
        return [passages[0].id] * len(queries)
    searcher = BM25Searcher()
    searcher.add([passage.id for passage in passages], [passage.content for passage in passages])
    return [hits[0].id if hits else None for hits in searcher.search(queries, 1)]
