"""`reasonembed synth`: training data from a corpus and a language model; the whole run or one stage, its cost before, its report after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reasonembed.cli import options

if TYPE_CHECKING:
    from reasonembed.evaluation.report import Table
    from reasonembed.synth.config import SynthConfig
    from reasonembed.synth.estimate import Estimate
    from reasonembed.synth.run import Run, StageReport
    from reasonembed.types import Annotation

app = typer.Typer(
    help="Training data that cannot be solved by matching words: queries, candidates, judgements, samples.",
    no_args_is_help=True,
)

Config = Annotated[str, typer.Argument(help="YAML file, or the name of a recipe that ships (docs/synth.md).")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run directory; one that is there goes on.")]
Corpus = Annotated[
    list[Path] | None,
    typer.Option(
        "--corpus", help="Files and folders of documents, in place of those of the configuration; repeatable."
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="Run directory.")]

_STAGES = {
    "sources": "Choose the documents that queries are written from.",
    "queries": "Have queries written from the sources, under drawn conditions, and check them.",
    "mine": "Find the candidates of each query; the source and its like are left out.",
    "annotate": "Have the candidates judged from 1 to 5, with reasons.",
    "reasoning": "Have the queries analysed that become a sample, where the configuration asks for it.",
    "samples": "Label the judged pairs and write training samples.",
}


@app.command("run")
def run_all(
    config: Config,
    out: Out,
    corpus: Corpus = None,
    llm: options.LlmPlace = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Run a small sample and say what the whole will take, no more.")
    ] = False,
    sample: Annotated[int, typer.Option(min=4, help="Sources of --estimate.")] = 20,
    json: options.Json = False,
) -> None:
    """Make training samples; run it again after a stop, it goes on where it was. Writes report.html at the end.

    Finished stages are kept. What a changed configuration makes stale is named before it is made again.

    Example:  reasonembed synth run small --corpus docs/ -o runs/small --llm model.gguf --estimate

    Then:  reasonembed synth run small --corpus docs/ -o runs/small --llm model.gguf
    """
    from reasonembed.synth.estimate import estimate_run
    from reasonembed.synth.report import write_report
    from reasonembed.synth.run import synthesize

    loaded = _loaded(config, corpus, llm)
    if estimate:
        _show_estimate(estimate_run(loaded, out, sample=sample, progress=not json), json=json)
        return
    run = synthesize(loaded, out, progress=not json)
    page = write_report(run.folder)
    _show_run(run, json=json, page=page)


def _stage_command(stage: str, summary: str) -> Callable[..., None]:
    def command(
        config: Config, out: Out, corpus: Corpus = None, llm: options.LlmPlace = None, json: options.Json = False
    ) -> None:
        from reasonembed.synth.run import synthesize

        loaded = _loaded(config, corpus, llm)
        _show_run(synthesize(loaded, out, stages=[stage], progress=not json), json=json, only=stage)

    command.__doc__ = f"""{summary} The earlier stages must have run.

    Example:  reasonembed synth {stage} remix.yaml -o runs/remix
    """
    return command


for _name, _summary in _STAGES.items():
    app.command(_name)(_stage_command(_name, _summary))


@app.command()
def report(run: RunFolder, json: options.Json = False) -> None:
    """Write report.html of a run, finished or not: one file, no network.

    Example:  reasonembed synth report runs/theoremqa
    """
    from reasonembed.synth.findings import find_out, findings_dict
    from reasonembed.synth.report import write_report
    from reasonembed.synth.run import Run

    if json:
        options.echo_json(findings_dict(find_out(Run(run))))
    else:
        typer.echo(f"open {write_report(run)}")


@app.command()
def agreement(
    teacher: Annotated[Path, typer.Argument(help="Run directory or file of annotations of the one judge.")],
    student: Annotated[Path, typer.Argument(help="Of the other judge, over the same candidates.")],
    positives: Annotated[
        Path | None, typer.Option(help="Known positives: JSON lines {query, documents: [id, ...]}.")
    ] = None,
    json: options.Json = False,
) -> None:
    """How far two judges agree: exact, within 1, quadratic kappa; and AUC of each against known positives.

    Example:  reasonembed synth agreement runs/big-judge runs/small-judge
    """
    from reasonembed.synth.agreement import compare_judges

    known = None if positives is None else dict(_positives(positives))
    compared = compare_judges(_annotations(teacher), _annotations(student), positives=known)
    if json:
        options.echo_json(compared.as_dict())
        return
    agreed = compared.agreement
    kappa = "-" if agreed.kappa is None else f"{agreed.kappa:.3f}"
    typer.echo(
        f"{agreed.n:,} pairs judged by both ({compared.only_teacher:,} and {compared.only_student:,} by one alone)"
    )
    typer.echo(f"exact {agreed.exact:.1%}, within 1 {agreed.within_one:.1%}, quadratic kappa {kappa}")
    for name, apart in (("first", compared.teacher), ("second", compared.student)):
        if apart is not None:
            auc = "-" if apart.auc is None or apart.error is None else f"{apart.auc:.3f} ± {apart.error:.3f}"
            typer.echo(f"AUC of the {name}: {auc} ({apart.positives:,} positives, {apart.others:,} others)")


@app.command()
def distill(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: a chat a line.")],
    queries: Annotated[int | None, typer.Option(min=1, help="Queries drawn; default: 500, Retro*'s.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All queries instead.")] = False,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 42,
    json: options.Json = False,
) -> None:
    """Write the judgements of a run as chats that a cheaper judge can be fine-tuned on: a positive and a negative a query.

    Example:  reasonembed synth distill runs/theoremqa -o judge-sft.jsonl
    """
    from collections import Counter

    from reasonembed.io.jsonl import write_jsonl
    from reasonembed.synth.distill import QUERIES, distillation_rows
    from reasonembed.synth.run import Run
    from reasonembed.synth.tasks import writing_for

    opened = Run(run)
    config = opened.config
    texts = {query.id: query.text for query in opened.queries()}
    counts: Counter[str] = Counter()
    rows = distillation_rows(
        opened.annotations(),
        query_text=texts.__getitem__,
        document=opened.documents.get,
        settings=config.annotate.settings(config.seed),
        relevance=writing_for(config.task, config.kind).relevance,
        queries=None if everything else queries or QUERIES,
        seed=seed,
        counts=counts,
    )
    written = write_jsonl(out, rows)
    if json:
        options.echo_json({"out": str(out), "written": written, **counts})
    else:
        details = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())
        typer.echo(f"{out}: {written:,} chats ({details})")


def _loaded(config: str, corpus: list[Path] | None, llm: str | None) -> SynthConfig:
    """The configuration, with the corpus and the language model of the command line in place of its own."""
    from reasonembed.search.pipeline_config import LlmConfig
    from reasonembed.synth.config import load_synth_config

    loaded = load_synth_config(config)
    told: dict[str, object] = {"corpus": tuple(corpus)} if corpus else {}
    if llm is not None:
        told["llm"] = (loaded.llm or LlmConfig()).model_copy(update={"place": llm})
    return loaded.model_copy(update=told)


def _show_run(run: Run, *, json: bool, only: str | None = None, page: Path | None = None) -> None:
    from dataclasses import asdict

    from reasonembed.synth.run import STAGES

    stages = STAGES if only is None else (only,)
    reports = [report for stage in stages if (report := run.report(stage)) is not None]
    if json:
        made = {report.stage: asdict(report) for report in reports}
        options.echo_json({"run": str(run.folder), "stages": made, "report": None if page is None else str(page)})
        return
    from rich.console import Console

    Console().print(_run_table(reports).rich())
    for report in reports:
        if report.unanswered:
            typer.echo(
                f"stage {report.stage}: {report.unanswered:,} records without an answer; run it again to ask for them"
            )
    if page is not None:
        typer.echo(f"samples: {run.path('samples')}\nreport:  {page}")


def _run_table(reports: Iterable[StageReport]) -> Table:
    from reasonembed.evaluation.report import Table
    from reasonembed.pages.page import duration

    rows = [
        (
            report.stage,
            f"{report.counts.get('written', 0):,}",
            f"{sum(count for reason, count in report.losses.items() if reason != 'not drawn'):,}",
            f"{report.requests:,}",
            f"{report.prompt_tokens:,}",
            f"{report.completion_tokens:,}",
            "-" if report.cost is None else f"{report.cost:,.2f}",
            duration(report.seconds),
        )
        for report in reports
    ]
    return Table("", ("stage", "written", "lost", "requests", "read", "generated", "cost", "time"), tuple(rows))


def _show_estimate(made: Estimate, *, json: bool) -> None:
    if json:
        options.echo_json(made.as_dict())
        return
    from rich.console import Console

    Console().print(made.table().rich())


def _annotations(place: Path) -> Iterator[Annotation]:
    """The judgements of a run, or in a file."""
    from reasonembed.io.jsonl import read_jsonl
    from reasonembed.synth.run import Run
    from reasonembed.types import Annotation

    if place.is_dir():
        yield from Run(place).annotations()
        return
    for _, row in read_jsonl(place):
        yield Annotation(**{**row, "samples": tuple(row["samples"])})


def _positives(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    from reasonembed.io.jsonl import read_jsonl, text_field
    from reasonembed.io.rows import id_list

    for line, row in read_jsonl(path):
        yield text_field(row, "query", path=path, line=line), id_list(row, "documents", path=path, line=line)
