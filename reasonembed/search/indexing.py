"""Builds an index folder from sources and an old one: reads what changed, drops near-duplicates, embeds what is new.

Everything is written beside the place of the index and swapped in at the end, so that a reader sees the old index or
the new one. Vectors made on the way outlive a killed run (`unfinished`).

Memory: some 300 bytes a passage (id, digest, position, duplicate groups), `BLOCK` texts and vectors, and the largest
file that is no named JSON-lines file; texts and vectors are memory-mapped. Disk, while it runs: the old index, the new
one, and the new vectors once more.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reasonembed.corpus.chunking import MIN_LIMIT
from reasonembed.corpus.duplicates import repeated
from reasonembed.errors import DataError, ReasonEmbedError
from reasonembed.io.atomic import atomic_folder
from reasonembed.io.manifest import fingerprint, now, versions, write_json
from reasonembed.io.vectors import open_vectors, write_vectors
from reasonembed.progress import progress_bar
from reasonembed.search.exact import IDS_FILE, VECTORS_FILE
from reasonembed.search.expanded_index import questions_of, write_expansion
from reasonembed.search.expansion import Question, identity
from reasonembed.search.index import FORMAT, MANIFEST, OFFSETS, REPORT, open_index, parse_line
from reasonembed.search.passage_files import (
    Passages,
    PassageWriter,
    SourceRow,
    Sources,
    open_passages,
    write_array,
)  # fmt: skip
from reasonembed.search.reading import (
    Inputs,
    Settings,
    find_inputs,
    old_batches,
    old_rows,
    read_source,
    reader_versions,
    unchanged,
)  # fmt: skip
from reasonembed.search.unfinished import Digests, VectorLog, sole_writer

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

logger = logging.getLogger(__name__)

BLOCK = 1024
"""Passages embedded at a time: bounds memory, and is what a kill costs at most."""
MAX_TOKENS = 512
"""Longest passage where nothing else is said, if the model takes as much: the passage length of the paper's training,
and one vector says less about a longer text."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Old:
    """What an index that is there gives to the next one.

    Attributes:
        manifest: Its index.json.
        sources: Its sources.json; None where its passages cannot be used, because other settings made them.
        passages: All its passages.
        digests: (count, 2), of the passages that have a vector.
        vectors: (count, dim) float32, memory-mapped.
    """

    manifest: Mapping[str, Any]
    sources: Sources | None
    passages: Passages
    digests: Digests
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Job:
    """What one run was asked for."""

    out: Path
    embedder: Embedder
    reopen: Mapping[str, Any]
    settings: Settings
    questions: Sequence[Question]
    progress: bool


def build(
    inputs: Sequence[Path | str],
    out: Path | str,
    embedder: Embedder,
    *,
    opened_with: Mapping[str, Any] | None,
    skip_empty: bool,
    max_tokens: int | None,
    full: bool,
    questions: Sequence[Question] | None,
    progress: bool,
) -> dict[str, Any]:
    """See `search.index.build_index`."""
    started = time.monotonic()
    limit = embedder.checkpoint.document_max_length
    wanted = min(limit, MAX_TOKENS) if max_tokens is None else max_tokens
    least = MIN_LIMIT + embedder.document_overhead
    if max_tokens is not None and not least <= wanted <= limit:
        raise DataError(f"max_tokens is {wanted}, model {embedder.name} takes {least} to {limit}", fix="choose another")
    reopen = {"name_or_path": str(embedder.checkpoint.path)} if opened_with is None else dict(opened_with)
    reopen = {"engine": embedder.engine.name, "dtype": embedder.engine.dtype, **reopen}
    settings = Settings(wanted, skip_empty, limit, reader_versions())
    place = Path(os.path.realpath(out))
    _refuse_foreign(place)
    if questions is None:
        questions = [] if full else questions_of(place)
    questions = list(dict.fromkeys(questions))  # one that stands twice is one, as in a file of them
    job = Job(place, embedder, reopen, settings, questions, progress)
    found = find_inputs(inputs, job.out)
    with sole_writer(job.out) as folder:
        log = VectorLog(folder, model=embedder.fingerprint, dim=embedder.dim, anew=full)
        old, rebuilt = (None, "--full was given") if full else _open_old(job)
        rows = _known_rows(found, old)
        if old is not None and _same(job, found, rows, old):
            return {**old.manifest, "run": _run(found, rows, old, 0, None, started, changed=False)}
        # which of its records a source lost to others depends on them
        rows = [None if row is not None and row.clashes else row for row in rows]
        return _build(job, found, rows, old, log, rebuilt=rebuilt, started=started)


