"""An index folder: vectors, ids and texts of a corpus, and what is needed to ask it questions again.

    index.json        model, its fingerprint, how to open it, count, dim
    vectors.npy       (count, dim) float32, memory-mapped
    ids.json          ids in the same order
    documents.jsonl   {id, title, text} a line; near-duplicates that were left out stand there too
    offsets.npy       (count, 2) int64, the bytes at which the line of each document starts and ends
    questions.jsonl, expanded.npy    where documents were expanded by questions, see `expanded_index`
    report.json       what was read, left out and why
    sources.json, lines.npy, digests.npy, signatures.u32    for the next build, see `passage_files`

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

from reasonembed.errors import DataError, MismatchError, ReasonEmbedError
from reasonembed.io.manifest import read_json
from reasonembed.io.vectors import open_array
from reasonembed.search.exact import VECTORS_FILE, ExactSearcher
from reasonembed.types import Document, Hit

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder
    from reasonembed.search.expansion import Question

MANIFEST = "index.json"
DOCUMENTS = "documents.jsonl"
OFFSETS = "offsets.npy"
REPORT = "report.json"
EXPANDED = "expanded.npy"
QUESTIONS = "questions.jsonl"
FORMAT = 2
REOPEN = frozenset(
    ("name_or_path", "revision", "engine", "dtype", "max_length", "pooling", "query_format", "instruction",
     "append_eos", "truncate_dim", "normalize")
)  # fmt: skip
"""Arguments of `Embedder` that an index may carry: none of them lets a foreign index run code."""
_NEEDED = frozenset(("count", "dim", "model_fingerprint", "content_fingerprint", "text_bytes", "opened_with", "model"))


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
    max_tokens: int | None = None,
    full: bool = False,
    questions: Sequence[Question] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Make an index of documents, or bring one up to date; it replaces the one that is there when it is whole.

    A second run reads only files whose size or date and then content have changed, embeds only texts that have no
    vector yet, and leaves out what is gone; the result is the index that a first run over the same files makes.
    Another model, length of passages or version of reasonembed makes it read everything again.

    Near-duplicates among the passages of prose (not records) are left out, the first is kept.

    Args:
        inputs: Files and folders of documents. A named JSON-lines file or benchmark folder is checked, and
            refused where it is wrong, before encoding starts; in other folders, what cannot be read is left out
            and told in `report.json`.
        out: The index folder.
        embedder: Makes the vectors.
        opened_with: Arguments that open this embedder again (`REOPEN`), kept in the index; engine and dtype
            are added. None keeps the directory of the embedder's checkpoint.
        skip_empty: Leave out empty documents of named JSON-lines files instead of refusing them.
        max_tokens: Longest passage of prose; None takes the model's limit, at most 512.
        full: Make everything again.
        questions: Questions that the documents answer, by which their vectors are expanded (`search.expansion`).
            None keeps those of the index that is there, but for `full`; an empty list drops them.
        progress: Show progress bars.

    Returns:
        The manifest that was written, and under `run` what this run did.

    Raises:
        DataError: The input is wrong (file and line), `out` is a folder that is no index, or no question is of
            a document that is there.
        MissingExtraError: A package that reads this kind of file is not installed.
        StorageError: Another process is building this index, or it could not be written whole; the old one stays.
    """
    from reasonembed.search.indexing import build

    return build(
        inputs, out, embedder, opened_with=opened_with, skip_empty=skip_empty, max_tokens=max_tokens, full=full,
        questions=questions, progress=progress,
    )  # fmt: skip


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
    index = _of_one_build(Path(folder), overrides or {})
    if embedder is not None:
        index.use(embedder)
    return index


def _of_one_build(folder: Path, overrides: Mapping[str, Any]) -> Index:
    """Open again where the folder was replaced meanwhile, so that no files of two indexes come together."""
    while (before := _identity(folder)) is not None:
        try:
            index = _open(folder, overrides)
        except (ReasonEmbedError, OSError):
            if _identity(folder) == before:
                raise
            continue
        if _identity(folder) == before:
            return index
    raise DataError("no such index", path=folder, fix="make it with `reasonembed index FILES -o INDEX`")


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from the one that replaced it; None where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if folder.is_dir() else None


