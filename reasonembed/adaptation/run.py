"""From a folder of documents to a tuned model, its measured gain, an index and a report, as one run that goes on where it was stopped.

    result = adapt(["handbook/"], "runs/handbook", config=AdaptConfig(llm="http://localhost:8000/v1", hours=8))

`forecast` says what it will take. The directory is described in `adaptation.folder`, the steps are in
`adaptation.steps` and `adaptation.tuning`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reasonembed.adaptation import steps, tuning
from reasonembed.adaptation.budget import Forecast, Rates, Sources, forecast_rows, plan_sources
from reasonembed.adaptation.config import DEFAULTS, AdaptConfig, synthesis
from reasonembed.adaptation.expanding import SUFFIX
from reasonembed.adaptation.folder import Folder
from reasonembed.adaptation.report import REPORT, write_report
from reasonembed.adaptation.split import Part
from reasonembed.errors import DataError, MismatchError, MissingExtraError, ModelError
from reasonembed.llm.client import Llm
from reasonembed.model import mini
from reasonembed.synth.config import DEFAULT_MODEL

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder

logger = logging.getLogger(__name__)

_URLS = ("http://", "https://")
CANDIDATES = {
    "after": "the tuned model",
    "before-expanded": "the starting model, with documents expanded by questions,",
    "after-expanded": "the tuned model, with documents expanded by questions,",
}
_BUDGET = ("hours", "budget_requests")


@dataclass(frozen=True, slots=True)
class AdaptResult:
    """What an adaptation gave.

    Attributes:
        better: Whether the candidate finds more, and not by chance: what dev questions prefer of the tuned model, the
            starting model with documents expanded by questions, and both together.
        expanded: Whether the documents of the index are expanded.
        before: nDCG@10 of the starting model on the test questions, in [0, 1].
        after: The same of the candidate.
        gain: after - before.
        p: Of the paired permutation test.
        model: Directory of the model to search with.
        index: The documents, embedded with it.
        report: The page that tells it all.
        sentence: The answer in plain words.
    """

    better: bool
    expanded: bool
    before: float
    after: float
    gain: float
    p: float
    model: Path
    index: Path
    report: Path
    sentence: str


def adapt(
    docs: Sequence[Path | str],
    out: Path | str,
    *,
    config: AdaptConfig = DEFAULTS,
    llm: Llm | None = None,
    progress: bool = True,
) -> AdaptResult:
    """Tune a model to documents, or bring an adaptation to its end; a finished one is only read.

    Args:
        docs: Files and folders of documents, as for an index. They are read at the start, and once more if the tuned model wins.
        out: Run directory, not within `docs`.
        config: What is wanted.
        llm: The language model; None opens `config.llm`.
        progress: Show bars.

    Returns:
        Whether it helped, by how much, and where everything is.

    Raises:
        DataError: A value, a document or a pair is wrong, or there is too little data: what to do is in the message.
        MismatchError: The run directory holds an adaptation with other settings.
        ModelError: The starting model cannot be reached, opened or trained.
        LlmError: The language model cannot be reached; what it answered is kept.
        MissingExtraError: An optional package is missing.
        StorageError: A file could not be written whole.
    """
    out = Path(out)
    folder = _opened(docs, out, config, llm)
    if folder.result is None:
        job = _prepared(folder, docs, config, progress)
        _check_budget(folder, config)
        with _language_model(folder, config, llm) as asked:
            _questions_and_samples(job, asked)
        _train_and_judge(job)
    return _result(folder, out)


def forecast(
    docs: Sequence[Path | str],
    out: Path | str,
    *,
    config: AdaptConfig = DEFAULTS,
    llm: Llm | None = None,
    progress: bool = True,
) -> Forecast:
    """What `adapt` will take: reads and embeds the documents, runs a sample of the synthesis, and keeps both for the run.

    Args:
        docs: As for `adapt`.
        out: As for `adapt`.
        config: As for `adapt`; the budget may be another one afterwards.
        llm: As for `adapt`.
        progress: Show bars.

    Raises:
        DataError: As for `adapt`; or the run has begun in earnest.
    """
    folder = _opened(docs, Path(out), config, llm)
    if "heldout" in folder.steps or "tasks" in folder.steps:
        raise DataError(
            "this run has begun, so there is nothing to estimate", path=out, fix="run it without the estimate"
        )
    job = _prepared(folder, docs, config, progress)
    with _language_model(folder, config, llm) as asked:
        rates = None if asked is None else steps.measure_rates(job, asked)
    return _forecast(job, rates)


def _opened(docs: Sequence[Path | str], out: Path, config: AdaptConfig, llm: Llm | None) -> Folder:
    """The directory, after all checks that need no model."""
    if not docs:
        raise DataError("no documents were named", fix="name a folder or files")
    asks = llm is not None or config.llm is not None
    if not asks and config.pairs is None:
        raise DataError(
            "there is nothing to learn from", fix="a language model (--llm), or pairs of your own (--pairs)"
        )
    if llm is None and config.llm is not None and not config.llm.startswith(_URLS) and not Path(config.llm).exists():
        raise DataError(
            f"{config.llm!r} is neither a URL nor a file", fix="http://HOST/v1, a .gguf file, or an OpenVINO folder"
        )
    place = out.resolve()
    for path in map(Path, docs):
        if not path.exists():
            raise DataError("no such file or folder", path=path)
        if place.is_relative_to(path.resolve()):
            raise DataError("the run directory lies within the documents", path=out, fix="name a folder elsewhere")
    for package in ("torch", "transformers", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "train", "adapting a model")
    return Folder(out, docs, config, asks=asks)


def _prepared(folder: Folder, docs: Sequence[Path | str], config: AdaptConfig, progress: bool) -> steps.Job:
    """The first steps: documents read and embedded, held-out ones chosen, pairs understood."""
    job = steps.Job(folder, tuple(map(Path, docs)), config, _start_model(folder, config), progress)
    job.synthesis()  # a wrong value is told now
    folder.step("index", lambda: steps.index_documents(job))
    folder.step("split", lambda: steps.split(job))
    if config.pairs is not None:
        folder.step("pairs", lambda: steps.resolve_pairs(job))
    return job


def _start_model(folder: Folder, config: AdaptConfig) -> Embedder:
    """The model that is tuned, opened by torch as it will be searched, after a trial of opening it for training."""
    from reasonembed.encode.embedder import Embedder
    from reasonembed.protocols import instruction_for
    from reasonembed.training.backbone import open_trainable

    place = _unpacked(folder) if config.model == DEFAULT_MODEL else config.model
    try:
        start = Embedder(place, engine="torch")
        if start.takes_instructions and start.checkpoint.instruction is None:
            start = Embedder(place, engine="torch", instruction=instruction_for("beir/adapt"))
        open_trainable(tuning.base_training(config, start, Path("data")))
    except ModelError as error:
        raise ModelError(
            f"the starting model cannot be tuned: {error}. Fix: name a directory or hub name of torch weights with --model (8-bit "
            "weights cannot be trained; without --model those of the model that ships are unpacked)"
        ) from error
    return start


def _unpacked(folder: Folder) -> Path:
    """The model that ships, with weights that can be trained: `start/` of the run."""
    place = folder / "start" / mini.NAME
    if not place.is_dir():
        from reasonembed.model.mini.unpack import unpack

        unpack(place)
    return place


@contextmanager
def _language_model(folder: Folder, config: AdaptConfig, llm: Llm | None) -> Iterator[Llm | None]:
    """The language model, if there is one and it is still needed; closed before the training, which needs the memory."""
    if (llm is None and config.llm is None) or "synth" in folder.steps:
        yield None
        return
    with contextlib.ExitStack() as stack:
        asked = llm or stack.enter_context(_open(folder, config))
        name = str(asked.describe()["model"])
        if (before := folder.decide("language model", lambda: {"name": name})["name"]) != name:
            raise MismatchError(
                f"{folder.path} was begun with the language model {before}, not {name}. Fix: name a new folder"
            )
        yield asked


def _open(folder: Folder, config: AdaptConfig) -> Llm:
    from reasonembed.llm.open import open_llm
    from reasonembed.llm.totals import Price

    told = synthesis(config, folder / "train.jsonl", miner=config.model).llm
    assert told is not None
    place = told.place or config.llm or ""
    price = None if told.price is None else Price(told.price.prompt, told.price.completion)
    return open_llm(place, model=told.model, cache=folder / "llm.sqlite", concurrency=told.concurrency, price=price)


def _check_budget(folder: Folder, config: AdaptConfig) -> None:
    """A budget is divided once: another one later is refused."""
    asked = {name: getattr(config, name) for name in _BUDGET}
    if (before := folder.decide("budget", lambda: asked)) != asked:
        said = ", ".join(f"{name} {before[name]}, now {asked[name]}" for name in asked if before[name] != asked[name])
        raise MismatchError(
            f"{folder.path} was begun with another budget: {said}. Fix: set it back, or name a new folder"
        )


def _questions_and_samples(job: steps.Job, llm: Llm | None) -> None:
    """All that the language model is asked."""
    folder = job.folder
    asks = llm is not None or "language model" in folder.decisions
    if llm is not None:
        decided = folder.decide("sources", lambda: _decided_sources(job, llm))
        sources = Sources(**decided)
        folder.step("heldout", lambda: steps.write_heldout(job, llm, sources))
    heldout: list[Part] = [part for part in steps.PARTS if asks and part in folder.steps["heldout"]]
    folder.step("tasks", lambda: steps.write_tasks(job, heldout))
    folder.step("before", lambda: tuning.score(job, "before", job.start))
    folder.step("bm25", lambda: tuning.score(job, "bm25", None))
    if llm is not None:
        folder.step("synth", lambda: steps.synthesize_samples(job, llm, sources))
    folder.step("data", lambda: steps.write_data(job))


def _decided_sources(job: steps.Job, llm: Llm) -> dict[str, object]:
    budget = any(getattr(job.config, name) is not None for name in _BUDGET)
    sources = _sources(job, steps.measure_rates(job, llm) if budget else None)
    logger.info("sources: %s", sources.why)
    return asdict(sources)


def _sources(job: steps.Job, rates: Rates | None) -> Sources:
    wanted = steps.wanted_questions(job)
    return plan_sources(job.config, most=job.synthesis().sources.n, dev=wanted["dev"], test=wanted["test"], rates=rates)


def _train_and_judge(job: steps.Job) -> None:
    folder = job.folder
    folder.decide("training", lambda: tuning.decide_training(job))
    folder.step("training", lambda: tuning.tune(job))
    folder.step("after", lambda: tuning.score(job, "after", tuning.tuned(job)))
    folder.step("expanded", lambda: tuning.score_expanded(job))
    made = folder.step("choice", lambda: tuning.choose(job))
    names = ("better", "candidate", "mean_a", "mean_b", "difference", "p_permutation", "n_queries")
    found = {name: made[name] for name in names}
    write_report(folder, sentence_of(found, index=folder / "index", model=job.config.model))
    folder.finish({**found, "start": job.model})


def _result(folder: Folder, out: Path) -> AdaptResult:
    assert folder.result is not None
    found = {"candidate": "after", **folder.result}  # what runs compared before documents were expanded
    tuned, expanded = found["candidate"].startswith("after"), found["candidate"].endswith(SUFFIX)
    model = out / "training/model" if found["better"] and tuned else Path(found["start"])
    return AdaptResult(
        found["better"], found["better"] and expanded, found["mean_b"], found["mean_a"], found["difference"],
        found["p_permutation"], model, out / "index", out / REPORT,
        sentence_of(found, index=out / "index", model=folder.settings["model"]),
    )  # fmt: skip


def sentence_of(found: dict[str, object], *, index: Path, model: str) -> str:
    """The answer in plain words.

    Args:
        found: `better`, `candidate`, `mean_a` (of the candidate), `mean_b` (of the start), `difference`, `p_permutation`, `n_queries`.
        index: To search.
        model: That was started from.
    """
    after, before, gain, p = (float(str(found[name])) for name in ("mean_a", "mean_b", "difference", "p_permutation"))
    chance = "p < 0.001" if p < 0.001 else f"p {p:.3f}"
    figures = f"nDCG@10 {100 * before:.1f} -> {100 * after:.1f}, {chance}, {found['n_queries']} test questions"
    name = CANDIDATES[str(found["candidate"])]
    search = f'Search it: reasonembed search {index} "your question"'
    if found["better"]:
        more = f"{gain / before:.0%} more of what is asked" if before else "what the starting model does not"
        return f"{name[0].upper()}{name[1:]} finds {more} ({figures}). {search}"
    why = "the gain may be chance" if gain > 0 else f"{name} finds no more"
    keep = "the default" if model == DEFAULT_MODEL else model
    return f"It does not help here: {why} ({figures}); keep {keep}. {search}"


def _forecast(job: steps.Job, rates: Rates | None) -> Forecast:
    folder = job.folder
    parts: tuple[str, ...] = steps.PARTS
    read = folder.steps["index"]
    pairs = {part: folder.steps["pairs"][part] for part in parts} if job.config.pairs is not None else {}
    counts = dict.fromkeys(parts, 0)
    why, times, samples = "", dict.fromkeys(parts, 1), pairs.get("train", 0)
    if rates is not None:
        sources = _sources(job, rates)
        train = rates.sources if sources.train is None else min(sources.train, rates.sources)
        counts, why = {"train": train, "dev": sources.dev, "test": sources.test}, sources.why
        times = {"train": sources.each, "dev": sources.heldout_each, "test": sources.heldout_each}
        samples += round(train * sources.each * rates.written)
    base = tuning.base_training(job.config, job.start, Path("data"))
    asked = {part: times[part] * counts[part] for part in parts}
    rows = forecast_rows(
        asked, rates, samples=samples, group=base.batch.group, passages=read["passages"], hours=job.config.hours,
        passage_seconds=read["passage_seconds"],
    )  # fmt: skip
    return Forecast(
        read["passages"], {part: folder.steps["split"][part] for part in parts}, pairs, counts, samples, rows, why
    )
