"""The cached step: its gradients are those of one graph, of several processes, of padding, in the memory of one row."""

from __future__ import annotations

import os
import subprocess
import sys

import contrastive
import numpy as np
import pytest
import torch
from contrastive import DISTILLATION, RI, WAYS, HashTeacher, batch_of, closest, encoder_of, gradients

from reasonembed.training.cache import contrastive_step
from reasonembed.training.losses import open_loss


def step(encoder, batch, loss=RI, *, cached=True, budget=64, seed=0, **options):
    """Gradients, loss and the random numbers that come next."""
    torch.manual_seed(seed)
    encoder.zero_grad()
    output = contrastive_step(encoder, batch, open_loss(loss), step=5, budget=budget, cached=cached, **options)
    return gradients(encoder), output, torch.rand(3).tolist()


@pytest.mark.parametrize("kind", ["bert", "qwen3", "mpnet"])
@pytest.mark.parametrize(
    "loss",
    [RI, {"name": "infonce"}, {"name": "ri_infonce", "start_step": 0, "matryoshka": [32, 8]}, {"name": "listwise"}],
)
def test_cached_is_uncached_with_dropout(tiny, kind, loss):
    encoder = encoder_of(tiny(kind), dropout=0.1).train()
    batch = batch_of(queries=4, group=3)
    cached, output, following = step(encoder, batch, loss)
    whole, expected, afterwards = step(encoder, batch, loss, cached=False)
    assert closest(cached, whole) <= 1e-5
    assert output.value.item() == pytest.approx(expected.value.item(), rel=1e-6)
    assert output.logged == pytest.approx(expected.logged, rel=1e-5)
    assert following == afterwards
    other, _, _ = step(encoder, batch, loss, seed=1)
    assert closest(other, whole) > 1e-2  # dropout was on: other numbers, other gradients


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
def test_packed_is_padded_whatever_the_budget(tiny, kind):
    encoder, batch = encoder_of(tiny(kind)), batch_of(queries=4, group=3)
    packed, _, _ = step(encoder, batch)
    for budget in (1, 200, 10**6):
        assert closest(step(encoder, batch, budget=budget)[0], packed) <= 1e-5
    encoder._engine.packed = False
    encoder.backbone.set_attn_implementation("sdpa")
    assert closest(step(encoder, batch, cached=False, budget=10**6)[0], packed) <= 1e-5


def test_the_gradient_is_that_of_the_weighted_sum_with_weights_held_constant(tiny):
    """The loss written out by hand over vectors of one graph: InfoNCE, its ratio, its weights; no gradient through either."""
    encoder, batch = encoder_of(tiny("qwen3")), batch_of(queries=4, group=3)
    found, output, _ = step(encoder, batch)
    encoder.zero_grad()
    queries, passages = encoder(batch.queries).double(), encoder(batch.passages).double()
    with torch.no_grad():
        reasoning = encoder(batch.reasoning).double()

    def losses(vectors):
        scores = (vectors @ passages.T / 0.02).masked_fill(torch.from_numpy(batch.masked), float("-inf"))
        return torch.stack([scores[i].logsumexp(0) - scores[i, 3 * i] for i in range(4)])

    own = losses(queries)
    ratio = torch.where(torch.from_numpy(batch.has_reasoning), own / (losses(reasoning) + 1e-6), 1.0).detach()
    weights = ratio.clamp(0, 5)
    value = (weights / weights.sum() * own).sum()
    value.backward()
    assert output.value.item() == pytest.approx(value.item(), rel=1e-5)
    assert closest(found, gradients(encoder)) <= 1e-5


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
@pytest.mark.parametrize("cached", [True, False])
def test_gradient_checkpointing_changes_nothing(tiny, kind, cached):
    encoder, batch = encoder_of(tiny(kind), dropout=0.1).train(), batch_of(queries=4, group=3)
    plain, _, following = step(encoder, batch, cached=cached)
    encoder.backbone.activation_checkpointing_enable()
    checkpointed, _, afterwards = step(encoder, batch, cached=cached)
    assert closest(checkpointed, plain) <= 1e-5
    assert following == afterwards


def test_the_loss_sees_float32_without_gradient_in_reasoning_under_autocast(tiny):
    encoder, batch, seen = encoder_of(tiny("bert")).train(), batch_of(queries=4, group=3), []
    loss = open_loss(RI)

    class Spy:
        needs = loss.needs

        def __call__(self, reps):
            seen.append((reps, torch.is_autocast_enabled("cpu")))
            return loss(reps)

    def bfloat16():
        return torch.autocast("cpu", dtype=torch.bfloat16)

    exact, whole, _ = step(encoder, batch)
    encoder.zero_grad()
    with bfloat16():  # a caller's own context reaches the passes, not the loss
        output = contrastive_step(encoder, batch, Spy(), step=5, budget=64, cached=True, autocast=bfloat16)
    ((reps, autocast),) = seen
    assert not autocast
    assert {reps.queries.dtype, reps.passages.dtype, reps.reasoning.dtype} == {torch.float32}
    assert reps.queries.requires_grad
    assert not reps.reasoning.requires_grad
    assert output.value.item() == pytest.approx(whole.value.item(), rel=0.1)
    a, b = (torch.cat([value.flatten() for value in found.values()]) for found in (gradients(encoder), exact))
    assert torch.cosine_similarity(a, b, dim=0) > 0.98


