"""A BEIR folder -> a RetrievalTask: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv, each plain or gzip.

Beyond BEIR, a query row may carry `excluded_ids`: documents that must not be retrieved for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from reasonembed.errors import DataError
from reasonembed.io.jsonl import read_jsonl, read_lines
from reasonembed.io.rows import Corpus, Fields, check_disjoint, documents_from, find_file, id_list, query_from
from reasonembed.types import Qrels, Query, RetrievalTask

_DOCUMENT = Fields(id="_id", text="text", title="title")
_QUERY = Fields(id="_id", text="text")
_TSV = (".tsv", ".tsv.gz")


def read_beir(
    folder: Path | str,
    *,
    split: str = "test",
    name: str | None = None,
    keep: Callable[[str], bool] | None = None,
    skip_empty: bool = False,
) -> RetrievalTask:
    """Read a folder in BEIR's layout.

    The queries are those that the qrels of the split judge, in the order of queries.jsonl. Where a folder has
    one file of judgements for several sets (`qrels/all.tsv`), read it with `split="all"` and let `keep` pick
    the queries by id. The test queries of the Stacks project, for example, are those whose chapter (the id up
    to the first `-`) gives `int(hashlib.sha1(chapter.encode()).hexdigest(), 16) % 5 == 0`; on the command
    line the ids that this rule keeps, one a line, go into the file of `--queries-file`.

    Args:
        folder: The folder.
        split: Which file of `qrels/`.
        name: Name of the task; the folder's name if None.
        keep: True for the ids of queries that are wanted; None keeps all.
        skip_empty: Leave empty documents out instead of refusing them.

    Returns:
        The task; its benchmark is `beir`.

    Raises:
        DataError: A file is missing, a line is broken, an id is unknown or occurs twice, or no query is left.
    """
    folder = Path(folder)
    corpus_file = _need(folder, "corpus")
    queries_file = _need(folder, "queries")
    qrels_file = _qrels_file(folder, split)
    corpus = documents_from(
        ((line, row) for line, row in read_jsonl(corpus_file)),
        _DOCUMENT,
        path=corpus_file,
        skip_empty=skip_empty,
    )
    queries, excluded = _read_queries(queries_file)
    relevance = _read_qrels(qrels_file, corpus=corpus, queries=queries)
    if keep is not None:
        relevance = {query: grades for query, grades in relevance.items() if keep(query)}
    if not relevance:
        raise DataError("no query is left to score", path=qrels_file, fix="check the split and the filter of queries")
    for query, grades in relevance.items():
        gold = (document for document, grade in grades.items() if grade > 0)
        check_disjoint(query, gold, excluded.get(query, ()), path=queries_file)
    kept = tuple(query for key, query in queries.items() if key in relevance)
    return RetrievalTask(
        name=name or folder.resolve().name,
        benchmark="beir",
        documents=corpus.documents,
        queries=kept,
        qrels=Qrels({query.id: relevance[query.id] for query in kept}),
        excluded={query.id: excluded[query.id] for query in kept if query.id in excluded},
        split=split,
    )


def read_ids(path: Path | str) -> frozenset[str]:
    """The ids in a text file, one a line; blank lines are skipped.

    Raises:
        DataError: No such file, not UTF-8, or no id in it.
    """
    ids = frozenset(line.strip() for _, line in read_lines(path) if line.strip())
    if not ids:
        raise DataError("no id in the file", path=path, fix="one id a line")
    return ids


def _need(folder: Path, stem: str) -> Path:
    if not folder.is_dir():
        raise DataError("no such folder", path=folder)
    found = find_file(folder, stem)
    if found is None:
        raise DataError(
            f"not a BEIR folder: {stem}.jsonl (or .jsonl.gz) is missing",
            path=folder, fix="the layout is corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv",
        )  # fmt: skip
    return found


def _qrels_file(folder: Path, split: str) -> Path:
    found = find_file(folder / "qrels", split, _TSV)
    if found is None:
        there = sorted({path.name.split(".tsv")[0] for path in (folder / "qrels").glob("*.tsv*")})
        raise DataError(
            f"no qrels of split {split!r}",
            path=folder / "qrels",
            fix=f"choose one of the splits here: {', '.join(there)}" if there else "add qrels/SPLIT.tsv",
        )
    return found


def _read_queries(path: Path) -> tuple[dict[str, Query], dict[str, frozenset[str]]]:
    queries: dict[str, Query] = {}
    excluded: dict[str, frozenset[str]] = {}
    for line, row in read_jsonl(path):
        query = query_from(row, _QUERY, queries, path=path, line=line)
        queries[query.id] = query
        if ids := id_list(row, "excluded_ids", path=path, line=line):
            excluded[query.id] = frozenset(ids)
    return queries, excluded


def _read_qrels(path: Path, *, corpus: Corpus, queries: Collection[str]) -> dict[str, dict[str, int]]:
    known = corpus.known()
    relevance: dict[str, dict[str, int]] = {}
    for line, text in read_lines(path):
        cells = text.split("\t")
        if not text.strip() or (line == 1 and cells[0].strip().lower() in ("query-id", "query_id", "qid")):
            continue
        query, document, grade = _judgement(cells, path=path, line=line)
        if query not in queries:
            raise DataError(
                f"unknown query {query!r}",
                path=path,
                line=line,
                fix="add it to queries.jsonl, or remove the line",
            )
        if document not in known:
            raise DataError(
                f"unknown document {document!r}",
                path=path,
                line=line,
                fix="add it to corpus.jsonl, or remove the line",
            )
        grades = relevance.setdefault(query, {})
        if grades.get(document, grade) != grade:
            raise DataError(
                f"query {query!r} and document {document!r} are judged twice, {grades[document]} and {grade}",
                path=path, line=line, fix="keep one of the two lines",
            )  # fmt: skip
        grades[document] = grade
    return relevance


def _judgement(cells: list[str], *, path: Path, line: int) -> tuple[str, str, int]:
    """Query, document and grade of one line."""
    fix = "query-id, tab, corpus-id, tab, whole number"
    if len(cells) != 3:
        raise DataError(f"3 columns were expected, found {len(cells)}", path=path, line=line, fix=fix)
    query, document, grade = (cell.strip() for cell in cells)
    try:
        return query, document, int(grade)
    except ValueError:
        raise DataError(f"the grade {grade[:40]!r} is no whole number", path=path, line=line, fix=fix) from None
