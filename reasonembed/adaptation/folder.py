"""The directory of an adaptation: where everything lies, and a manifest of settings, decisions and finished steps.

    manifest.json           settings; decisions, each taken once; seconds and counts of the finished steps; the result
    index/                  of the starting model, at the end of the better one
    corpus.jsonl            all passages; train.jsonl those of training documents
    pairs.jsonl             the user's pairs, with their part
    heldout/dev.jsonl, ...  held-out passages, and beside each file the synthesis of questions from them
    dev/ test/              BEIR folders over all passages
    synth/                  synthesis over train.jsonl
    data/                   training samples: synth.jsonl, pairs.jsonl
    training/               run directory of the training
    scores/before, after, before-expanded, after-expanded, bm25
    llm.sqlite              answers of the language model
    report.html

A step is noted when all it writes is in its place, so a run that was killed goes on with the step it was in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reasonembed.adaptation.config import AdaptConfig
from reasonembed.errors import DataError, MismatchError
from reasonembed.io.manifest import differences, digest, now, read_json, versions, write_json

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
FORMAT = 1
_FREE = {"llm", "hours", "budget_requests"}
"""Settings that decide nothing by themselves: the place may move, and a budget is spent by decisions, which are kept."""


class Folder:
    """The directory of one adaptation.

    Args:
        path: Made if it is not there.
        docs: Files and folders of documents.
        config: What is wanted.
        asks: Whether there is a language model.

    Attributes:
        path: Absolute.
        result: Of a finished adaptation, else None.

    Raises:
        DataError: It holds something else.
        MismatchError: It holds an adaptation with other settings.
    """

    def __init__(self, path: Path, docs: Sequence[Path | str], config: AdaptConfig, *, asks: bool) -> None:
        self.path = path.absolute()
        settings = {
            "docs": [str(Path(place).absolute()) for place in docs], **config.model_dump(mode="json", exclude=_FREE),
            "language model": asks, "pairs": None if config.pairs is None else _digest(config.pairs),
        }  # fmt: skip
        place = self.path / MANIFEST
        if place.is_file():
            self._manifest = read_json(place)
            self._check(settings)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise DataError("exists and is no adaptation", path=path, fix="name a new folder")
        else:
            self._manifest = {
                "format": FORMAT, "settings": settings, "versions": versions(), "started": now(), "decisions": {}, "steps": {},
            }  # fmt: skip

    def _check(self, settings: Mapping[str, Any]) -> None:
        if self._manifest.get("format") != FORMAT:
            problem = f"format {self._manifest.get('format')!r}, this version reads {FORMAT}"
            raise DataError(problem, path=self.path / MANIFEST, fix="name a new folder")
        if changed := differences(self._manifest["settings"], dict(settings)):
            raise MismatchError(
                f"{self.path} holds an adaptation that differs in {', '.join(changed)}. Fix: name a new folder, or set it back"
            )

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def result(self) -> dict[str, Any] | None:
        """Of a finished adaptation."""
        found: dict[str, Any] | None = self._manifest.get("result")
        return found

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was begun with."""
        found: Mapping[str, Any] = self._manifest["settings"]
        return found

    @property
    def decisions(self) -> Mapping[str, Any]:
        """What was decided, by name."""
        found: Mapping[str, Any] = self._manifest["decisions"]
        return found

    @property
    def steps(self) -> Mapping[str, Mapping[str, Any]]:
        """Name -> `seconds`, `finished` and what it counted, in the order they were done."""
        found: Mapping[str, Mapping[str, Any]] = self._manifest["steps"]
        return found

    def step(self, name: str, work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Do a step, unless it is done; what it counts is kept.

        Args:
            name: Of the step.
            work: Does it, from the start or from where it was stopped.

        Returns:
            What `work` gave, now or before.
        """
        if name not in self.steps:
            if not (self.path / MANIFEST).is_file():
                self._write()  # first of all, so that a run killed now is known as one
            started = time.perf_counter()
            counts = dict(work())
            seconds = round(time.perf_counter() - started, 3)
            self._manifest["steps"][name] = {**counts, "seconds": seconds, "finished": now()}
            self._write()
            logger.info("%s: done in %.1f s", name, seconds)
        return self.steps[name]

    def decide(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Decide something once; a run that goes on takes what was decided."""
        if name not in self.decisions:
            self._manifest["decisions"][name] = make()
            self._write()
        made: dict[str, Any] = self.decisions[name]
        return made

    def finish(self, result: Mapping[str, Any]) -> None:
        """Note the result."""
        self._manifest |= {"result": dict(result), "finished": now()}
        self._write()

    def _write(self) -> None:
        write_json(self.path / MANIFEST, self._manifest)


def _digest(path: Path) -> str:
    if not path.is_file():
        raise DataError("no such file", path=path, fix="name a CSV or JSON-lines file of pairs")
    return digest(path)
