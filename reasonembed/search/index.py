"""An index folder: vectors, ids and texts of a corpus, and what is needed to ask it questions again.

    index.json        model, its fingerprint, how to open it, count, dim
    vectors.npy       (count, dim) float32, memory-mapped
    ids.json          ids in the same order
    documents.jsonl   {id, title, text} a line
    offsets.npy       (count + 1,) int64, the byte at which each line starts

`build_index` writes it whole or not at all; `open_index` refuses another model than the one that made it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError, MismatchError
from reasonembed.io.atomic import atomic_folder
from reasonembed.io.documents import Survey, read_documents, survey
from reasonembed.io.manifest import now, read_json, versions, write_json
from reasonembed.io.vectors import open_array, write_blocks, write_vectors
from reasonembed.progress import progress_bar
from reasonembed.search.exact import IDS_FILE, VECTORS_FILE, ExactSearcher
from reasonembed.types import Document, Hit

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

MANIFEST = "index.json"
DOCUMENTS = "documents.jsonl"
OFFSETS = "offsets.npy"
FORMAT = 1
REOPEN = frozenset(
    ("name_or_path", "revision", "engine", "dtype", "max_length", "pooling", "query_format", "instruction",
     "append_eos", "truncate_dim", "normalize")
)  # fmt: skip
"""Arguments of `Embedder` that an index may carry: none of them lets a foreign index run code."""
BLOCK = 1024
"""Documents encoded at a time while an index is built; bounds memory."""


@dataclass(frozen=True, slots=True)
class Found:
    """A hit with its document.

    Attributes:
        rank: From 1.
        score: Cosine.
        document: With title and text.
    """

    rank: int
    score: float
    document: Document


def build_index(
    inputs: Sequence[Path | str],
    out: Path | str,
    embedder: Embedder,
    *,
    opened_with: Mapping[str, Any] | None = None,
    skip_empty: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Encode documents and write an index folder; it replaces one that is there when it is whole.

    Args:
        inputs: JSON-lines files and BEIR folders; checked before encoding starts.
        out: The index folder.
        embedder: Makes the vectors.
        opened_with: Arguments that open this embedder again (`REOPEN`), kept in the index; engine and dtype
            are added. None keeps the directory of the embedder's checkpoint.
        skip_empty: Leave out empty documents instead of refusing them.
        progress: Show a progress bar.

    Returns:
        The manifest that was written.

    Raises:
        DataError: The input is wrong (file and line), or `out` is a folder that is no index.
        StorageError: The index could not be written whole; the old one stays.
    """
    out = Path(out)
    _refuse_foreign(out)
    found = survey(inputs, skip_empty=skip_empty)
    reopen = {"name_or_path": str(embedder.checkpoint.path)} if opened_with is None else dict(opened_with)
    before = embedder.n_truncated
    with atomic_folder(out) as folder, progress_bar("documents", found.count, show=progress) as tick:
        ids: list[str] = []
        offsets = [0]
        with (folder / DOCUMENTS).open("wb") as texts:

            def blocks() -> Iterator[npt.NDArray[np.float32]]:
                for documents in _batches(read_documents(found.files, skip_empty=skip_empty)):
                    for document in documents:
                        offsets.append(offsets[-1] + texts.write(_line(document)))
                        ids.append(document.id)
                    yield embedder.encode_corpus([document.content for document in documents])
                    tick(len(documents))

            write_vectors(folder / VECTORS_FILE, blocks(), count=found.count, dim=embedder.dim)
        write_json(folder / IDS_FILE, {"count": len(ids), "dim": embedder.dim, "ids": ids})
        with (folder / OFFSETS).open("wb") as file:
            write_blocks(file, [np.array(offsets, np.int64)], (len(offsets),), "int64")
        manifest = _manifest(embedder, found, reopen, embedder.n_truncated - before)
        write_json(folder / MANIFEST, manifest)
    return manifest


