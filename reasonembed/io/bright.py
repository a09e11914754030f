"""BRIGHT -> RetrievalTask: from a folder of one task, from the Hub dataset, or from a local copy of that.

A row of documents has `id` and `content`; a row of examples has `query`, `id`, `gold_ids`, `gold_ids_long`,
`excluded_ids`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reasonembed import protocols
from reasonembed.errors import DataError
from reasonembed.io.hub import hub_rows
from reasonembed.io.jsonl import read_jsonl
from reasonembed.io.rows import (
    Corpus,
    Fields,
    Rows,
    check_disjoint,
    documents_from,
    find_file,
    id_list,
    query_from,
)
from reasonembed.types import Qrels, Query, RetrievalTask

HUB_ID = "xlangai/BRIGHT"
_DOCUMENT = Fields(id="id", text="content")
_QUERY = Fields(id="id", text="query")


def bright_tasks(source: Path | str, tasks: Sequence[str] = (), *, long: bool = False) -> tuple[str, ...]:
    """Which tasks a source has to offer.

    Args:
        source: A folder of one task, a local copy of the Hub dataset, or its id.
        tasks: Names asked for; empty asks for all.
        long: The tasks with long documents.

    Returns:
        Names for `read_bright`: of a folder of one task its own (`bright_leetcode` is `leetcode`), or the one
        asked for.

    Raises:
        DataError: An unknown task, or several tasks asked of a folder of one.
    """
    folder = _task_folder(source)
    if folder is None:
        wanted = tasks or protocols.task_names("bright", long=long)
        return tuple(protocols.resolve_task(task, "bright", long=long) for task in wanted)
    if len(tasks) > 1:
        raise DataError(
            f"a folder of one task cannot give {', '.join(tasks)}", path=folder, fix="name at most one task"
        )
    name = protocols.canonical(tasks[0] if tasks else folder.resolve().name)
    return (name.removeprefix("bright_"),)


def read_bright(
    source: Path | str,
    task: str,
    *,
    long: bool = False,
    queries: str = "examples",
    skip_empty: bool = False,
    revision: str | None = None,
) -> RetrievalTask:
    """Read one task of BRIGHT.

    Every gold id must be a document of the corpus. An excluded id need not: a cut-down corpus (such as
    LeetCode without its distractors) excludes documents that it does not have, and they cannot be retrieved
    anyway. Repeated gold ids count once (the Hub's theoremqa_questions repeats some). A query without a gold
    document is refused.

    Args:
        source: A folder with documents.jsonl and examples.jsonl (or long_documents.jsonl; `.gz` too), the Hub
            id `xlangai/BRIGHT`, or the path of a local copy of that repository.
        task: Such as `biology`.
        long: Search the long documents; gold ids are then those of `gold_ids_long`.
        queries: Which wording of the queries: `examples` (the original) or a rewritten one such as
            `gpt4_reason`.
        skip_empty: Leave empty documents out instead of refusing them.
        revision: Commit of the Hub repository.

    Returns:
        The task; its benchmark is `bright`, or `bright-long`, its split the wording of the queries.

    Raises:
        DataError: A file or field is missing, a line is broken, an id is unknown or occurs twice, ...
        MissingExtraError: The source is not a folder of one task, and `datasets` is not installed.
    """
    config = "long_documents" if long else "documents"
    document_rows, documents_at = _rows(source, config, task, revision)
    corpus = documents_from(document_rows, _DOCUMENT, path=documents_at, skip_empty=skip_empty)
    query_rows, queries_at = _rows(source, queries, task, revision)
    found, relevance, excluded = _examples(query_rows, corpus, "gold_ids_long" if long else "gold_ids", path=queries_at)
    return RetrievalTask(
        name=task,
        benchmark="bright-long" if long else "bright",
        documents=corpus.documents,
        queries=tuple(found.values()),
        qrels=Qrels(relevance),
        excluded=excluded,
        split=queries,
    )


def _task_folder(source: Path | str) -> Path | None:
    """The folder, if the source is a folder of one task."""
    folder = Path(source)
    names = ("documents", "long_documents")
    return folder if folder.is_dir() and any(find_file(folder, name) for name in names) else None


def _rows(source: Path | str, config: str, task: str, revision: str | None) -> tuple[Rows, str]:
    """The rows of a configuration and what to call their place."""
    folder = _task_folder(source)
    if folder is None:
        if not Path(source).is_dir() and str(source).count("/") != 1:
            raise DataError("no such folder, and not a Hub id", path=str(source), fix=f"a folder, or {HUB_ID}")
        return hub_rows(str(source), config, task, revision=revision), f"{source} [{config}/{task}]"
    file = find_file(folder, config)
    if file is None:
        there = sorted(path.name for path in folder.glob("*.jsonl*"))
        raise DataError(f"{config}.jsonl (or .jsonl.gz) is missing", path=folder, fix=f"here are: {', '.join(there)}")
    return read_jsonl(file), str(file)


def _examples(
    rows: Rows, corpus: Corpus, gold_field: str, *, path: str
) -> tuple[dict[str, Query], dict[str, dict[str, int]], dict[str, frozenset[str]]]:
    """Queries, judgements (grade 1) and excluded ids, by query id."""
    known = corpus.known()
    queries: dict[str, Query] = {}
    relevance: dict[str, dict[str, int]] = {}
    excluded: dict[str, frozenset[str]] = {}
    for line, row in rows:
        query = query_from(row, _QUERY, queries, path=path, line=line)
        gold = id_list(row, gold_field, path=path, line=line)
        if not gold:
            raise DataError(
                f"query {query.id!r} has no relevant document in {gold_field!r}",
                path=path, line=line, fix="the task has no long form, or the row is incomplete",
            )  # fmt: skip
        for document in gold:
            if document not in known:
                fix = "add it to the documents, or remove it here"
                raise DataError(f"unknown document {document!r} in {gold_field!r}", path=path, line=line, fix=fix)
        queries[query.id] = query
        relevance[query.id] = dict.fromkeys(gold, 1)
        if banned := frozenset(id_list(row, "excluded_ids", path=path, line=line)):
            check_disjoint(query.id, gold, banned, path=path, line=line)
            excluded[query.id] = banned
    if not queries:
        raise DataError("no query", path=path, fix="check that this is the file of examples")
    return queries, relevance, excluded
