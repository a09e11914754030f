"""`reasonembed data`: training samples in files, checked, counted, compared with test sets, converted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reasonembed.cli import options
from reasonembed.errors import DataError

if TYPE_CHECKING:
    from reasonembed.dataset.leaks import Leak, LeakFinder
    from reasonembed.types import TrainingSample

app = typer.Typer(help="Training samples: check, count, compare with test sets, convert.", no_args_is_help=True)

SHOWN = 20
"""Problems and leaks that are printed; `--json` has all leaks."""
_TEXT_CHARS = 100

Files = Annotated[list[Path], typer.Argument(help="JSON-lines files of samples (.gz too), or folders of them.")]


@app.command()
def check(files: Files, json: options.Json = False) -> None:
    """Check every line of training samples; exit code 1 if one is wrong.

    A line is {"query", "pos": [...], "neg": [...]} and may have prompt, reasoning_query, pos_scores, neg_scores,
    train_group_size and batch_size; other fields are named and passed over.

    Example:  reasonembed data check run/5_samples/
    """
    from reasonembed.dataset.samples import FIELDS, sample_files, sample_from
    from reasonembed.io.jsonl import read_jsonl

    samples, other = 0, dict[str, int]()
    problems: list[str] = []
    for file in sample_files(files):
        try:
            for line, row in read_jsonl(file):
                for name in row.keys() - set(FIELDS):
                    other[name] = other.get(name, 0) + 1
                try:
                    sample_from(row, path=file, line=line)
                    samples += 1
                except DataError as error:
                    problems.append(str(error))
        except DataError as error:  # the rest of this file cannot be read
            problems.append(str(error))
    if json:
        options.echo_json({"samples": samples, "problems": problems, "other_fields": dict(sorted(other.items()))})
    else:
        for problem in problems[:SHOWN]:
            typer.echo(problem)
        more = f" (the first {SHOWN} above)" if len(problems) > SHOWN else ""
        typer.echo(f"{samples:,} samples are good, {len(problems):,} lines are not{more}")
        if other:
            typer.echo(f"fields passed over: {', '.join(f'{name} ({n:,})' for name, n in sorted(other.items()))}")
    if problems:
        raise typer.Exit(1)


@app.command()
def stats(files: Files, json: options.Json = False) -> None:
    """Count samples, passages, lengths and scores, a column a file.

    Example:  reasonembed data stats reason-embed-data/
    """
    from reasonembed.dataset.samples import dataset_name, read_samples, sample_files
    from reasonembed.dataset.statistics import statistics

    found = {str(file): (dataset_name(file), statistics(read_samples(file))) for file in sample_files(files)}
    if json:
        options.echo_json({"files": {file: {"name": name, **made.as_dict()} for file, (name, made) in found.items()}})
        return
    from rich.console import Console

    from reasonembed.evaluation.report import Table

    figures = [_figures(made.as_dict()) for _, made in found.values()]
    rows = tuple((name, *(column[name] for column in figures)) for name in figures[0])
    notes = ("lengths: mean, then least-median-95%-most",)
    Console().print(Table("", ("", *(name for name, _ in found.values())), rows, notes).rich())


def _figures(made: dict[str, Any]) -> dict[str, str]:
    """Statistics as words, in the order they are shown."""
    counts = ("samples", "positives", "negatives", "passages", "with_reasoning")
    doubts = ("without_negatives", "repeated_queries", "contradictions")
    spreads = ("pos", "neg", "query_words", "reasoning_words", "passage_chars")
    settings = ("scores", "train_group_size", "batch_size")
    return {
        **{name.replace("_", " "): f"{made[name]:,}" for name in counts},
        **{f"{name.replace('_', ' ')}": _spread(made[name]) for name in spreads},
        **{name.replace("_", " "): ", ".join(f"{key}: {n:,}" for key, n in made[name].items()) for name in settings},
        **{name.replace("_", " "): f"{made[name]:,}" for name in doubts},
    }


def _spread(value: dict[str, Any] | None) -> str:
    if value is None:
        return "-"
    return f"{value['mean']:,.1f}, {value['least']:,}-{value['median']:,}-{value['p95']:,}-{value['most']:,}"


@app.command()
def leaks(
    files: Files,
    against: Annotated[
        list[str],
        typer.Option(
            "--against", "-a", help="Test set: BEIR or BRIGHT folder or hub id, or a file of queries. Again for more."
        ),
    ],
    split: Annotated[str, typer.Option(help="Of BEIR folders.")] = "test",
    gold: Annotated[bool, typer.Option("--gold", help="Compare passages with the relevant documents too.")] = False,
    near: Annotated[float | None, typer.Option(help="Jaccard similarity that counts as nearly equal.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the files without what leaks.")] = None,
    json: options.Json = False,
) -> None:
    """Find training samples that hold what a test set asks: equal, nearly equal, or one within the other.

    Each leak is named: file, line, how alike, and which test text. Exit code 1 if there is one and nothing is written.

    Example:  reasonembed data leaks run/5_samples/ --against data/theoremqa -o clean/
    """
    from reasonembed.dataset.leaks import NEAR, LeakFinder, read_test_set
    from reasonembed.dataset.samples import sample_files, write_samples

    finder = LeakFinder(
        (read_test_set(place, split=split, gold=gold) for place in against), near=NEAR if near is None else near
    )
    found: list[tuple[Path, int, Leak]] = []
    kept = 0
    for file in sample_files(files):
        clean = _clean(file, finder, found)
        if out is None:
            kept += sum(1 for _ in clean)
            continue
        place = out / file.name.removesuffix(".gz")
        if place.resolve() == file.resolve():
            raise DataError("would replace its own input", path=file, fix="another folder for --out")
        kept += write_samples(place, clean)
    if json:
        rows = [{"file": str(file), "line": line, **asdict(leak)} for file, line, leak in found]
        options.echo_json({"test_texts": len(finder), "leaks": rows, "kept": kept, "out": out and str(out)})
    else:
        for file, line, leak in found[:SHOWN]:
            typer.echo(f"{file}:{line}: {leak.where} {leak.kind} {leak.similarity:.2f} {leak.test.place}")
            typer.echo(f"    {_short(leak.text)}\n    {_short(leak.test.text)}")
        more = f" (the first {SHOWN} above)" if len(found) > SHOWN else ""
        what = f"{out}: {kept:,} samples written" if out else f"{kept:,} samples stay"
        typer.echo(f"{len(found):,} leaks{more} of {len(finder):,} test texts; {what}")
    if found and out is None:
        raise typer.Exit(1)


def _clean(file: Path, finder: LeakFinder, found: list[tuple[Path, int, Leak]]) -> Iterator[TrainingSample]:
    """The samples of a file without what leaks, which is added to `found`."""
    from reasonembed.dataset.samples import numbered_samples

    for line, sample in numbered_samples(file):
        clean, leaking = finder.clean(sample)
        found += [(file, line, leak) for leak in leaking]
        if clean is not None:
            yield clean


def _short(text: str) -> str:
    """The beginning of a text on one line, without control characters."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 4 * _TEXT_CHARS]).split())
    return words if len(words) <= _TEXT_CHARS else words[:_TEXT_CHARS] + " ..."


