"""R2MED -> RetrievalTask: from folders of corpus, query and qrels, from the Hub, or from copies of that.

Rows: corpus `id`, `text`; query `id`, `text`; qrels `q_id`, `p_id`, `score`. Configurations and splits have
    these names too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reasonembed import protocols
from reasonembed.errors import DataError
from reasonembed.io.hub import hub_rows
from reasonembed.io.jsonl import read_jsonl
from reasonembed.io.rows import Corpus, Fields, Rows, documents_from, find_file, id_field, query_from
from reasonembed.types import Qrels, Query, RetrievalTask

HUB_ORGANISATION = "R2MED"
_FIELDS = Fields(id="id", text="text")


def r2med_tasks(source: Path | str, tasks: Sequence[str] = ()) -> tuple[str, ...]:
    """Which tasks a source has to offer.

    Args:
        source: `R2MED` (all tasks on the Hub), `R2MED/<Task>`, a folder of one task, or a folder of such
            folders.
        tasks: Names asked for; empty asks for all there are.

    Raises:
        DataError: An unknown task, or a folder that holds none.
    """
    wanted = tuple(protocols.resolve_task(task, "r2med") for task in tasks)
    folder = Path(source)
    if not folder.is_dir():
        _, slash, name = str(source).partition("/")
        return wanted or ((protocols.resolve_task(name, "r2med"),) if slash else protocols.R2MED_TASKS)
    there = tuple(task for task in protocols.R2MED_TASKS if (folder / task).is_dir())
    if there:
        return wanted or there
    if wanted:
        return wanted
    return (protocols.resolve_task(folder.resolve().name, "r2med"),)


def read_r2med(
    source: Path | str, task: str, *, skip_empty: bool = False, revision: str | None = None
) -> RetrievalTask:
    """Read one task of R2MED.

    Only queries that the qrels judge are kept, in the order of the query file.

    Args:
        source: See `r2med_tasks`. A folder of a task holds corpus.jsonl, query.jsonl and qrels.jsonl (`.gz`
            too), or is a copy of the Hub repository in another form that `datasets` reads.
        task: One of `protocols.R2MED_TASKS`.
        skip_empty: Leave empty documents out instead of refusing them.
        revision: Commit of the Hub repository.

    Returns:
        The task; its benchmark is `r2med`.

    Raises:
        DataError: A file or field is missing, a line is broken, an id is unknown or occurs twice, ...
        MissingExtraError: The source needs `datasets`, which is not installed.
    """
    place = _place(source, task)
    rows, at = _rows(place, "corpus", revision)
    corpus = documents_from(rows, _FIELDS, path=at, skip_empty=skip_empty)
    rows, at = _rows(place, "query", revision)
    queries: dict[str, Query] = {}
    for line, row in rows:
        query = query_from(row, _FIELDS, queries, path=at, line=line)
        queries[query.id] = query
    rows, at = _rows(place, "qrels", revision)
    relevance = _judgements(rows, corpus, queries, path=at)
    kept = tuple(query for key, query in queries.items() if key in relevance)
    return RetrievalTask(
        name=task,
        benchmark="r2med",
        documents=corpus.documents,
        queries=kept,
        qrels=Qrels({query.id: relevance[query.id] for query in kept}),
    )


def _place(source: Path | str, task: str) -> str:
    """The folder or Hub id of one task."""
    folder = Path(source)
    if folder.is_dir():
        return str(folder / task) if (folder / task).is_dir() else str(folder)
    if folder.is_absolute() or str(source).count("/") > 1:
        raise DataError("no such folder", path=str(source), fix=f"a folder, or the Hub's {HUB_ORGANISATION}")
    return f"{str(source).partition('/')[0]}/{task}"


def _rows(place: str, config: str, revision: str | None) -> tuple[Rows, str]:
    """The rows of a configuration and what to call their place."""
    file = find_file(Path(place), config) if Path(place).is_dir() else None
    if file is not None:
        return read_jsonl(file), str(file)
    # Every R2MED configuration has one split, of the configuration's own name (mteb @ a905523,
    # r2_med_retrieval.py).
    return hub_rows(place, config, config, revision=revision), f"{place} [{config}]"


def _judgements(rows: Rows, corpus: Corpus, queries: dict[str, Query], *, path: str) -> dict[str, dict[str, int]]:
    known = corpus.known()
    relevance: dict[str, dict[str, int]] = {}
    for line, row in rows:
        query = id_field(row, "q_id", path=path, line=line)
        document = id_field(row, "p_id", path=path, line=line)
        if query not in queries:
            raise DataError(f"unknown query {query!r}", path=path, line=line, fix="add it, or remove the judgement")
        if document not in known:
            raise DataError(
                f"unknown document {document!r}", path=path, line=line, fix="add it, or remove the judgement"
            )
        grade = row.get("score")
        if isinstance(grade, bool) or not isinstance(grade, (int, float)) or grade != int(grade):
            raise DataError(f"field 'score' must be a whole number, found {grade!r}", path=path, line=line)
        relevance.setdefault(query, {})[document] = int(grade)
    if not relevance:
        raise DataError("no judgement", path=path, fix="check that this is the qrels table")
    return relevance
