"""The directory of a synthesis: what each stage wrote, what it was made with, and what a changed configuration makes stale.

    manifest.json         configuration, versions, and of each finished stage: settings, inputs, counts, losses, tokens, cost, time
    0_corpus/             the documents (`synth.documents`)
    1_sources.jsonl       {"id"}
    2_queries.jsonl       fields of `SynthQuery`
    3_candidates.jsonl    {"query", "candidates": [[document, score], ...]}, best first
    4_annotations.jsonl   fields of `Annotation`, a pair a line
    5_reasoning.jsonl     {"query", "reasoning"}, where it is asked for
    5_samples/NAME.jsonl  fields of `TrainingSample`
    llm_cache.sqlite      answers of the language model: a stage that was killed asks only for the rest
    failures.jsonl        {"stage", "id", "reason", "detail"} of every record that was lost

A stage file appears whole when its stage is finished, and holds no dates: the same configuration gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from reasonembed.errors import DataError
from reasonembed.io.jsonl import read_jsonl, write_jsonl
from reasonembed.io.manifest import differences, digest, now, read_json, versions, write_json
from reasonembed.synth.config import SynthConfig, parse_synth_config
from reasonembed.synth.documents import META, Documents, store_documents
from reasonembed.types import Annotation, SynthQuery

MANIFEST, CORPUS, CACHE, FAILURES = "manifest.json", "0_corpus", "llm_cache.sqlite", "failures.jsonl"
FORMAT = 1
STAGES = ("sources", "queries", "mine", "annotate", "reasoning", "samples")
_FILES = {
    "sources": "1_sources.jsonl", "queries": "2_queries.jsonl", "mine": "3_candidates.jsonl",
    "annotate": "4_annotations.jsonl", "reasoning": "5_reasoning.jsonl",
}  # fmt: skip
FOLLOWS: Mapping[str, tuple[str, ...]] = {
    "sources": (), "queries": ("sources",), "mine": ("queries",), "annotate": ("queries", "mine"),
    "reasoning": ("queries", "annotate"), "samples": ("queries", "annotate", "reasoning"),
}  # fmt: skip
"""Stage -> stages whose files it reads."""

State = Literal["done", "to do", "changed", "incomplete", "follows", "off"]


@dataclass(frozen=True, slots=True)
class Step:
    """What a run would do with a stage.

    Attributes:
        stage: Its name.
        state: `done`; `to do`, never finished; `changed`, finished with other settings or inputs; `incomplete`, finished without
            answers that the server failed to give; `follows`, finished, and made again if an earlier stage gives something
            else; `off`.
        why: What changed, or what is missing; empty if nothing.
        records: Records in its file now, which will be replaced unless it is `done`.
    """

    stage: str
    state: State
    why: str = ""
    records: int = 0


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a stage did.

    Attributes:
        stage: Its name.
        counts: What went in and came out, such as `queries`.
        losses: Reason -> records lost.
        unanswered: Losses that are the server's fault; with one the stage is done again by the next run, from the cache.
        requests: Asked of the language model.
        cached: Of these, answered before (by a run that was killed).
        prompt_tokens: Read for all of these, cached or not.
        completion_tokens: Generated for all of these.
        seconds: Wall time of the run that finished it.
        cost: At the configured price; None without one.
        llm: What answered; None if nothing was asked.
        details: More about the stage, such as its miners.
    """

    stage: str
    counts: Mapping[str, int] = field(default_factory=dict)
    losses: Mapping[str, int] = field(default_factory=dict)
    unanswered: int = 0
    requests: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cost: float | None = None
    llm: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A lost record, as failures.jsonl has it; `id` of a pair is `QUERY DOCUMENT`."""

    stage: str
    id: str
    reason: str
    detail: str


class Run:
    """The directory of one synthesis.

    Args:
        folder: Made when the first stage writes.
        config: None takes the one in its manifest.

    Raises:
        DataError: The folder is no run and holds other files, or has no manifest and no config is given.
    """

    def __init__(self, folder: Path | str, config: SynthConfig | None = None) -> None:
        self.folder = Path(folder)
        place = self.folder / MANIFEST
        if place.is_file():
            self._manifest = read_json(place)
            if self._manifest.get("format") != FORMAT:
                raise DataError(f"format {self._manifest.get('format')!r}, this version reads {FORMAT}", path=place)
        elif config is None:
            raise DataError("no synthesis: manifest.json is missing", path=self.folder, fix="name a run directory")
        elif self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise DataError("exists and is no synthesis", path=self.folder, fix="name a new folder")
        else:
            self._manifest = {"format": FORMAT, "stages": {}}
        self.config = config or parse_synth_config(self._manifest["config"], path=place)

    # --- files ----------------------------------------------------------------------------------------------------------

    def path(self, stage: str) -> Path:
        """File of a stage, there or not."""
        return self.folder / _FILES.get(stage, f"5_samples/{self.config.name}.jsonl")

    @property
    def cache(self) -> Path:
        """Answers of the language model."""
        return self.folder / CACHE

    @cached_property
    def documents(self) -> Documents:
        """The corpus.

        Raises:
            DataError: The first stage has not run.
        """
        return Documents(self.folder / CORPUS)

    def corpus_fingerprint(self) -> str | None:
        """Of the stored documents; None before the first stage, or where the configuration names other files."""
        meta = self.folder / CORPUS / META
        stored = read_json(meta) if meta.is_file() else {}
        wanted = [str(path.absolute()) for path in self.config.corpus]
        return stored.get("fingerprint") if stored.get("inputs") == wanted else None

    def store_corpus(self) -> None:
        """Copy the corpus into the run, unless it is there.

        Raises:
            DataError: There is no corpus.
        """
        if self.corpus_fingerprint() is None:
            self.__dict__.pop("documents", None)
            if not (self.folder / MANIFEST).is_file():
                self._write_manifest({})  # first of all, so that a run killed now is known as one
            store_documents([path.absolute() for path in self.config.corpus], self.folder / CORPUS)

    def sources(self) -> Iterator[str]:
        """Ids of the documents that queries are written from, in the order of the corpus."""
        return (row["id"] for _, row in self._rows("sources"))

    def queries(self) -> Iterator[SynthQuery]:
        """The queries, without their analyses, in the order of their sources."""
        return (SynthQuery(**{**row, "length": tuple(row["length"])}) for _, row in self._rows("queries"))

    def candidates(self) -> Iterator[tuple[str, list[tuple[str, float]]]]:
        """(query id, [(document id, score), ...] best first), in the order of the queries."""
        return ((row["query"], [(key, score) for key, score in row["candidates"]]) for _, row in self._rows("mine"))

    def annotations(self) -> Iterator[Annotation]:
        """The judged pairs, those of a query side by side, in the order of the queries."""
        return (Annotation(**{**row, "samples": tuple(row["samples"])}) for _, row in self._rows("annotate"))

    def reasonings(self) -> Iterator[tuple[str, str]]:
        """(query id, the query with its analysis), in the order of the queries; none where the stage is off."""
        if not self.config.reasoning.enabled:
            return iter(())
        return ((row["query"], row["reasoning"]) for _, row in self._rows("reasoning"))

    def failures(self) -> Iterator[Failure]:
        """Every record that was lost, by stage."""
        path = self.folder / FAILURES
        return (Failure(**row) for _, row in read_jsonl(path)) if path.exists() else iter(())

    def _rows(self, stage: str) -> Iterator[tuple[int, dict[str, Any]]]:
        if not self.path(stage).is_file():
            raise DataError(f"stage {stage!r} has not run", path=self.path(stage), fix=f"run {stage!r} first")
        return read_jsonl(self.path(stage))

    # --- the manifest ---------------------------------------------------------------------------------------------------

    def report(self, stage: str) -> StageReport | None:
        """What a finished stage did; None if it never finished."""
        record = self._manifest["stages"].get(stage)
        return None if record is None else StageReport(**record["report"])

    def output(self, stage: str) -> str | None:
        """SHA-256 of what a finished stage wrote; None if it never finished."""
        record = self._manifest["stages"].get(stage)
        return None if record is None else record["output"]

    def record(self, report: StageReport, settings: Mapping[str, Any], lost: list[Failure]) -> None:
        """Note that a stage has written its file.

        Args:
            report: What it did.
            settings: All that decided what it wrote.
            lost: The records it lost.
        """
        kept = (row for row in self.failures() if row.stage != report.stage)
        write_jsonl(
            self.folder / FAILURES, map(asdict, sorted([*kept, *lost], key=lambda row: STAGES.index(row.stage)))
        )
        stages = {**self._manifest["stages"], report.stage: {
            "finished": now(), "settings": settings, "output": digest(self.path(report.stage)), "report": asdict(report),
        }}  # fmt: skip
        self._write_manifest({stage: stages[stage] for stage in STAGES if stage in stages})

    def _write_manifest(self, stages: Mapping[str, Any]) -> None:
        config = self.config.model_dump(mode="json")
        self._manifest = {"format": FORMAT, "config": config, "versions": versions(), "stages": dict(stages)}
        write_json(self.folder / MANIFEST, self._manifest)

    def step(self, stage: str, settings: Mapping[str, Any]) -> Step:
        """What has become of one stage, by what would decide its file now."""
        if stage == "reasoning" and not self.config.reasoning.enabled:
            return Step(stage, "off")
        record = self._manifest["stages"].get(stage)
        if record is None or not self.path(stage).is_file():
            return Step(stage, "to do")
        records = record["report"]["counts"].get("written", 0)
        plain = json.loads(json.dumps(settings))
        if plain.get("llm", "") is None:  # a server whose only model is meant: nobody has asked it yet
            plain["llm"] = record["settings"].get("llm")
        if changed := differences(record["settings"], plain):
            return Step(stage, "changed", ", ".join(changed), records)
        if record["report"]["unanswered"]:
            return Step(stage, "incomplete", f"{record['report']['unanswered']:,} without an answer", records)
        return Step(stage, "done", records=records)
