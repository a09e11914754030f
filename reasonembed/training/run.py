"""A training from its recipe to a model, as one run directory that goes on where it was stopped.

result = train("one-gpu", "runs/mine")

manifest.json                  configuration, versions, digests of data and starting weights, and when finished the result
log.jsonl                      a row a step, a row an evaluation (`training.log`)
work/                          decompressed data
checkpoints/checkpoint-N/      to go on from
best/                          while it runs: the best model by the dev sets; at the end it becomes
model/                         the result, a directory that every tool opens
report.html                    curves
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonembed.dataset.samples import sample_files
from reasonembed.errors import DataError, MismatchError, MissingExtraError
from reasonembed.io.manifest import differences, digest, now, read_json, versions, write_json
from reasonembed.progress import progress_bar
from reasonembed.training.config import TrainConfig, load_train_config
from reasonembed.training.log import LOG_FILE, TrainingLog, read_log

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder
    from reasonembed.training.data import Dataset
    from reasonembed.training.trainer import ContrastiveTrainer

logger = logging.getLogger(__name__)

MANIFEST, MODEL, WORK, INTENSITY = "manifest.json", "model", "work", "intensity.json"
FORMAT = 1
_FREE = ("save", "report_to")
"""Settings that may change between two starts: they decide nothing about the weights."""
_PACKAGES = ("reasonembed", "numpy", "tokenizers", "torch", "transformers", "accelerate", "peft")


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training gave.

    Attributes:
        model: Directory that every tool opens.
        steps: Of the optimiser; fewer than planned where patience was over.
        loss: InfoNCE of the last step.
        best: Highest mean of the dev scores; None without dev sets.
        best_step: After how many steps it was reached: the weights in `model` are those.
        scores: Dev set -> score of `model`.
    """

    model: Path
    steps: int
    loss: float | None = None
    best: float | None = None
    best_step: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


def train(config: TrainConfig | Path | str, out: Path | str, *, progress: bool = True) -> TrainResult:
    """Train a model, or bring a training to its end; a finished one is only read.

    Under torchrun or accelerate every process calls it alike; they share the global batch.

    Args:
        config: A training; a YAML file of one, or the name of one that ships.
        out: Run directory.
        progress: Show a bar with loss, rate and time left.

    Raises:
        DataError: A value of the recipe, a file of samples or a dev set is wrong.
        MismatchError: The run directory holds a training with other settings, data or starting weights.
        ModelError: The model cannot be trained this way, or the loss is no longer finite.
        MissingExtraError: An optional package is missing.
        StorageError: A file could not be written whole.
    """
    config = config if isinstance(config, TrainConfig) else load_train_config(config)
    run = _Run(Path(out), config)
    if run.result is not None:
        logger.info("%s: finished already", run.folder)
        return run.result
    _check_packages(config)
    trainer, checkpoint = _opened(run, progress)
    show = progress and trainer.args.process_index == 0
    with progress_bar(config.name, trainer.steps, unit="steps", show=show) as tick:
        trainer.go_on(checkpoint, tick)
    return run.finish(trainer)


class _Run:
    """The directory of a training.

    Args:
        folder: Made if it is not there.
        config: What is wanted.

    Attributes:
        result: Of a finished training, else None.

    Raises:
        DataError: The folder holds something else.
        MismatchError: It holds a training with other settings or data.
    """

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder, self.config = folder, config
        self.settings = config.model_dump(mode="json", exclude=set(_FREE))
        files = sample_files([part.path for part in config.data])
        self.made_from: dict[str, Any] = {"data": {str(path): digest(path) for path in files}}
        self.result: TrainResult | None = None
        if (folder / MANIFEST).is_file():
            self._manifest = read_json(folder / MANIFEST)
            self._check()
        elif folder.exists() and (not folder.is_dir() or any(path.name != WORK for path in folder.iterdir())):
            raise DataError("exists and is no training", path=folder, fix="name a new folder")
        else:
            self._manifest = {}
        if "result" in self._manifest and (folder / MODEL).is_dir():
            self.result = self._read()

    def _check(self) -> None:
        if self._manifest.get("format") != FORMAT:
            problem = f"format {self._manifest.get('format')!r}, this version reads {FORMAT}"
            raise DataError(problem, path=self.folder / MANIFEST, fix="name a new folder")
        old = {**self._manifest["settings"], **{name: self._manifest.get(name) for name in self.made_from}}
        if changed := differences(old, {**self.settings, **self.made_from}):
            raise MismatchError(
                f"{self.folder} holds a training that differs in {', '.join(changed)}. Fix: name a new folder, or set it back"
            )

    def start(self, weights: Mapping[str, str]) -> None:
        """Note what is trained, before the first step.

        Args:
            weights: Digests: `weights` of the starting model, `teacher_weights` of a teacher.

        Raises:
            MismatchError: The training began with other weights.
        """
        self.made_from.update(weights)
        if self._manifest:
            self._check()
            return
        self._manifest = {
            "format": FORMAT, "settings": self.settings, **self.made_from, "versions": versions(_PACKAGES), "started": now(),
        }  # fmt: skip
        write_json(self.folder / MANIFEST, self._manifest)

    def _read(self) -> TrainResult:
        return TrainResult(**{**self._manifest["result"], "model": self.folder / MODEL})

    def finish(self, trainer: ContrastiveTrainer) -> TrainResult:
        """Write `model/` and note the result; the first process does, the others wait."""
        from reasonembed.training.report import write_report
        from reasonembed.training.trainer import BEST, EVALUATION

        best, model = self.folder / BEST, self.folder / MODEL
        if not trainer.tasks:
            trainer.save_result(model)
        if trainer.args.should_save:
            if best.is_dir():
                shutil.rmtree(model, ignore_errors=True)
                best.replace(model)
            result = _result(self.folder, read_json(model / EVALUATION) if trainer.tasks else {})
            write_json(self.folder / MANIFEST, {**self._manifest, "finished": now(), "result": result})
            write_report(self.folder)
        trainer.accelerator.wait_for_everyone()
        self._manifest = read_json(self.folder / MANIFEST)
        return self._read()


