"""`reasonembed eval beir|bright|r2med`: retrieval benchmarks, scored under a named protocol."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reasonembed.cli.options import (
    Device,
    Dtype,
    Engine,
    Expansion,
    Json,
    LlmPlace,
    MaxLength,
    Model,
    PipelineName,
    Revision,
    SkipEmpty,
    TrustRemoteCode,
    echo_json,
    model_place,
)

if TYPE_CHECKING:
    from reasonembed.evaluation.published import Published
    from reasonembed.evaluation.retrievers import DenseRetriever, Retriever
    from reasonembed.evaluation.runner import Result
    from reasonembed.search.expansion import Question
    from reasonembed.search.pipeline import Pipeline
    from reasonembed.types import RetrievalTask

app = typer.Typer(no_args_is_help=True, help="Score a model, BM25 or a pipeline on BEIR folders, BRIGHT or R2MED.")

Bm25 = Annotated[
    str | None,
    typer.Option("--bm25", metavar="VARIANT", help="Score BM25 instead of a model: lucene or bright."),
]
Protocol = Annotated[str, typer.Option(help="Instructions, lengths, depth and metric: reasonembed, bright or mteb.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder for runs (.trec) and scores (.scores.json); one folder a system."),
]
Depth = Annotated[int | None, typer.Option("--k", min=1, help="Hits kept for each query; default: the protocol's.")]
Instruction = Annotated[
    str | None, typer.Option(help="Instruction of the queries instead of the protocol's; '' is none.")
]
Against = Annotated[
    str | None,
    typer.Option(
        metavar="ROW",
        help="Published row to stand beside: 'paper' (the same model's) or a name such as BM25.",
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor keep embeddings in the cache.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")]
Rewrites = Annotated[
    Path | None,
    typer.Option(
        help="Rewrites made before, by query id, instead of the pipeline's own (BRIGHT's files or JSON lines)."
    ),
]
Sample = Annotated[int | None, typer.Option(min=1, help="Score only so many queries, drawn at random.")]
Seed = Annotated[int, typer.Option(help="Of the sample.")]
Tasks = Annotated[str, typer.Option("--tasks", help="Names, separated by commas; default: all there are.")]


@dataclass(frozen=True, slots=True)
class _Options:
    """What the three commands have in common."""

    model: str | None
    bm25: str | None
    pipeline: str | None
    llm: str | None
    rewrites: Path | None
    sample: int | None
    seed: int
    protocol: str
    out: Path | None
    depth: int | None
    instruction: str | None
    max_length: int | None
    engine: str
    device: str | None
    dtype: str
    revision: str | None
    trust_remote_code: bool
    against: str | None
    no_cache: bool
    markdown: bool
    as_json: bool
    expansion: list[Path] | None = None


@app.command("beir")
def beir(
    folder: Annotated[Path, typer.Argument(help="corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, each plain or .gz.")],
    split: Annotated[str, typer.Option(help="Which file of qrels/.")] = "test",
    queries_file: Annotated[
        Path | None, typer.Option(help="Score only the queries whose ids stand in this file, one a line.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the task; default: the folder's.")] = None,
    expansion: Expansion = None,
    model: Model = None,
    bm25: Bm25 = None,
    pipeline: PipelineName = None,
    llm: LlmPlace = None,
    rewrites: Rewrites = None,
    sample: Sample = None,
    seed: Seed = 0,
    protocol: Protocol = "reasonembed",
    out: Out = None,
    k: Depth = None,
    instruction: Instruction = None,
    max_length: MaxLength = None,
    engine: Engine = "auto",
    device: Device = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    against: Against = None,
    no_cache: NoCache = False,
    skip_empty: SkipEmpty = False,
    markdown: Markdown = False,
    as_json: Json = False,
) -> None:
    """Score a folder in BEIR's layout.

    Example:  reasonembed eval beir scifact/ -o results/minilm

    With a pipeline:  reasonembed eval beir scifact/ --pipeline hybrid-rewrite-rerank --llm model.gguf --sample 50

    A folder whose judgements are one file for several sets is read with its split and a list of query ids:
    reasonembed eval beir stacks/ --split all --queries-file stacks-test.txt

    With documents expanded by questions that they answer (not those that are scored):
    reasonembed eval beir theoremqa/ --expansion synth/2_queries.jsonl
    """
    from reasonembed.io.beir import read_beir, read_ids

    options = _Options(
        model, bm25, pipeline, llm, rewrites, sample, seed, protocol, out, k, instruction, max_length, engine, device,
        dtype, revision, trust_remote_code, against, no_cache, markdown, as_json, expansion,
    )  # fmt: skip
    wanted = None if queries_file is None else read_ids(queries_file)
    keep = None if wanted is None else wanted.__contains__
    _evaluate([lambda: read_beir(folder, split=split, name=name, keep=keep, skip_empty=skip_empty)], "beir", options)


@app.command("bright")
def bright(
    source: Annotated[
        str,
        typer.Argument(help="Folder with documents.jsonl and examples.jsonl, or xlangai/BRIGHT or a copy of it."),
    ] = "xlangai/BRIGHT",
    tasks: Tasks = "",
    long: Annotated[bool, typer.Option("--long", help="Search the long documents.")] = False,
    queries: Annotated[str, typer.Option(help="Wording of the queries: examples, gpt4_reason, ...")] = "examples",
    data_revision: Annotated[str | None, typer.Option(help="Commit of the data on the hub.")] = None,
    model: Model = None,
    bm25: Bm25 = None,
    pipeline: PipelineName = None,
    llm: LlmPlace = None,
    rewrites: Rewrites = None,
    sample: Sample = None,
    seed: Seed = 0,
    protocol: Protocol = "reasonembed",
    out: Out = None,
    k: Depth = None,
    instruction: Instruction = None,
    max_length: MaxLength = None,
    engine: Engine = "auto",
    device: Device = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    against: Against = None,
    no_cache: NoCache = False,
    skip_empty: SkipEmpty = False,
    markdown: Markdown = False,
    as_json: Json = False,
) -> None:
    """Score BRIGHT: twelve tasks with short documents, eight with long ones.

    Example:  reasonembed eval bright xlangai/BRIGHT --tasks biology,pony -o results/minilm --against BM25
    """
    from reasonembed.io.bright import bright_tasks, read_bright

    options = _Options(
        model, bm25, pipeline, llm, rewrites, sample, seed, protocol, out, k, instruction, max_length, engine, device,
        dtype, revision, trust_remote_code, against, no_cache, markdown, as_json,
    )  # fmt: skip

    def reader(task: str) -> Callable[[], RetrievalTask]:
        return lambda: read_bright(
            source, task, long=long, queries=queries, skip_empty=skip_empty, revision=data_revision
        )

    readers = [reader(task) for task in bright_tasks(source, _names(tasks), long=long)]
    _evaluate(readers, "bright-long" if long else "bright", options, queries=queries)


@app.command("r2med")
def r2med(
    source: Annotated[
        str,
        typer.Argument(help="R2MED or R2MED/<Task> on the hub, a folder of one task, or a folder of such folders."),
    ] = "R2MED",
    tasks: Tasks = "",
    data_revision: Annotated[str | None, typer.Option(help="Commit of the data on the hub.")] = None,
    model: Model = None,
    bm25: Bm25 = None,
    pipeline: PipelineName = None,
    llm: LlmPlace = None,
    rewrites: Rewrites = None,
    sample: Sample = None,
    seed: Seed = 0,
    protocol: Protocol = "reasonembed",
    out: Out = None,
    k: Depth = None,
    instruction: Instruction = None,
    max_length: MaxLength = None,
    engine: Engine = "auto",
    device: Device = None,
    dtype: Dtype = "auto",
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    against: Against = None,
    no_cache: NoCache = False,
    skip_empty: SkipEmpty = False,
    markdown: Markdown = False,
    as_json: Json = False,
) -> None:
    """Score R2MED: eight medical tasks.

    Example:  reasonembed eval r2med --tasks PMC-Clinical,Biology -o results/minilm --against paper
    """
    from reasonembed.io.r2med import r2med_tasks, read_r2med

    options = _Options(
        model, bm25, pipeline, llm, rewrites, sample, seed, protocol, out, k, instruction, max_length, engine, device,
        dtype, revision, trust_remote_code, against, no_cache, markdown, as_json,
    )  # fmt: skip

    def reader(task: str) -> Callable[[], RetrievalTask]:
        return lambda: read_r2med(source, task, skip_empty=skip_empty, revision=data_revision)

    _evaluate([reader(task) for task in r2med_tasks(source, _names(tasks))], "r2med", options)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _evaluate(
    readers: Iterable[Callable[[], RetrievalTask]],
    benchmark: str,
    options: _Options,
    *,
    queries: str = "examples",
) -> None:
    """Read and score one task after the other, then show them all; one task's data is in memory at a time."""
    from reasonembed.evaluation.published import find_published
    from reasonembed.evaluation.runner import evaluate

    with contextlib.ExitStack() as open_things:
        retriever = _retriever(options, open_things)
        published = None
        if options.against is not None:
            row = str(retriever.describe()["model"]) if options.against == "paper" else options.against
            published = find_published(row, benchmark, queries=queries)
        results = []
        for read in readers:
            result = evaluate(
                read(), retriever, protocol=options.protocol, instruction=options.instruction,
                max_length=options.max_length, depth=options.depth, out=options.out, sample=options.sample,
                seed=options.seed, progress=not options.as_json,
            )  # fmt: skip
            results.append(result)
            typer.echo(f"{result.label}: {result.metric} {100 * result.headline:.2f}", err=True)
    _show(results, published, options)


