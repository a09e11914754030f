"""What a training is made of, as a small YAML file checked value by value; every constant of the paper is a default here.

Left out values are the paper's (paper.md section 2, train.sh for Qwen3-8B), but for the model and the data, which a recipe names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reasonembed.io.config import RECIPES, checked, find_recipe, read_yaml
from reasonembed.training.losses import open_loss

TRAIN_RECIPES = RECIPES / "train"
"""The trainings that ship, opened by name."""
DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""A small encoder to start from; the model that ships is trained from its unpacked weights (`model.mini.unpack`)."""
LOSS: Mapping[str, Any] = {"name": "ri_infonce"}
"""The paper's loss, with the constants of `losses.ri_infonce`."""

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Part):
    """A dataset, or a folder of them.

    Attributes:
        path: A file of training samples (docs/data.md), or a folder: each of its files is a dataset.
        queries: Queries in a global batch of it; None takes the samples' own, else `batch.queries`.
        group: Passages a query; None takes the samples' own, else `batch.group`.
        instruction: Of its queries where a sample has no `prompt`; None takes the recipe's.
    """

    path: Path
    queries: Count | None = None
    group: Count | None = None
    instruction: str | None = None


class LengthsConfig(_Part):
    """Longest texts in tokens, special tokens included (paper.md 2.3: 512 each)."""

    query: Count = 512
    passage: Count = 512
    reasoning: Count = 512


class BatchConfig(_Part):
    """The global batch: the same whatever the number of devices and their memory.

    Attributes:
        queries: Queries, all of one dataset (paper.md 2.3: 8 on each of 8 devices).
        group: Passages a query: one positive, the others hard negatives (paper.md 2.3). With 1 the other queries' passages are the
            only negatives.
        mask: Which in-batch passages are not negatives of a query: `none` as in the paper (2.2), `duplicates` (equal texts of
            its own positive), `known` (all its known positives too, and the document that a query of 10 words or more was
            taken from: what holds its whole text).
        cached: Gradient caching: memory is that of one row, at the price of a second forward pass.
        row_tokens: Most tokens in a packed row; None is the engine's own for the device.
    """

    queries: Count = 64
    group: Count = 16
    mask: Literal["none", "duplicates", "known"] = "none"
    cached: bool = True
    row_tokens: Count | None = None


class LoraConfig(_Part):
    """Adapters on all linear layers (paper.md 2.3: r 32, alpha 64 on q, k, v, o, gate, up, down)."""

    r: Count = 32
    alpha: Positive = 64
    dropout: Share = 0.0


class OptimiserConfig(_Part):
    """AdamW (paper.md 2.3; what is not in train.sh is the Trainer's default: linear decay, no weight decay, clip 1.0).

    Attributes:
        learning_rate: Highest.
        warmup: Share of the steps over which it rises.
        schedule: How it falls.
        weight_decay: Of AdamW.
        clip: Largest gradient norm.
        epochs: Passes over the data.
        steps: Stop after so many steps; None goes through all epochs.
    """

    learning_rate: Positive = 1e-4
    warmup: Share = 0.1
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Positive = 1.0
    epochs: Count = 1
    steps: Count | None = None


class TaskConfig(_Part):
    """A dev set that is scored during training.

    Attributes:
        path: Folder of a BEIR dataset, or of BRIGHT tasks.
        benchmark: Its layout.
        task: Of BRIGHT: which task; None is the folder's only one.
        split: Of BEIR: never the one whose figure is to be reported.
        sample: Queries scored, drawn by seed; None scores all.
        metric: Such as `ndcg@10`.
    """

    path: Path
    benchmark: Literal["beir", "bright"] = "beir"
    task: str | None = None
    split: Text = "dev"
    sample: Count | None = None
    metric: Text = "ndcg@10"


class EvaluateConfig(_Part):
    """Scores during training; the checkpoint with the best mean is the result.

    Attributes:
        tasks: Dev sets; none keeps the last checkpoint.
        every: Steps between two evaluations; the start and the end are evaluated too.
        patience: Stop after so many evaluations without a better mean; None goes on to the end.
    """

    tasks: tuple[TaskConfig, ...] = ()
    every: Count = 100
    patience: Count | None = None


class SaveConfig(_Part):
    """Checkpoints to go on from.

    Attributes:
        every: Steps between two (paper.md 2.3: 500).
        keep: How many stay.
    """

    every: Count = 500
    keep: Count = 1