def _build(
    job: Job, found: Inputs, known: Sequence[SourceRow | None], old: Old | None, log: VectorLog, *,
    rebuilt: str | None, started: float,
) -> dict[str, Any]:  # fmt: skip
    with atomic_folder(job.out) as folder:
        rows, passages = _read(job, found, known, old, folder)
        repeats = _repeats(rows, passages)
        kept = np.flatnonzero(repeats < 0)
        if not len(kept):
            raise _nothing(found, rows)
        offsets = np.stack([passages.lines[kept], passages.lines[kept + 1]], axis=1)  # (count, 2)
        digests = passages.digests[kept]
        encoded = _embed_missing(job, passages, kept, old, log)
        write_vectors(folder / VECTORS_FILE, _vectors(digests, old, log), count=len(kept), dim=job.embedder.dim)
        ids = [passages.ids[place] for place in kept.tolist()]
        write_json(folder / IDS_FILE, {"count": len(ids), "dim": job.embedder.dim, "ids": ids})
        write_array(folder / OFFSETS, offsets)
        Sources(asdict(job.settings), found.skipped, tuple(rows)).write(folder)
        content = fingerprint([passages.checksum, offsets.tobytes()])
        expansion = write_expansion(folder, job.embedder, job.questions, ids, progress=job.progress)
        manifest = {**_manifest(job, rows, passages, len(ids), content), "expansion": expansion}
        run = _run(found, known, old, encoded, rebuilt, started, changed=True)
        write_json(folder / REPORT, _report(found, rows, passages, repeats, manifest, run))
        write_json(folder / MANIFEST, manifest)
    return {**manifest, "run": run}


def _open_old(job: Job) -> tuple[Old | None, str | None]:
    """The index that is there, if it can give something, and why it gives nothing, or only vectors."""
    if not (job.out / MANIFEST).is_file():
        return None, None
    try:
        index = open_index(job.out)
        if index.manifest["model_fingerprint"] != job.embedder.fingerprint:
            return None, f"the index was made by another model, {index.manifest['model']['model']}"
        sources = Sources.read(job.out)
        passages = open_passages(job.out, sources.rows)
    except ReasonEmbedError as error:
        return None, f"the index that is there cannot be used: {error}"
    digests = passages.digests[np.searchsorted(passages.lines, index.offsets[:, 0])]
    vectors = open_vectors(job.out / VECTORS_FILE)
    if dict(sources.settings) != asdict(job.settings):
        changed = [name for name, value in asdict(job.settings).items() if sources.settings.get(name) != value]
        return Old(index.manifest, None, passages, digests, vectors), f"changed: {', '.join(changed)}"
    return Old(index.manifest, sources, passages, digests, vectors), None


def _known_rows(found: Inputs, old: Old | None) -> list[SourceRow | None]:
    """For each source its row, where it has not changed."""
    there = old_rows(old.sources) if old else {}
    return [unchanged(source, there[source.key][0] if source.key in there else None) for source in found.sources]


