"""Answers kept in one SQLite file by the content of their request: what was paid for once is not asked again.

Gets keys and answers, gives answers. Written through a log (WAL) that is flushed to disk at every commit, so
that a kill or a power cut loses nothing committed; several processes may share a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from reasonembed.errors import DataError, StorageError
from reasonembed.llm.types import Answer, Request, TokenChoice

_VERSION = 1
_BUSY_S = 60.0
_FLOATS = ("temperature", "top_p", "repetition_penalty")
_OTHERS = ("top_k", "max_tokens", "stop", "seed", "top_logprobs", "schema")


def default_cache() -> Path:
    """`llm.sqlite` in `$REASONEMBED_CACHE`, else in `~/.cache/reasonembed`."""
    told = os.environ.get("REASONEMBED_CACHE")
    return (Path(told) if told else Path.home() / ".cache" / "reasonembed") / "llm.sqlite"


def request_key(described: str, request: Request) -> bytes:
    """SHA-256 of the canonical JSON of a request and of what answers it.

    Args:
        described: The backend's description as canonical JSON.
        request: Its messages, sampling and sample number all count.
    """
    sampling = request.sampling
    settings: dict[str, Any] = {name: getattr(sampling, name) for name in _OTHERS}
    for name in _FLOATS:  # 1 and 1.0 are the same temperature
        value = getattr(sampling, name)
        settings[name] = None if value is None else float(value)
    messages = [(message.role, message.content) for message in request.messages]
    return hashlib.sha256(f"{described}\n{canonical((messages, settings, request.sample))}".encode("ascii")).digest()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks, in ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict)


class AnswerCache:
    """The answers in one file.

    Args:
        path: Made, with its folder, if it is not there.

    Raises:
        DataError: The file is no cache of answers, or of another version.
        StorageError: It cannot be made or opened.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._reading, self._writing = threading.Lock(), threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{self.path}: cannot be opened: {error}. Fix: name another cache file") from error
        try:
            self._prepare()
            self._reader = self._connect()  # its own, so that reading never waits for the disk
        except BaseException:
            self._writer.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)

    def _prepare(self) -> None:
        execute = self._writer.execute
        try:
            execute("PRAGMA journal_mode = WAL")
            execute("PRAGMA synchronous = FULL")
            execute("BEGIN IMMEDIATE")
            version = execute("PRAGMA user_version").fetchone()[0]
            fresh = version == 0 and execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
            if fresh:
                execute("CREATE TABLE answers (key BLOB PRIMARY KEY, answer TEXT NOT NULL)")
                execute(f"PRAGMA user_version = {_VERSION}")
            execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self.path}: cannot be written: {error}. Fix: name another cache file") from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"no cache of answers: {error}", path=self.path, fix="name another file") from error
        if not fresh and version != _VERSION:
            raise DataError(f"no cache of answers of version {_VERSION}", path=self.path, fix="name another file")

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """Those of the keys that have an answer; an unreadable answer counts as none."""
        marks = ",".join("?" * len(keys))
        with self._reading:
            try:
                rows = self._reader.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", keys).fetchall()
            except sqlite3.Error as error:
                raise StorageError(f"{self.path}: cannot be read: {error}. Fix: name another cache file") from error
        found = {key: _from_json(text) for key, text in rows}
        return {key: answer for key, answer in found.items() if answer is not None}

    def put(self, answers: Iterable[tuple[bytes, Answer]]) -> None:
        """Store answers in one transaction; on return they are on disk.

        Raises:
            StorageError: The disk is full, or another process held the file for a minute.
        """
        rows = [(key, _to_json(answer)) for key, answer in answers]
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                self._writer.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
                self._writer.execute("COMMIT")
            except sqlite3.Error as error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise StorageError(f"{self.path}: {error}. Fix: free space, or name another cache file") from error

    def close(self) -> None:
        """Let go of the file."""
        with self._reading, self._writing:
            self._reader.close()
            self._writer.close()


def _to_json(answer: Answer) -> str:
    tokens = [(choice.token, choice.logprob, choice.top) for choice in answer.tokens]
    counts = (answer.prompt_tokens, answer.completion_tokens, round(answer.seconds, 3))
    return canonical([answer.text, answer.reasoning, answer.finish_reason, *counts, tokens])


def _from_json(stored: str) -> Answer | None:
    try:
        text, reasoning, finish, prompt, completion, seconds, tokens = json.loads(stored)
        choices = tuple(TokenChoice(token, p, tuple((other, q) for other, q in top)) for token, p, top in tokens)
    except (ValueError, TypeError):
        return None
    return Answer(text, reasoning, finish, prompt, completion, seconds, cached=True, tokens=choices)