class TrainConfig(_Part):
    """A training.

    Attributes:
        name: Of the run.
        model: Directory or hub name to start from.
        data: Datasets.
        loss: `name`, and what this loss takes (docs/train.md); `matryoshka: [384, 192]` on top of any.
        teacher: Directory or hub name of the model that the loss `distillation` learns from; None for all other losses.
        batch: The global batch.
        lengths: Longest texts.
        instruction: Of queries whose sample and dataset have none; None takes the checkpoint's own.
        append_eos: End every text in EOS; for a language model whose tokenizer does not and that nobody has trained as an
            embedder yet. None leaves it to the checkpoint.
        lora: Adapters; None trains all weights.
        load_in_4bit: Keep the weights below the adapters in 4 bits; needs `lora`, a GPU and bitsandbytes.
        gradient_checkpointing: Compute activations twice, keep few.
        dropout: Replaces the probabilities of the checkpoint's configuration; None leaves them.
        dtype: Of the computation: `auto` is bfloat16 where the hardware multiplies it. Similarity and loss are float32 always;
            weights that are trained are kept in float32.
        optimiser: Rates and steps.
        evaluate: Scores during training.
        save: Checkpoints.
        fsdp: Shard weights over the devices (Trainer's `fsdp`).
        report_to: Of `tensorboard`, `trackio`, `wandb`; log.jsonl is written always.
        seed: Of all that is drawn.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
    model: Text = DEFAULT_MODEL
    data: Annotated[tuple[DataConfig, ...], Field(min_length=1)]
    loss: Mapping[str, Any] = LOSS
    teacher: Text | None = None
    batch: BatchConfig = BatchConfig()
    lengths: LengthsConfig = LengthsConfig()
    instruction: str | None = None
    append_eos: bool | None = None
    lora: LoraConfig | None = None
    load_in_4bit: bool = False
    gradient_checkpointing: bool = False
    dropout: Share | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    optimiser: OptimiserConfig = OptimiserConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    save: SaveConfig = SaveConfig()
    fsdp: bool = False
    report_to: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ()
    seed: int = 42

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "data" not in value:
            return value
        data = value["data"]
        rows = [data] if isinstance(data, str | Path | Mapping) else data
        if not isinstance(rows, list | tuple):
            return value
        return {**value, "data": [{"path": row} if isinstance(row, str | Path) else row for row in rows]}

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        wanted = "teacher" in open_loss(self.loss).needs
        if wanted and self.teacher is None:
            raise ValueError(f"the loss {self.loss['name']} learns from a teacher: set `teacher: MODEL`")
        if self.teacher is not None and not wanted:
            raise ValueError("a teacher is for `loss: {name: distillation}`: leave `teacher` out, or change the loss")
        if self.load_in_4bit and self.lora is None:
            raise ValueError("load_in_4bit trains adapters: set `lora`")
        return self


def load_train_config(source: Path | str, *, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a training.

    Args:
        source: A YAML file, or the name of one that ships, such as `cpu-small`. Files named in it are taken from its folder;
            those of one that ships, and those in `changes`, from the current folder.
        changes: Key -> value to set in place of the file's; a dot leads into a section, as in `optimiser.learning_rate`.

    Raises:
        DataError: No such file, or a value is wrong: file, key, value and what to do.
    """
    path = find_recipe(source, TRAIN_RECIPES, what="training")
    folder = Path() if path.parent == TRAIN_RECIPES else path.parent
    config = _placed(parse_train_config(read_yaml(path), path=path), folder)
    return changed(config, changes) if changes else config


def changed(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """A training with other values; see `load_train_config`.

    Raises:
        DataError: An unknown key, or a value that is wrong.
    """
    values = config.model_dump()
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = values
        for name in sections:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        place[last] = value
    return _placed(parse_train_config(values), Path())


def parse_train_config(value: Any, *, path: Path | None = None) -> TrainConfig:
    """Check a training given as plain values.

    Args:
        value: A mapping, as YAML or JSON gives it.
        path: Where it came from, for messages.

    Raises:
        DataError: The first value that is wrong.
    """
    return checked(TrainConfig, value, path=path, docs="docs/train.md", first_key="name")


def _placed(config: TrainConfig, folder: Path) -> TrainConfig:
    """Files of the config as paths from its folder."""
    data = tuple(part.model_copy(update={"path": folder / part.path.expanduser()}) for part in config.data)
    tasks = tuple(task.model_copy(update={"path": folder / task.path.expanduser()}) for task in config.evaluate.tasks)

    def local(name: str) -> str:
        return str(folder / name) if (folder / name).is_dir() else name

    return config.model_copy(
        update={
            "data": data,
            "evaluate": config.evaluate.model_copy(update={"tasks": tasks}),
            "model": local(config.model),
            "teacher": None if config.teacher is None else local(config.teacher),
        }
    )