@app.command()
def convert(
    files: Files,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; a folder for beir.")],
    to: Annotated[Literal["samples", "triplets", "beir"], typer.Option(help="Form to write.")] = "samples",
    source: Annotated[Literal["samples", "triplets"], typer.Option("--from", help="Form of the files.")] = "samples",
    json: options.Json = False,
) -> None:
    """Convert samples: to triplets for Sentence Transformers and back, to a BEIR folder, or several files to one.

    Triplets are {"anchor", "positive", "negative"}; they and BEIR folders hold no scores, instructions and reasoning.

    Example:  reasonembed data convert run/5_samples/ -o triplets.jsonl --to triplets
    """
    from reasonembed.dataset.convert import read_triplets, write_beir, write_triplets
    from reasonembed.dataset.samples import read_samples, sample_files, write_samples

    places = sample_files(files)
    if any(place.resolve() == out.resolve() for place in places):
        raise DataError("would replace its own input", path=out, fix="another name for --out")
    read = read_triplets if source == "triplets" else read_samples
    samples = itertools.chain.from_iterable(map(read, places))
    writers: dict[str, Callable[[Path, Iterator[TrainingSample]], int]] = {
        "samples": write_samples, "triplets": write_triplets, "beir": write_beir
    }  # fmt: skip
    written = writers[to](out, samples)
    if json:
        options.echo_json({"out": str(out), "form": to, "written": written})
    else:
        typer.echo(f"{out}: {written:,} {'rows' if to == 'triplets' else 'samples'}")