def _result(folder: Path, best: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `TrainResult` from the log, and the evaluation of the model that was kept."""
    steps = [row for row in read_log(folder / LOG_FILE) if "loss" in row]
    if best and not best["step"]:
        logger.warning("no step scored better than the model that was started from: it is the result")
    return {
        "steps": steps[-1]["step"], "loss": steps[-1]["loss"], "best": best.get("mean"), "best_step": best.get("step"),
        "scores": best.get("scores", {}),
    }  # fmt: skip


def _check_packages(config: TrainConfig) -> None:
    """Refuse what is not installed, before anything is read."""
    needed = ("torch", "transformers", "accelerate", *(("peft",) if config.lora else ()))
    for package in needed:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "train", "training")
    for package in config.report_to:
        if importlib.util.find_spec(package) is None:
            raise DataError(f"report_to names {package!r}, which is not installed", fix=f"pip install {package}")
    if config.load_in_4bit and importlib.util.find_spec("bitsandbytes") is None:  # no extra brings it
        raise DataError("load_in_4bit needs the package 'bitsandbytes'", fix="pip install bitsandbytes")


def _opened(run: _Run, progress: bool) -> tuple[ContrastiveTrainer, Path | None]:
    """Everything a training needs, quick checks first; and the checkpoint to go on from."""
    from reasonembed.model.fingerprint import weights_fingerprint
    from reasonembed.training.backbone import open_trainable, own_device
    from reasonembed.training.batches import Batches, TextEncoder
    from reasonembed.training.checkpoints import drop_unfinished, last_checkpoint
    from reasonembed.training.data import open_datasets
    from reasonembed.training.evaluating import open_tasks
    from reasonembed.training.losses import open_loss
    from reasonembed.training.teacher import Teacher
    from reasonembed.training.trainer import CHECKPOINTS, ContrastiveTrainer, trainer_arguments

    config, folder, device = run.config, run.folder, own_device()
    arguments = trainer_arguments(config, folder, device=device)  # joins the other processes, before a file is written
    first = arguments.process_index == 0
    loss = open_loss(config.loss)
    tasks = open_tasks(config.evaluate, seed=config.seed)
    datasets = open_datasets(config, folder / WORK, progress=progress and first)
    trainable = open_trainable(config, device=device)
    teacher = Teacher(config, device=device) if config.teacher is not None else None
    if first:
        weights = {"weights": weights_fingerprint(trainable.embedder.checkpoint, openvino=False)}
        if teacher is not None:
            weights["teacher_weights"] = weights_fingerprint(
                teacher.embedder.checkpoint, openvino=teacher.embedder.engine.name == "openvino"
            )
        run.start(weights)
        drop_unfinished(folder / CHECKPOINTS)
    fixed = _intensities(run, datasets, trainable.embedder, arguments, progress) if "intensity" in loss.needs else None
    batches = Batches(
        datasets, config=config, encode=TextEncoder(trainable.embedder, config), needs=loss.needs,
        rank=arguments.process_index, world=arguments.world_size,
        intensity=fixed, teach=None if teacher is None else teacher.encode,
    )  # fmt: skip
    step, checkpoint = last_checkpoint(folder / CHECKPOINTS)
    log = TrainingLog(folder / LOG_FILE, step=step, writes=first)
    trainer = ContrastiveTrainer(
        trainable, batches, loss, arguments=arguments, log=log, tasks=tasks, out=folder, teacher=teacher
    )
    return trainer, checkpoint


def _intensities(
    run: _Run, datasets: Sequence[Dataset], embedder: Embedder, arguments: Any, progress: bool
) -> dict[str, float]:
    """Intensities by the starting weights, measured once in a run by its first process."""
    from reasonembed.training.measure import fixed_intensities, measure_intensity

    place = run.folder / INTENSITY
    with arguments.main_process_first(local=False):
        if not place.is_file():
            rows = measure_intensity(datasets, embedder, run.config, progress=progress)
            write_json(place, fixed_intensities(rows))
    return read_json(place)