def _open(folder: Path, overrides: Mapping[str, Any]) -> Index:
    manifest = _read_manifest(folder)
    searcher = ExactSearcher.load(folder, vectors_file=EXPANDED if manifest.get("expansion") else VECTORS_FILE)
    offsets = open_array(folder / OFFSETS, ndim=2, dtype="int64")
    if not len(searcher) == len(offsets) == manifest["count"]:
        raise MismatchError(
            f"{folder}: {len(searcher)} vectors, {len(offsets)} documents, {MANIFEST} says "
            f"{manifest['count']}. Fix: build the index again"
        )
    if searcher.dim != manifest["dim"]:
        raise MismatchError(
            f"{folder}: vectors have {searcher.dim} dimensions, {MANIFEST} says {manifest['dim']}. "
            "Fix: build the index again"
        )
    texts = _open_texts(folder / DOCUMENTS, manifest["text_bytes"])
    return Index(folder, manifest, searcher, offsets, texts, {**manifest["opened_with"], **overrides})


class Index:
    """An opened index; made by `open_index`.

    Attributes:
        folder: Where it is.
        manifest: What `index.json` says.
        searcher: The vectors.
        offsets: (count, 2) int64, where the line of each document starts and ends in `documents.jsonl`.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        searcher: ExactSearcher,
        offsets: npt.NDArray[np.int64],
        texts: npt.NDArray[np.uint8],
        opens_with: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.searcher = searcher
        self.offsets = offsets
        self._texts = texts
        self._opens_with = opens_with
        self._embedder: Embedder | None = None

    def __len__(self) -> int:
        return len(self.searcher)

    @property
    def ids(self) -> Sequence[str]:
        """Ids in the order of the vectors."""
        return self.searcher.ids

    @property
    def fingerprint(self) -> str:
        """32 hex digits over ids, titles and texts in order; whatever is made of them is valid as long as it stays."""
        return str(self.manifest["content_fingerprint"])

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
        return self._read(place)

    def texts(self) -> Iterator[Document]:
        """The documents in the order of the vectors, one at a time.

        Raises:
            DataError: The file is damaged.
        """
        return map(self._read, range(len(self)))

    def _read(self, place: int) -> Document:
        start, end = self.offsets[place].tolist()
        expected = self.searcher.ids[place]
        try:
            document = parse_line(self._texts[start:end].tobytes())
            if document.id != expected:
                raise ValueError(f"id {document.id!r} stands where {expected!r} should")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"damaged at byte {start}: {error}", path=self.folder / DOCUMENTS, fix="build the index again"
            ) from error
        return document

    def _with_texts(self, hits: Sequence[Hit]) -> list[Found]:
        return [Found(rank, hit.score, self.document(hit.id)) for rank, hit in enumerate(hits, start=1)]


def parse_line(line: bytes) -> Document:
    """A document from its line of `documents.jsonl`.

    Raises:
        ValueError: The line is no JSON.
        KeyError: A field is missing.
        TypeError: It is no object.
    """
    row = json.loads(line)
    return Document(row["id"], row["text"], row["title"])


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"index format {manifest.get('format')!r}, this version reads {FORMAT}",
            path=folder / MANIFEST, fix="build the index again",
        )  # fmt: skip
    missing = _NEEDED - manifest.keys()
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


def _open_texts(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """The bytes of the texts, memory-mapped: they stay readable when the index is replaced."""
    if not path.exists():
        raise DataError("no such file", path=path, fix="the folder is incomplete; build the index again")
    if path.stat().st_size != size or not size:
        raise DataError(
            f"holds {path.stat().st_size:,} bytes, {MANIFEST} says {size:,}", path=path, fix="build the index again"
        )
    return np.asarray(np.memmap(path, np.uint8, "r"))