def open_index(
    folder: Path | str, *, embedder: Embedder | None = None, overrides: Mapping[str, Any] | None = None
) -> Index:
    """Open an index folder.

    Args:
        folder: As `build_index` wrote it.
        embedder: To ask with; None opens the one the index names when the first question comes.
        overrides: Arguments of `Embedder` that replace those kept in the index, e.g. `name_or_path` where the
            model moved.

    Raises:
        DataError: A file is missing or damaged.
        MismatchError: Files do not belong together, or the embedder is not the one that made the index.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError("no such index", path=folder, fix="make it with `reasonembed index FILES -o INDEX`")
    manifest = _read_manifest(folder)
    searcher = ExactSearcher.load(folder)
    offsets = open_array(folder / OFFSETS, ndim=1, dtype="int64")
    if not len(searcher) == len(offsets) - 1 == manifest["count"]:
        raise MismatchError(
            f"{folder}: {len(searcher)} vectors, {len(offsets) - 1} documents, {MANIFEST} says "
            f"{manifest['count']}. Fix: build the index again"
        )
    if searcher.dim != manifest["dim"]:
        raise MismatchError(
            f"{folder}: vectors have {searcher.dim} dimensions, {MANIFEST} says {manifest['dim']}. "
            "Fix: build the index again"
        )
    _check_texts(folder / DOCUMENTS, int(offsets[-1]))
    index = Index(folder, manifest, searcher, offsets, {**manifest["opened_with"], **(overrides or {})})
    if embedder is not None:
        index.use(embedder)
    return index


class Index:
    """An opened index; made by `open_index`.

    Attributes:
        folder: Where it is.
        manifest: What `index.json` says.
        searcher: The vectors.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        searcher: ExactSearcher,
        offsets: npt.NDArray[np.int64],
        opens_with: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.searcher = searcher
        self._offsets = offsets
        self._opens_with = opens_with
        self._embedder: Embedder | None = None

    def __len__(self) -> int:
        return len(self.searcher)

    @property
    def embedder(self) -> Embedder:
        """The model that made the index, opened on first use.

        Raises:
            MismatchError: It has changed since, or another one was named.
        """
        if self._embedder is None:
            from reasonembed.encode.embedder import Embedder

            self.use(Embedder(**self._opens_with))
        assert self._embedder is not None
        return self._embedder

    def use(self, embedder: Embedder) -> None:
        """Ask with this embedder.

        Raises:
            MismatchError: It is not the one that made the index.
        """
        if embedder.dim != self.searcher.dim:
            raise MismatchError(
                f"{self.folder}: vectors have {self.searcher.dim} dimensions, model {embedder.name} gives "
                f"{embedder.dim}. Fix: use {self.manifest['model']['model']}, or build the index again"
            )
        if embedder.fingerprint != self.manifest["model_fingerprint"]:
            raise MismatchError(
                f"{self.folder}: made by model {self.manifest['model']['model']} with fingerprint "
                f"{self.manifest['model_fingerprint']}, asked with {embedder.name} with fingerprint "
                f"{embedder.fingerprint}. Fix: open the model with the same weights and settings, "
                "or build the index again"
            )
        self._embedder = embedder

    def search(
        self, query: str, k: int = 10, *, instruction: str | None = None, exclude: Collection[str] = ()
    ) -> list[Found]:
        """Find the documents nearest to a question.

        Args:
            query: The question.
            k: Number of hits.
            instruction: What the task is; None takes the model's own.
            exclude: Ids that must not be found.

        Returns:
            At most k documents, cosine descending.

        Raises:
            DataError: k below 1, an empty question, or a damaged index.
            MismatchError: The model is not the one that made the index.
        """
        return self.search_many([query], k, instruction=instruction, exclude=[exclude])[0]

    def search_many(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        instruction: str | None = None,
        exclude: Sequence[Collection[str]] | None = None,
        progress: bool = False,
    ) -> list[list[Found]]:
        """`search` for many questions at once; `exclude` holds one collection of ids a question."""
        for number, query in enumerate(queries):
            if not query.strip():
                raise DataError(f"question {number} is empty", fix="ask something")
        vectors = self.embedder.encode_queries(list(queries), instruction=instruction, progress=progress)
        return [self._with_texts(hits) for hits in self.searcher.search(vectors, k, exclude)]

    def document(self, identifier: str) -> Document:
        """Read one document.

        Raises:
            DataError: The id is not in the index, or the file is damaged.
        """
        place = self.searcher.place_of(identifier)
        if place is None:
            raise DataError(f"no document {identifier!r}", path=self.folder)
        start, end = int(self._offsets[place]), int(self._offsets[place + 1])
        with (self.folder / DOCUMENTS).open("rb") as file:
            file.seek(start)
            raw = file.read(end - start)
        try:
            row = json.loads(raw)
            if row["id"] != identifier:
                raise ValueError(f"id {row['id']!r} stands where {identifier!r} should")
            return Document(row["id"], row["text"], row["title"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"damaged at byte {start}: {error}", path=self.folder / DOCUMENTS, fix="build the index again"
            ) from error

    def _with_texts(self, hits: Sequence[Hit]) -> list[Found]:
        return [Found(rank, hit.score, self.document(hit.id)) for rank, hit in enumerate(hits, start=1)]


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    for document in documents:
        batch.append(document)
        if len(batch) == BLOCK:
            yield batch
            batch = []
    if batch:
        yield batch


def _line(document: Document) -> bytes:
    row = {"id": document.id, "title": document.title, "text": document.text}
    return (json.dumps(row) + "\n").encode("ascii")


def _manifest(embedder: Embedder, found: Survey, reopen: Mapping[str, Any], n_truncated: int) -> dict[str, Any]:
    model_fingerprint = embedder.fingerprint
    return {
        "format": FORMAT, "count": found.count, "dim": embedder.dim, "model_fingerprint": model_fingerprint,
        "opened_with": {"engine": embedder.engine.name, "dtype": embedder.engine.dtype, **reopen},
        "model": embedder.describe(), "input_fingerprint": found.fingerprint,
        "files": [str(path) for path in found.files], "n_empty": found.n_empty,
        "n_truncated": n_truncated, "versions": versions(), "date": now(),
    }  # fmt: skip


def _refuse_foreign(out: Path) -> None:
    """Replacing a folder deletes it, so only an index or an empty folder may be replaced."""
    if out.exists() and not (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        raise DataError("exists and is no index; it would be deleted", path=out, fix="name a new folder with -o")


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"index format {manifest.get('format')!r}, this version reads {FORMAT}",
            path=folder / MANIFEST, fix="build the index again",
        )  # fmt: skip
    missing = {"count", "dim", "model_fingerprint", "opened_with", "model"} - manifest.keys()
    if missing:
        raise DataError(
            f"fields {', '.join(sorted(missing))} are missing",
            path=folder / MANIFEST,
            fix="build the index again",
        )
    foreign = set(manifest["opened_with"]) - REOPEN
    if foreign:
        raise DataError(
            f"opened_with holds {', '.join(sorted(foreign))}",
            path=folder / MANIFEST, fix=f"only {', '.join(sorted(REOPEN))} may stand there",
        )  # fmt: skip
    return manifest


def _check_texts(path: Path, size: int) -> None:
    if not path.exists():
        raise DataError("no such file", path=path, fix="the folder is incomplete; build the index again")
    if path.stat().st_size != size:
        raise DataError(
            f"holds {path.stat().st_size:,} bytes, {OFFSETS} says {size:,}",
            path=path,
            fix="build the index again",
        )