def _retriever(options: _Options, open_things: contextlib.ExitStack) -> Retriever:
    from reasonembed.evaluation.retrievers import BM25Retriever
    from reasonembed.search.expansion import read_questions

    if options.pipeline is None and (options.llm is not None or options.rewrites is not None):
        raise typer.BadParameter("--llm and --rewrites need a --pipeline")
    if options.bm25 is not None:
        if options.model is not None or options.pipeline is not None:
            raise typer.BadParameter("--bm25 and --model or --pipeline exclude each other")
        if options.bm25 not in ("lucene", "bright"):
            raise typer.BadParameter(f"--bm25 is {options.bm25!r}, choose lucene or bright")
    questions = read_questions(options.expansion) if options.expansion else ()
    if options.bm25 is not None:
        return BM25Retriever("bright" if options.bm25 == "bright" else "lucene", questions=questions)
    if options.pipeline is None:
        return _dense(options, questions)
    from reasonembed.evaluation.pipeline import PipelineRetriever, needs_embedder

    pipeline = open_things.enter_context(_pipeline(options.pipeline, options))
    dense = _dense(options, questions) if needs_embedder(pipeline) else None
    return PipelineRetriever(pipeline, dense, questions=questions)


def _dense(options: _Options, questions: Sequence[Question]) -> DenseRetriever:
    from reasonembed.encode.embedder import Embedder
    from reasonembed.evaluation.retrievers import DenseRetriever

    embedder = Embedder(
        model_place(options.model), engine=options.engine, device=options.device, dtype=options.dtype,
        revision=options.revision, trust_remote_code=options.trust_remote_code,
    )  # fmt: skip
    return DenseRetriever(embedder, cache=not options.no_cache, questions=questions)


def _pipeline(source: str, options: _Options) -> Pipeline:
    from reasonembed.search.pipeline import Pipeline
    from reasonembed.search.pipeline_config import RewriteConfig, load_config

    name, config = load_config(source)
    if options.rewrites is not None:
        config = config.model_copy(update={"rewrite": RewriteConfig(file=options.rewrites)})
    return Pipeline(config, name=name, llm=options.llm)


def _show(results: list[Result], published: Published | None, options: _Options) -> None:
    from rich.console import Console

    from reasonembed.evaluation.report import result_table, results_json

    if options.as_json:
        echo_json(results_json(results, against=published))
        return
    table = result_table(results, against=published)
    if options.markdown:
        typer.echo(table.markdown(), nl=False)
    else:
        Console().print(table.rich())