def _same(job: Job, found: Inputs, rows: Sequence[SourceRow | None], old: Old) -> bool:
    """Whether a new index would be the old one; new dates of the same files are noted in it."""
    sources = Sources(asdict(job.settings), found.skipped, tuple(row for row in rows if row is not None))
    if len(sources.rows) < len(rows) or dict(old.manifest["opened_with"]) != dict(job.reopen):
        return False
    if identity(job.questions) != (old.manifest.get("expansion") or {}).get("fingerprint"):
        return False
    if sources.undated() != (old.sources and old.sources.undated()):
        return False
    if sources != old.sources:
        sources.write(job.out)
    return True


def _read(
    job: Job, found: Inputs, known: Sequence[SourceRow | None], old: Old | None, folder: Path
) -> tuple[list[SourceRow], Passages]:
    """All passages, from their files or from the old index, written to the new one."""
    there = old_rows(old.sources) if old else {}
    rows: list[SourceRow] = []
    with (
        PassageWriter(folder) as writer,
        progress_bar("reading", len(found.sources), unit="files", show=job.progress) as tick,
    ):
        for source, row in zip(found.sources, known, strict=True):
            if row is not None and old is not None:
                _, first, first_signed = there[source.key]
                batches = old_batches(old.passages, first, first_signed, row)
                if clashing := [identifier for batch in batches for identifier in writer.add(batch)]:
                    row = _without(row, clashing, strict=source.key in found.strict)
            else:
                row = read_source(
                    source, writer, job.embedder, job.settings,
                    strict=source.key in found.strict, named=source.key in found.named,
                )  # fmt: skip
            rows.append(row)
            tick(1)
        return rows, writer.finish()


def _repeats(rows: Sequence[SourceRow], passages: Passages) -> npt.NDArray[np.int64]:
    """(n_passages,) int64: the earlier passage that each repeats, -1 where it is kept."""
    signed = np.repeat([row.signed for row in rows], [row.passages for row in rows])
    places = np.flatnonzero(signed)
    found = repeated(passages.signatures)
    repeats = np.full(len(passages.ids), -1, np.int64)
    repeats[places] = np.where(found >= 0, places[found], -1) if len(places) else found
    return repeats


def _embed_missing(job: Job, passages: Passages, kept: npt.NDArray[np.int64], old: Old | None, log: VectorLog) -> int:
    """Append to the log a vector for each text that has none yet; how many."""
    digests = passages.digests[kept]
    known = find_digests(log.read()[0], digests) >= 0
    if old is not None:
        known |= find_digests(old.digests, digests) >= 0
    missing = kept[~known]
    _, first = np.unique(passages.digests[missing], axis=0, return_index=True)
    todo = missing[np.sort(first)]
    with progress_bar("embedding", len(todo), unit="passages", show=job.progress) as tick:
        for start in range(0, len(todo), BLOCK):
            block = todo[start : start + BLOCK]
            contents = [parse_line(passages.line(place)).content for place in block.tolist()]
            log.append(passages.digests[block], job.embedder.encode_corpus(contents))
            tick(len(block))
    return len(todo)


def _vectors(digests: Digests, old: Old | None, log: VectorLog) -> Iterator[Vectors]:
    """The vectors of all kept passages, in order, by blocks."""
    log_digests, log_vectors = log.read()
    logged = find_digests(log_digests, digests)
    before = find_digests(old.digests, digests) if old is not None else np.full(len(digests), -1)
    for start in range(0, len(digests), BLOCK):
        rows, old_places = logged[start : start + BLOCK], before[start : start + BLOCK]
        block = np.empty((len(rows), log.dim), np.float32)
        block[rows >= 0] = log_vectors[rows[rows >= 0]]
        if old is not None:
            block[old_places >= 0] = old.vectors[old_places[old_places >= 0]]
        yield block


def find_digests(table: Digests, wanted: Digests) -> npt.NDArray[np.int64]:
    """Row of `table` that equals each wanted digest, -1 where there is none: (n, 2), (m, 2) uint64 -> (m,) int64."""
    if not len(table):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(table[:, 0], kind="stable")
    places = np.searchsorted(table[:, 0], wanted[:, 0], sorter=order)
    rows = order[np.minimum(places, len(table) - 1)]
    return np.where((table[rows] == wanted).all(axis=1), rows, -1)


