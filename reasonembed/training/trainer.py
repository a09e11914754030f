"""The Hugging Face Trainer over our batches and our step: it carries the loop, the optimiser, the devices and the checkpoints.

The whole training is one of its epochs, over the steps of `Batches`. What it gives: rows in log.jsonl, checkpoints to go on from,
the best model by the dev sets.
"""

from __future__ import annotations

import logging
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import DataLoader

from reasonembed.errors import DataError, ModelError
from reasonembed.io.manifest import write_json
from reasonembed.progress import Advance
from reasonembed.training.backbone import Trainable, load_weights, save_model, save_weights
from reasonembed.training.batches import Batch, Batches
from reasonembed.training.cache import contrastive_step
from reasonembed.training.checkpoints import finish_checkpoint
from reasonembed.training.config import TrainConfig
from reasonembed.training.evaluating import DevTask, best_of, dev_scores, waited
from reasonembed.training.log import TrainingLog
from reasonembed.training.losses import Loss
from reasonembed.training.losses.reps import LossOutput
from reasonembed.training.teacher import Teacher

logger = logging.getLogger(__name__)

CHECKPOINTS, BEST, EVALUATION = "checkpoints", "best", "evaluation.json"
_MOST_NAMED = 8


def trainer_arguments(config: TrainConfig, out: Path, *, device: str) -> transformers.TrainingArguments:
    """What the Trainer is told; also joins the processes of a launcher (torchrun, accelerate).

    Args:
        config: The training.
        out: Run directory.
        device: Of this process.

    Raises:
        DataError: `fsdp` where there are no GPUs to shard over.
    """
    optimiser = config.optimiser
    arguments = transformers.TrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        run_name=config.name,
        use_cpu=device.startswith("cpu"),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        learning_rate=optimiser.learning_rate,
        lr_scheduler_type=optimiser.schedule,
        weight_decay=optimiser.weight_decay,
        max_grad_norm=optimiser.clip,
        seed=config.seed,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.save.every,
        eval_strategy="steps" if config.evaluate.tasks else "no",
        eval_steps=config.evaluate.every,
        report_to=list(config.report_to),
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        fsdp=True if config.fsdp else None,
    )
    if config.fsdp and (arguments.use_cpu or arguments.world_size == 1):
        problem = f"fsdp shards weights over several GPUs; here: {device}, {arguments.world_size} process"
        raise DataError(problem, fix="torchrun --nproc-per-node N, one process a GPU, or `fsdp: false`")
    arguments._n_gpu = min(
        1, arguments.n_gpu
    )  # several GPUs are for several processes; DataParallel would split our lists
    return arguments