@pytest.mark.parametrize("cached", [True, False])
def test_the_teacher_s_cosines_reach_the_loss(tiny, cached):
    encoder, batch = encoder_of(tiny("bert")), batch_of(queries=4, group=3)
    found, output, _ = step(encoder, batch, DISTILLATION, cached=cached, teacher=HashTeacher())
    encoder.zero_grad()
    vectors = HashTeacher().vectors(batch.teacher)
    masked = torch.from_numpy(batch.masked)
    student, teacher = (
        (queries @ passages.T / 0.02).masked_fill(masked, -1e4).log_softmax(1)
        for queries, passages in (
            (encoder(batch.queries), encoder(batch.passages)),
            (vectors[:4], vectors[4:]),
        )
    )
    value = torch.nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    value = value - 0.5 * student[torch.arange(4), torch.arange(4) * 3].mean()
    value.backward()
    assert output.value.item() == pytest.approx(value.item(), rel=1e-5)
    assert closest(found, gradients(encoder)) <= 1e-5


def test_reasoning_queries_are_not_run_where_the_loss_has_no_use_for_them(tiny):
    encoder, batch, texts = encoder_of(tiny("bert")), batch_of(queries=4, group=3), []
    encoder.register_forward_pre_hook(lambda module, args: texts.extend(args[0]))
    step(encoder, batch, {"name": "infonce"}, cached=False)
    assert len(texts) == 16
    texts.clear()
    step(encoder, batch, RI, cached=False)
    assert len(texts) == 20


@pytest.mark.parametrize("cached", [True, False])
def test_a_passage_that_several_queries_share_is_run_once_and_gets_the_gradient_of_all(tiny, cached):
    encoder, batch, texts = encoder_of(tiny("bert")), batch_of(queries=4, group=3), []
    batch.passages[6] = batch.passages[0].copy()
    batch.passages[10] = batch.passages[0].copy()
    hook = encoder.register_forward_pre_hook(lambda module, args: texts.extend(args[0]))
    found, output, _ = step(encoder, batch, {"name": "infonce"}, cached=cached)
    hook.remove()
    assert len(texts) == (28 if cached else 14)
    encoder.zero_grad()
    queries, passages = encoder(batch.queries), encoder(batch.passages)
    scores = (queries @ passages.T / 0.02).masked_fill(torch.from_numpy(batch.masked), float("-inf"))
    value = torch.nn.functional.cross_entropy(scores, torch.arange(4) * 3)
    value.backward()
    assert output.value.item() == pytest.approx(value.item(), rel=1e-5)
    assert closest(found, gradients(encoder)) <= 1e-5


def test_a_batch_of_one_row_runs_once(tiny):
    encoder, runs = encoder_of(tiny("bert")), []
    encoder.register_forward_pre_hook(lambda module, args: runs.append(len(args[0])))
    step(encoder, batch_of(queries=4, group=3), {"name": "infonce"}, budget=10**6)
    assert runs == [16]


class _Live:
    """Bytes that graphs hold for their backward pass."""

    def __init__(self):
        self.now = self.peak = 0

    def keep(self, tensor):
        live = self

        class Kept:
            def __init__(self):
                self.tensor, self.size = tensor, tensor.numel() * tensor.element_size()
                live.now += self.size
                live.peak = max(live.peak, live.now)

            def __del__(self):
                live.now -= self.size

        return Kept()


def peak_bytes(encoder, batch, *, cached):
    live = _Live()
    with torch.autograd.graph.saved_tensors_hooks(live.keep, lambda kept: kept.tensor):
        step(encoder, batch, {"name": "infonce"}, cached=cached)
    return live.peak


def test_graphs_of_one_row_are_alive_at_a_time(tiny):
    encoder = encoder_of(tiny("bert"), dropout=0.1).train()
    small, large = batch_of(queries=4, group=3, sizes=(20, 30)), batch_of(queries=32, group=3, sizes=(20, 30))
    cached, eightfold = (peak_bytes(encoder, batch, cached=True) for batch in (small, large))
    assert eightfold < 1.2 * cached
    assert peak_bytes(encoder, large, cached=False) > 20 * eightfold


@pytest.fixture(scope="module")
def two(tiny, tmp_path_factory):
    """Gradients of two processes: `kind-how` -> name -> array."""
    folder = tmp_path_factory.mktemp("two")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, contrastive.__file__, str(folder), str(tiny("bert")), str(tiny("qwen3"))]
    processes = [subprocess.Popen([*command, str(rank)], env=environment) for rank in range(2)]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return folder


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
@pytest.mark.parametrize("how", WAYS)
def test_two_processes_are_one(two, tiny, kind, how):
    loss, teacher = (DISTILLATION, HashTeacher()) if how == "taught" else (RI, None)
    expected, output, _ = step(
        encoder_of(tiny(kind)), batch_of(queries=4, group=3), loss, cached=False, teacher=teacher
    )
    with np.load(two / f"{tiny(kind).name}-{how}.npz", allow_pickle=False) as stored:
        found = {name: torch.from_numpy(stored[name]) for name in stored.files}
    rows, value = found.pop("rows").tolist(), found.pop("value").item()
    assert rows[0] != rows[1]  # the processes had different numbers of rows to go through
    assert value == pytest.approx(output.value.item(), rel=1e-6)
    assert closest(found, expected) <= 1e-5