def _without(row: SourceRow, clashing: Sequence[str], *, strict: bool) -> SourceRow:
    """The row of an unchanged source after an earlier one has taken ids of it."""
    if strict:
        raise DataError(
            f"document id {clashing[0]!r} occurs in an earlier file too",
            path=row.key,
            fix="give every document its own id",
        )
    skipped = [(f"{row.key} {identifier}", "the id occurs in an earlier file") for identifier in clashing]
    values = asdict(row) | {"passages": row.passages - len(clashing), "clashes": len(clashing)}
    return SourceRow(**values | {"skipped": (*row.skipped, *skipped)})


def _manifest(job: Job, rows: Sequence[SourceRow], passages: Passages, count: int, content: str) -> dict[str, Any]:
    model_fingerprint = job.embedder.fingerprint
    return {
        "format": FORMAT, "count": count, "dim": job.embedder.dim, "model_fingerprint": model_fingerprint,
        "content_fingerprint": content, "text_bytes": int(passages.lines[-1]), "opened_with": dict(job.reopen),
        "model": job.embedder.describe(), "max_tokens": job.settings.max_tokens, "files": len(rows),
        "n_characters": sum(row.characters for row in rows), "n_empty": sum(row.empty for row in rows),
        "n_truncated": sum(row.truncated for row in rows), "n_duplicates": len(passages.ids) - count,
        "versions": versions(), "date": now(),
    }  # fmt: skip


def _run(
    found: Inputs, known: Sequence[SourceRow | None], old: Old | None, encoded: int, rebuilt: str | None,
    started: float, *, changed: bool,
) -> dict[str, Any]:  # fmt: skip
    """What this run did."""
    kept = len(known) - known.count(None)
    before = {row.key for row in old.sources.rows} if old is not None and old.sources is not None else set()
    removed = before - {source.key for source in found.sources}
    return {
        "changed": changed, "files_read": len(known) - kept, "files_unchanged": kept,
        "files_removed": len(removed), "passages_embedded": encoded,
        "rebuilt": rebuilt, "seconds": round(time.monotonic() - started, 3),
    }  # fmt: skip


def _report(
    found: Inputs, rows: Sequence[SourceRow], passages: Passages, repeats: npt.NDArray[np.int64],
    manifest: Mapping[str, Any], run: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What was read, left out and why, in full."""
    kinds: dict[str, dict[str, int]] = {}
    for row in rows:
        total = kinds.setdefault(row.kind, {"files": 0, "passages": 0, "characters": 0})
        total["files"] += 1
        total["passages"] += row.passages
        total["characters"] += row.characters
    skipped = [*found.skipped, *(item for row in rows for item in row.skipped)]
    counts = ("count", "files", "n_characters", "n_empty", "n_truncated", "n_duplicates", "max_tokens", "date")
    return {
        **{name: manifest[name] for name in counts}, "run": dict(run), "kinds": kinds,
        "skipped": [{"place": place, "reason": reason} for place, reason in skipped],
        "duplicates": [
            {"id": passages.ids[place], "repeats": passages.ids[int(repeats[place])]}
            for place in np.flatnonzero(repeats >= 0).tolist()
        ],
    }  # fmt: skip


def _nothing(found: Inputs, rows: Sequence[SourceRow]) -> DataError:
    skipped = [*found.skipped, *(item for row in rows for item in row.skipped)]
    why = "".join(f"; {place}: {reason}" for place, reason in skipped[:3])
    return DataError(f"no document with text in {len(rows)} files{why}", fix="check what was named")


def _refuse_foreign(out: Path) -> None:
    """Replacing a folder deletes it, so only an index or an empty folder may be replaced."""
    if out.exists() and not (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        raise DataError("exists and is no index; it would be deleted", path=out, fix="name a new folder with -o")