class ContrastiveTrainer(transformers.Trainer):  # type: ignore[misc]
    """A training.

    Args:
        trainable: The model.
        batches: All steps.
        loss: The loss.
        arguments: Of `trainer_arguments`.
        log: Gets a row a step and a row an evaluation.
        tasks: Dev sets.
        out: Run directory.
        teacher: For a loss that wants one.

    Attributes:
        steps: Of the whole training.

    Raises:
        ModelError: At the first step whose loss or gradient is not finite: which, of which dataset, with which samples.
    """

    control: transformers.TrainerControl

    def __init__(
        self,
        trainable: Trainable,
        batches: Batches,
        loss: Loss,
        *,
        arguments: transformers.TrainingArguments,
        log: TrainingLog,
        tasks: list[DevTask],
        out: Path,
        teacher: Teacher | None = None,
    ) -> None:
        arguments.warmup_steps = math.ceil(len(batches) * trainable.config.optimiser.warmup)
        super().__init__(trainable.encoder, arguments, eval_dataset=[] if tasks else None)
        self.remove_callback(transformers.PrinterCallback)
        self.add_callback(_OwnIntervals())
        self._trainable, self._batches, self._loss, self._teacher = trainable, batches, loss, teacher
        self._log, self.tasks, self._out = log, tasks, out
        self.steps = len(batches)
        self._tick: Advance = lambda n, note="": None
        self._done: tuple[Batch, LossOutput, float] | None = None

    def go_on(self, checkpoint: Path | None, tick: Advance) -> None:
        """Train to the end.

        Args:
            checkpoint: To go on from; None begins, with an evaluation.
            tick: Called with 1 and a note after each step.
        """
        self._tick = tick
        self.args.eval_on_start = bool(self.tasks) and checkpoint is None
        if checkpoint is None:
            self.train()
        elif not self._patience_over():
            tick(int(checkpoint.name.rpartition("-")[2]))
            self.train(resume_from_checkpoint=str(checkpoint))

    def _patience_over(self) -> bool:
        patience = self._trainable.config.evaluate.patience
        return patience is not None and waited(self._log.evaluations) >= patience

    # --- a step -------------------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches by step; a process draws its own share, so accelerate has nothing to divide."""
        return DataLoader(_Ahead(self._batches), batch_size=1, collate_fn=_only)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Gradients of one global batch; the loss that is optimised."""
        started = time.perf_counter()
        model.train()
        batch: Batch = inputs["batch"]
        settings = self._trainable.config.batch
        output = contrastive_step(
            model, batch, self._loss, step=batch.step, budget=settings.row_tokens, cached=settings.cached,
            teacher=self._teacher, autocast=self._trainable.autocast, backward=self.accelerator.backward,
        )  # fmt: skip
        if not torch.isfinite(output.value):
            raise _not_finite(batch, "loss", output.value, output.per_query)
        self._done = (batch, output, started)
        return output.value

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if self._done is not None and not math.isfinite(float(norm)):
            raise _not_finite(self._done[0], "gradient norm", norm)
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write the row of a step, and hand it to what `report_to` names."""
        if self._done is None or "grad_norm" not in logs:
            return
        (batch, output, started), self._done = self._done, None
        seconds = time.perf_counter() - started
        tokens = self._total(batch.n_tokens)
        numbers = {
            "loss": float(output.per_query.mean()), **output.logged, "objective": logs["loss"],
            "learning_rate": logs["learning_rate"], "grad_norm": float(logs["grad_norm"]),
            "tokens": tokens, "cut": self._total(batch.n_cut), "seconds": round(seconds, 4),
            "tokens_per_second": round(tokens / seconds, 1),
        }  # fmt: skip
        self._log.write({"step": self.state.global_step, "epoch": batch.epoch, "dataset": batch.dataset, **numbers})
        super().log(numbers)
        self.state.log_history.clear()  # log.jsonl has it; the Trainer would write it again into every checkpoint
        self._tick(1, f"loss {numbers['loss']:.4f}")

    def _total(self, count: int) -> int:
        """Sum over all processes."""
        if self.args.world_size == 1:
            return count
        return int(self.accelerator.reduce(torch.tensor(count, device=self.accelerator.device)))

    # --- dev scores ------------------------------------------------------------------------------------------------------------

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        """Score the dev sets, keep the model where it is the best so far, stop where patience is over."""
        sharded = self.model if self.is_fsdp_enabled else None
        scores = dev_scores(self._trainable, self.tasks, encoder=sharded)
        mean = sum(scores.values()) / len(scores)
        if self.args.world_size > 1:  # all processes have to agree on what is best
            agreed = torch.tensor([mean], dtype=torch.float64, device=self.accelerator.device)
            mean = float(self.accelerator.gather(agreed)[0])
        row = {"step": self.state.global_step, "scores": scores, "mean": mean}
        self._log.write(row)
        if best_of(self._log.evaluations) == row:
            self._keep_best(row)
        if self._patience_over():
            logger.info(
                "step %d: no better score in %d evaluations, training stops", row["step"], waited(self._log.evaluations)
            )
            self.control.should_training_stop = True
        metrics = {f"eval_{name}": value for name, value in {**scores, "mean": mean}.items()}
        super().log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _keep_best(self, row: dict[str, Any]) -> None:
        self.save_result(self._out / BEST)
        if self.args.should_save:
            write_json(self._out / BEST / EVALUATION, row)
        self.accelerator.wait_for_everyone()

    def save_result(self, folder: Path) -> None:
        """Write the live weights as a model; all processes call it, the first writes."""
        state = self.accelerator.get_state_dict(self.model) if self.is_fsdp_enabled else None
        if self.args.should_save:
            save_model(self._trainable, folder, state)

    # --- checkpoints -------------------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            path = self._out / CHECKPOINTS / f"checkpoint-{self.state.global_step}"
            finish_checkpoint(path, world=self.args.world_size, keep=self._trainable.config.save.keep)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        if self.args.should_save:
            save_weights(self._trainable, Path(output_dir or self.args.output_dir), state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_weights(self._trainable, Path(resume_from_checkpoint))


def _not_finite(batch: Batch, what: str, value: Any, per_query: torch.Tensor | None = None) -> ModelError:
    """The error that names the samples: those whose own loss is not finite, else all of the batch."""
    bad = [] if per_query is None else torch.nonzero(~torch.isfinite(per_query)).flatten().tolist()
    names = [batch.samples[place] for place in bad] or list(batch.samples)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ModelError(
        f"step {batch.step + 1}: the {what} is {float(value)}, a finite number was expected; dataset {batch.dataset!r}, samples "
        f"{', '.join(names[:_MOST_NAMED])}{more}. Fix: look at these lines; a lower learning_rate, or `dtype: float32`"
    )


class _OwnIntervals(transformers.TrainerCallback):  # type: ignore[misc]
    """`save.every` of this start: a checkpoint brings that of the start that wrote it."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """See the class."""
        state.compute_steps(args, state.max_steps)


class _Ahead:
    """Batches by step, the next one made in a thread while the device is busy with this one."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[int, Future[Batch]] | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, step: int) -> Batch:
        waiting = self._next
        this = waiting[1] if waiting and waiting[0] == step else self._pool.submit(self._batches.__getitem__, step)
        following = step + 1
        self._next = None
        if following < len(self):
            self._next = (following, self._pool.submit(self._batches.__getitem__, following))
        return this.result()


def _only(items: list[Batch]) -> dict[str, Batch]:
    """What the Trainer takes: a mapping."""
    (batch,) = items
    return {"batch": batch}
