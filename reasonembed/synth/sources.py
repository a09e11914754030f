"""Which documents queries are written from: of the right length, in no test set, of the domain, drawn by seed (paper.md 1.0, 1.1)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from reasonembed.errors import DataError
from reasonembed.io.jsonl import read_jsonl, read_lines
from reasonembed.io.rows import find_file, id_list
from reasonembed.llm.client import Llm
from reasonembed.llm.prompts import load_prompt, render
from reasonembed.llm.types import Answer, Request, Sampling, user
from reasonembed.synth.asking import Lost, ask_each, last_words
from reasonembed.synth.checks import normalised
from reasonembed.synth.config import SourcesConfig
from reasonembed.synth.documents import Documents
from reasonembed.synth.tasks import PROMPTS

DOMAIN_PROMPT = "prompts/queries/domain.txt"
_GOLD = ("gold_ids", "gold_ids_long", "excluded_ids")
_JUDGEMENTS = (".tsv", ".tsv.gz", ".trec", ".txt", ".qrels")
_MIN_BLOCK = 64


def held_out_ids(places: Sequence[Path]) -> frozenset[str]:
    """Ids of all documents that test sets name, relevant or excluded.

    Args:
        places: Folders in BEIR's layout (all of `qrels/`, and `excluded_ids` of the queries) or BRIGHT's (`examples`); files of
            judgements in BEIR's three columns or TREC's four; BRIGHT's examples as JSON lines.

    Raises:
        DataError: A path is none of these, or a row is broken.
    """
    found: set[str] = set()
    for place in places:
        files = _files(place)
        if not files:
            raise DataError(
                "neither judgements nor examples", path=place, fix="a BEIR or BRIGHT folder, .tsv or .jsonl"
            )
        for file in files:
            found.update(_judged(file) if file.name.endswith(_JUDGEMENTS) else _named(file))
    return frozenset(found)


def draw_sources(
    documents: Documents,
    config: SourcesConfig,
    *,
    seed: int,
    llm: Llm | None,
    losses: Counter[str],
    progress: bool = False,
) -> Iterator[tuple[str, Lost | None]]:
    """Draw the sources.

    Of documents with equal texts the first alone is eligible. With a domain the documents are judged in the drawn order until
    there are enough.

    Args:
        documents: The corpus.
        config: See `SourcesConfig`.
        seed: Of the drawing.
        llm: Judges the domain; may be None without one.
        losses: Gets added why documents are no sources: `too short`, `too long`, `in a test set`, `equal text`, `not drawn`.
        progress: Show a bar.

    Yields:
        (document id, None) for a source, (document id, `Lost`) for a document that the model was asked about in vain; in
        the order of drawing.

    Raises:
        DataError: A test set cannot be read, or a domain without a language model.
        LlmError: The model cannot be reached.
    """
    eligible = _eligible(documents, config, losses)
    random.Random(seed).shuffle(eligible)
    n = len(eligible) if config.n is None else min(config.n, len(eligible))
    if config.domain is None:
        losses["not drawn"] += len(eligible) - n
        yield from ((documents.ids[place], None) for place in eligible[:n])
        return
    if llm is None:
        raise DataError("sources.domain needs a language model", fix="give one, or remove `domain`")
    start, missing = 0, n
    while missing and start < len(eligible):
        block = eligible[start : start + max(missing, _MIN_BLOCK)]
        for place, lost in _in_domain(documents, block, config.domain, llm, progress):
            if lost is None and not missing:
                losses["not drawn"] += 1
                continue
            missing -= lost is None
            yield documents.ids[place], lost
        start += len(block)
    losses["not drawn"] += len(eligible[start:])


def domain_request(content: str, domain: str, attempt: int = 0) -> Request:
    """The question whether a document belongs to a domain (paper.md 1.0)."""
    text = render(load_prompt(PROMPTS, DOMAIN_PROMPT), content=content, domain=domain)
    return user(text, sampling=Sampling(temperature=0.0, max_tokens=16), sample=attempt)


def read_domain(answer: Answer) -> Lost | None:
    """None for a yes."""
    word = answer.text.strip(" \t\n*_\"'`.").lower()
    if word.startswith("yes"):
        return None
    return Lost("not of the domain" if word.startswith("no") else "unreadable", last_words(answer))


def _in_domain(
    documents: Documents, places: Sequence[int], domain: str, llm: Llm, progress: bool
) -> Iterator[tuple[int, Lost | None]]:
    def read(place: int, answer: Answer) -> bool | Lost:
        return read_domain(answer) or True

    def request(place: int, attempt: int) -> Request:
        return domain_request(documents[place].content, domain, attempt)

    asked = ask_each(
        llm,
        places,
        request=request,
        read=read,
        attempts=1,
        label="documents of the domain",
        total=len(places),
        progress=progress,
    )
    for place, outcome in asked:
        yield place, outcome if isinstance(outcome, Lost) else None


def _eligible(documents: Documents, config: SourcesConfig, losses: Counter[str]) -> list[int]:
    held_out = held_out_ids(config.exclude_qrels)
    places: list[int] = []
    texts: set[int] = set()
    for place, document in enumerate(documents):
        text = hash(normalised(document.text))
        if len(document.text) < config.min_chars:
            losses["too short"] += 1
        elif len(document.text) > config.max_chars:
            losses["too long"] += 1
        elif document.id in held_out:
            losses["in a test set"] += 1
        elif text in texts:
            losses["equal text"] += 1
        else:
            places.append(place)
            texts.add(text)
    return places


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise DataError("no such file or folder", path=place)
    examples = find_file(place, "examples")
    queries = find_file(place, "queries")
    judged = sorted(file for file in (place / "qrels").glob("*") if file.name.endswith(_JUDGEMENTS))
    return [*judged, *(file for file in (examples, queries if judged else None) if file is not None)]


def _judged(file: Path) -> Iterator[str]:
    """Document ids of judgements: `query document grade`, or TREC's `query 0 document grade`."""
    for line, text in read_lines(file):
        cells = text.split("\t") if "\t" in text else text.split()
        if not text.strip() or (line == 1 and cells[0].strip().lower() in ("query-id", "query_id", "qid")):
            continue
        if len(cells) not in (3, 4):
            raise DataError(f"3 or 4 columns were expected, found {len(cells)}", path=file, line=line)
        yield cells[-2].strip()


def _named(file: Path) -> Iterator[str]:
    """Document ids that rows of examples or queries name."""
    for line, row in read_jsonl(file):
        for name in _GOLD:
            yield from id_list(row, name, path=file, line=line)
