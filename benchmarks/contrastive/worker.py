"""One contender in one process: loads, then makes a training step over the same texts whenever asked, and says how long it took.

    python worker.py SETTINGS.json        (started by `encoding.harness.Worker`)

A step is InfoNCE over all passages of the batch, its gradient, clipping and AdamW; ours is timed with tokenising, the peer's
without, since its loader does it beforehand. Before the first step the gradient of a small batch without dropout is stored.
Answers are JSON lines on the first standard output.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from encoding.worker import library_versions, main, memory

TEMPERATURE = 0.02
"""Of paper.md section 2.2, for both sides."""
LEARNING_RATE = 2e-5
ST_MINI_BATCH = 32
"""Texts at a time in the peer's cached loss: its default."""


def _serve(settings: dict[str, Any], answer: Any) -> None:
    texts = json.loads(Path(settings["texts"]).read_text("utf-8"))
    _CONTENDERS[settings["side"]](settings, texts, answer)


def _autocast(dtype: str) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    if dtype == "float32":
        return contextlib.nullcontext
    return lambda: torch.autocast("cpu", dtype=torch.bfloat16)


def _set_dropout(model: torch.nn.Module, probability: float | None) -> None:
    """Set the probability of every dropout; None leaves it."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout) and probability is not None:
            layer.p = probability


@contextlib.contextmanager
def _without_dropout(model: torch.nn.Module) -> Iterator[None]:
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Dropout)]
    before = [layer.p for layer in layers]
    _set_dropout(model, 0.0)
    yield
    for layer, probability in zip(layers, before, strict=True):
        layer.p = probability


def _store(model: torch.nn.Module, place: str) -> None:
    """The gradients of all weights as one vector, in the order of names; then cleared."""
    parts = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None and "pooler" not in name]
    vector = torch.cat([gradient.flatten().float() for _, gradient in sorted(parts)])
    np.save(place, vector.numpy(), allow_pickle=False)
    model.zero_grad()


def _small(texts: dict[str, Any], count: int) -> dict[str, Any]:
    return {"queries": texts["queries"][:count], "groups": texts["groups"][:count]}


def _own(settings: dict[str, Any], texts: dict[str, Any], answer: Any) -> None:
    from reasonembed.model.checkpoint import open_checkpoint, with_lengths
    from reasonembed.model.engines.torch import TorchEngine
    from reasonembed.model.tokens import open_tokenizer
    from reasonembed.training.batches import Batch
    from reasonembed.training.cache import contrastive_step
    from reasonembed.training.encoder import PackedEncoder
    from reasonembed.training.losses import open_loss

    start = time.perf_counter()
    setup, dtype = settings["setup"], settings["dtype"]
    checkpoint = with_lengths(open_checkpoint(setup["model"]), setup["max_length"])
    tokenizer = open_tokenizer(checkpoint)
    encoder = PackedEncoder(TorchEngine(checkpoint, device="cpu", dtype="float32")).train()
    optimiser = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=LEARNING_RATE)
    loss = open_loss({"name": "infonce", "temperature": TEMPERATURE})

    def gradient(part: dict[str, Any], *, cached: bool) -> float:
        queries, _ = tokenizer.encode(part["queries"], max_length=setup["max_length"])
        passages, _ = tokenizer.encode(
            [text for group in part["groups"] for text in group], max_length=setup["max_length"]
        )
        batch = Batch(
            step=0, epoch=0, dataset="", samples=(), group=len(part["groups"][0]), queries=queries, passages=passages,
            reasoning=None, has_reasoning=None, masked=None, scores=None, intensity=None, teacher=None, n_cut=0, n_tokens=0,
        )  # fmt: skip
        output = contrastive_step(
            encoder, batch, loss, step=0, budget=settings["row_tokens"], cached=cached, autocast=_autocast(dtype)
        )
        return float(output.value)

    with _without_dropout(encoder):
        value = gradient(_small(texts, settings["small"]), cached=settings["cached"])
    _store(encoder.backbone, settings["vectors"])
    _set_dropout(encoder, settings["dropout"])
    answer(
        ready=True, load_s=time.perf_counter() - start, dtype=dtype, note="", loss=value, versions=library_versions()
    )
    for _ in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        encoder.zero_grad()
        value = gradient(texts, cached=settings["cached"])
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        answer(seconds=time.perf_counter() - start, cpu_s=time.process_time() - used, loss=value, **memory())


def _sentence_transformers(settings: dict[str, Any], texts: dict[str, Any], answer: Any) -> None:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import CachedMultipleNegativesRankingLoss, MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    start = time.perf_counter()
    setup, dtype = settings["setup"], settings["dtype"]
    model = SentenceTransformer(setup["model"], device="cpu")
    model.max_seq_length = setup["max_length"]
    if settings["cached"]:
        loss = CachedMultipleNegativesRankingLoss(
            model, scale=1 / TEMPERATURE, mini_batch_size=ST_MINI_BATCH, mini_batch_num_tokens=settings["row_tokens"]
        )
    else:
        loss = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    value = _their_gradient(model, loss, _small(texts, settings["small"]), settings)
    _set_dropout(model, settings["dropout"])
    columns = [texts["queries"], *zip(*texts["groups"], strict=True)]
    rows = Dataset.from_dict({f"text_{number}": list(column) for number, column in enumerate(columns)})

    class Paced(TrainerCallback):  # type: ignore[misc]
        """Makes a step when asked for one."""

        def on_step_begin(self, arguments: Any, state: Any, control: Any, **others: Any) -> None:
            if not sys.stdin.readline():
                raise KeyboardInterrupt
            # The trainer has drawn and tokenised the batch by now; a step starts where the one before ended.
            self.used = time.process_time()
            self.start = time.perf_counter()

        def on_step_end(self, arguments: Any, state: Any, control: Any, **others: Any) -> None:
            seconds, used = time.perf_counter() - self.start, time.process_time() - self.used
            answer(seconds=seconds, cpu_s=used, loss=0.0, **memory())

    arguments = SentenceTransformerTrainingArguments(
        output_dir=settings["folder"], per_device_train_batch_size=len(texts["queries"]), max_steps=10**6, use_cpu=True,
        bf16=dtype == "bfloat16", learning_rate=LEARNING_RATE, save_strategy="no", logging_strategy="no", report_to=[],
        disable_tqdm=True, max_grad_norm=1.0, lr_scheduler_type="constant",
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=rows, loss=loss, callbacks=[Paced()]
    )
    answer(
        ready=True, load_s=time.perf_counter() - start, dtype=dtype, note="", loss=value, versions=library_versions()
    )
    with contextlib.suppress(KeyboardInterrupt):
        trainer.train()


def _their_gradient(model: Any, loss: Any, part: dict[str, Any], settings: dict[str, Any]) -> float:
    model.train()
    features = [model.preprocess(list(column)) for column in (part["queries"], *zip(*part["groups"], strict=True))]
    with _without_dropout(model):
        with _autocast(settings["dtype"])():
            value = loss(features, None)
        value.backward()
    _store(model[0].auto_model, settings["vectors"])
    return float(value.detach())


_CONTENDERS = {"own": _own, "st": _sentence_transformers}

if __name__ == "__main__":
    main(_serve)
