"""Losses against NumPy in float64, against FlagEmbedding's and Sentence Transformers' own code, and on cases done by hand."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, rel_entr, softmax

from reasonembed.errors import DataError
from reasonembed.training.losses import Reps, loss_names, open_loss

NAN = float("nan")


def unit(rng, n, dim):
    vectors = rng.normal(size=(n, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def drawn(seed=0, n=5, group=3, dim=8, dtype=torch.float64, **given_fields):
    """A batch of random vectors; `masked`, `scores`, `intensity`, `has_reasoning`, `teacher` where asked for with True."""
    rng = np.random.default_rng(seed)
    vectors = [torch.tensor(unit(rng, count, dim), dtype=dtype) for count in (n, n * group, n)]
    masked = rng.random((n, n * group)) < 0.3
    masked[np.arange(n), np.arange(n) * group] = False
    scores = rng.integers(1, 6, (n, group)) + rng.random((n, group))
    scores[1 % n, 0] = scores[3 % n, -1] = NAN
    intensity = rng.random(n) * 7
    intensity[2 % n] = NAN
    extra = {
        "masked": torch.tensor(masked),
        "scores": torch.tensor(scores, dtype=dtype),
        "intensity": torch.tensor(intensity, dtype=dtype),
        "has_reasoning": torch.tensor(rng.random(n) < 0.7),
        "teacher": torch.tensor(unit(rng, n, 4) @ unit(rng, n * group, 4).T, dtype=dtype),
    }
    queries, passages, reasoning = vectors
    chosen = {key: extra[key] if value is True else value for key, value in given_fields.items()}
    return Reps(
        queries.requires_grad_(),
        passages.requires_grad_(),
        group,
        **({"step": 100, "reasoning": reasoning.requires_grad_()} | chosen),
    )


def plain_infonce(queries, passages, group, temperature, masked=None):
    """InfoNCE of each query, one at a time, in float64."""
    queries, passages = (np.asarray(part.detach(), np.float64) for part in (queries, passages))
    found = []
    for row, query in enumerate(queries):
        logits = [float(query @ passage) / temperature for passage in passages]
        kept = [value for column, value in enumerate(logits) if masked is None or not masked[row, column]]
        found.append(logsumexp(kept) - logits[row * group])
    return np.array(found)


def plain_weights(raw, kappa=5.0, norm="l1"):
    weights = np.minimum(raw, kappa)
    return weights / weights.sum() if norm == "l1" else weights


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(1, 7), group=st.integers(1, 5), temperature=st.sampled_from([0.02, 0.1, 1.0]),
    masking=st.booleans(), missing=st.booleans(), kappa=st.sampled_from([0.5, 2.0, 5.0]), norm=st.sampled_from(["l1", "none"]),
)  # fmt: skip
def test_ri_infonce_equals_numpy(seed, n, group, temperature, masking, missing, kappa, norm):
    rng = np.random.default_rng(seed)
    masked = rng.random((n, n * group)) < 0.3
    masked[np.arange(n), np.arange(n) * group] = False
    has = rng.random(n) < 0.6
    vectors = [torch.tensor(unit(rng, count, 6)) for count in (n, n * group, n)]
    reps = Reps(
        vectors[0], vectors[1], group, step=100, reasoning=vectors[2],
        masked=torch.tensor(masked) if masking else None, has_reasoning=torch.tensor(has) if missing else None,
    )  # fmt: skip
    output = open_loss({"name": "ri_infonce", "temperature": temperature, "kappa": kappa, "norm": norm})(reps)
    mask = masked if masking else None
    plain = plain_infonce(vectors[0], vectors[1], group, temperature, mask)
    reasoned = plain_infonce(vectors[2], vectors[1], group, temperature, mask)
    raw = plain / (reasoned + 1e-6)
    known = has if missing else np.ones(n, bool)
    weights = plain_weights(np.where(known, raw, 1.0), kappa, norm) if plain.any() else np.full(n, 1 / n)
    np.testing.assert_allclose(output.per_query, plain, rtol=1e-9, atol=1e-12)
    assert output.value.item() == pytest.approx(weights @ plain, rel=1e-6, abs=1e-9)
    assert output.logged["loss"] == pytest.approx(plain.mean(), rel=1e-9, abs=1e-12)
    assert output.logged["without_reasoning"] == pytest.approx(1 - known.mean(), abs=1e-6)
    if known.any():
        assert output.logged["reasoning_loss"] == pytest.approx(reasoned[known].mean(), rel=1e-9, abs=1e-12)
        assert output.logged["intensity_max"] == pytest.approx(raw[known].max(), rel=1e-6, abs=1e-6)
        assert output.logged["at_clamp"] == pytest.approx((raw[known] >= kappa).mean())
    else:
        assert not {"reasoning_loss", "intensity_max"} & set(output.logged)


@pytest.mark.parametrize("seed", range(4))
def test_float32_as_in_training(seed):
    """64 queries x 16 passages of float32 at the paper's temperature, beside float64."""
    reps = drawn(seed, n=64, group=16, dim=128, dtype=torch.float32)
    output = open_loss({"name": "ri_infonce"})(reps)
    plain = plain_infonce(reps.queries, reps.passages, 16, 0.02)
    raw = plain / (plain_infonce(reps.reasoning, reps.passages, 16, 0.02) + 1e-6)
    assert output.value.dtype == torch.float32
    assert output.value.item() == pytest.approx(plain_weights(raw) @ plain, rel=1e-5)


def test_two_queries_by_hand():
    """Each query has logit 0 with its positive and x with the only negative: InfoNCE is log(1 + e^x)."""
    passages = torch.eye(4, dtype=torch.float64)[[0, 1]]
    queries = torch.tensor([[0.0, 0.5, np.sqrt(0.75), 0], [0.5, 0.0, 0, np.sqrt(0.75)]])
    reasoning = torch.tensor([[0.0, 0.5, np.sqrt(0.75), 0], [0.0, 0.0, 0, 1.0]])
    output = open_loss({"name": "ri_infonce", "temperature": 0.5})(Reps(queries, passages, 1, 100, reasoning))
    plain = np.log(1 + np.exp(0.5 / 0.5))  # of both queries
    second = plain / np.log(2)  # intensity of the second; the first one's reasoning changes nothing
    assert output.per_query.tolist() == pytest.approx([plain, plain])
    assert output.logged["intensity_max"] == pytest.approx(second, rel=1e-5)
    assert output.logged["intensity_min"] == pytest.approx(1, rel=1e-5)
    assert output.logged["intensity_median"] == pytest.approx((1 + second) / 2, rel=1e-5)
    assert output.value.item() == pytest.approx(plain)  # equal losses: weights that sum to 1 change nothing


@pytest.mark.parametrize("masking", [None, True])
def test_equal_intensities_are_the_plain_mean(masking):
    """The query as its own reasoning: all intensities are 1 (but for epsilon)."""
    reps = drawn(3, masked=masking)
    same = replace(reps, reasoning=reps.queries.detach())
    mean = open_loss({"name": "infonce"})(reps).value.item()
    assert open_loss({"name": "ri_infonce"})(same).value.item() == pytest.approx(mean, rel=1e-4)
    assert open_loss({"name": "ri_infonce"})(reps).value.item() != pytest.approx(mean, rel=1e-2)


@pytest.mark.parametrize(("step", "weighted"), [(0, False), (99, False), (100, True), (101, True)])
def test_weights_from_the_start_step_on(step, weighted):
    """paper.md 2.1: from step 100, plain mean before, with gradients of the mean too."""
    reps = drawn(1, step=step)
    output = open_loss({"name": "ri_infonce"})(reps)
    mean = open_loss({"name": "infonce"})(reps).value
    assert (output.value.item() != pytest.approx(mean.item(), rel=1e-3)) == weighted
    ours = torch.autograd.grad(output.value, reps.queries)[0]
    plain = torch.autograd.grad(mean, reps.queries)[0]
    assert torch.allclose(ours, plain, rtol=1e-6) != weighted
    assert output.logged["intensity_max"] > output.logged["intensity_min"]  # logged before the start too


def test_without_any_reasoning():
    """Before the start step nobody computes it; in a batch without reasoning queries every query counts alike."""
    early = open_loss({"name": "ri_infonce"})(drawn(1, step=5, reasoning=None))
    assert set(early.logged) == {"loss", "ri_loss"}
    late = open_loss({"name": "ri_infonce"})(drawn(1, reasoning=None))
    assert late.logged["without_reasoning"] == 1
    assert late.value.item() == pytest.approx(late.per_query.mean().item())


def test_no_gradient_through_weights_or_reasoning():
    reps = drawn(2, masked=True, has_reasoning=True)
    output = open_loss({"name": "ri_infonce"})(reps)
    found = torch.autograd.grad(output.value, (reps.queries, reps.passages), retain_graph=True)
    assert torch.autograd.grad(output.value, reps.reasoning, allow_unused=True) == (None,)
    plain = plain_infonce(reps.queries, reps.passages, reps.group, 0.02, reps.masked)
    reasoned = plain_infonce(reps.reasoning, reps.passages, reps.group, 0.02, reps.masked)
    weights = plain_weights(np.where(reps.has_reasoning, plain / (reasoned + 1e-6), 1.0))
    logits = (reps.queries @ reps.passages.T).detach().numpy() / 0.02
    logits[reps.masked.numpy()] = -np.inf
    errors = softmax(logits, axis=1)  # d loss_i / d logit_ij = softmax - 1 at the positive
    errors[np.arange(5), np.arange(5) * 3] -= 1
    errors *= weights[:, None] / 0.02
    np.testing.assert_allclose(found[0], errors @ reps.passages.detach().numpy(), rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(found[1], errors.T @ reps.queries.detach().numpy(), rtol=1e-7, atol=1e-10)
    assert not output.per_query.requires_grad


def test_masking():
    """A masked duplicate of the positive changes nothing; unmasked it costs up to log 2. Nothing flows into what is masked."""
    reps = drawn(4, group=2)
    passages = reps.passages.detach().clone()
    passages[3] = passages[0]  # the negative of query 1 equals the positive of query 0
    masked = torch.zeros(5, 10, dtype=torch.bool)
    masked[0, 3] = True
    passages.requires_grad_()
    loss = open_loss({"name": "infonce", "temperature": 0.5})
    without = [0, 1, 2, 4, 5, 6, 7, 8, 9]
    logits = (reps.queries[0] @ passages[without].T).detach().numpy() / 0.5
    output = loss(replace(reps, passages=passages, masked=masked))
    assert output.per_query[0].item() == pytest.approx(logsumexp(logits) - logits[0])
    assert loss(replace(reps, passages=passages)).per_query[0] > output.per_query[0]
    own = plain_infonce(reps.queries, passages, 2, 0.5, masked)
    assert output.value.item() == pytest.approx(own.mean())
    column = torch.autograd.grad(output.value, passages)[0][3]
    everywhere = masked | torch.eye(10, dtype=torch.bool)[3]  # row 3 of the passages, for all queries
    alone = loss(replace(reps, passages=passages, masked=everywhere))
    assert column.abs().sum() > 0
    assert torch.autograd.grad(alone.value, passages)[0][3].abs().sum() == 0


def test_autocast_leaves_the_similarity_alone():
    reps = drawn(5, dtype=torch.float32, scores=True)
    for name in ("infonce", "ri_infonce", "listwise"):
        loss = open_loss({"name": name})
        plain = loss(reps).value
        with torch.autocast("cpu", torch.bfloat16):
            mixed = loss(reps).value
        assert mixed.dtype == torch.float32
        assert mixed.item() == plain.item()


# Peers


@pytest.fixture(scope="module")
def flag():
    """A function: how losses are reduced -> FlagEmbedding's model without a backbone; importing it warns about its dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("FlagEmbedding.finetune.embedder.decoder_only.base.modeling")

    def model(reduction="mean"):
        made = module.BiDecoderOnlyEmbedderModel(None, temperature=0.02, normalize_embeddings=True)
        made.cross_entropy = torch.nn.CrossEntropyLoss(reduction=reduction)
        return made

    return model


@pytest.mark.parametrize("seed", range(3))
def test_infonce_of_flagembedding(flag, seed):
    reps = drawn(seed, n=16, group=4, dim=32, dtype=torch.float32)
    _, theirs = flag()._compute_in_batch_neg_loss(reps.queries, reps.passages)
    ours = open_loss({"name": "infonce"})(reps).value
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    for one, other in zip(
        torch.autograd.grad(ours, (reps.queries, reps.passages)),
        torch.autograd.grad(theirs, (reps.queries, reps.passages)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_ri_infonce_of_flagembedding_s_losses(flag, seed):
    """Its losses a query, as the authors' trainer takes them (reduction none); the weights in NumPy."""
    reps = drawn(seed, n=16, group=4, dim=32, dtype=torch.float32)
    theirs, reasoned = (
        flag("none")._compute_in_batch_neg_loss(queries, reps.passages)[1].detach().numpy().astype(np.float64)
        for queries in (reps.queries, reps.reasoning)
    )
    expected = plain_weights(theirs / (reasoned + 1e-6)) @ theirs
    assert open_loss({"name": "ri_infonce"})(reps).value.item() == pytest.approx(expected, rel=1e-5)


def test_listwise_of_flagembedding(flag):
    """Its kl_div leaves out the teacher's entropy, a constant: the gradients are the same."""
    scores = torch.tensor(np.random.default_rng(0).random((6, 4)) * 4 + 1, dtype=torch.float32)
    reps = drawn(0, n=6, group=4, dtype=torch.float32, scores=scores)
    _, theirs = flag()._compute_in_batch_neg_loss(reps.queries, reps.passages, scores.softmax(1))
    ours = open_loss({"name": "listwise"})(reps).value
    entropy = -(scores.softmax(1) * scores.log_softmax(1)).sum(1).mean()
    assert ours.item() == pytest.approx(theirs.item() - entropy.item(), rel=1e-5)
    found, expected = (torch.autograd.grad(value, reps.passages)[0] for value in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_infonce_of_sentence_transformers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = pytest.importorskip("sentence_transformers.losses")
    theirs = losses.MultipleNegativesRankingLoss(None, scale=50.0)
    reps = drawn(6, n=12, group=3, dtype=torch.float32)
    columns = [reps.passages[place::3] for place in range(3)]  # positives, first negatives, second negatives
    expected = theirs.compute_loss_from_embeddings([reps.queries, *columns], None)
    assert open_loss({"name": "infonce"})(reps).value.item() == pytest.approx(expected.item(), rel=1e-5)


# The losses beside it


@pytest.mark.parametrize(
    "settings_", [{}, {"alpha": 0.0}, {"alpha": 0.3, "teacher_temperature": 0.5, "temperature": 0.1}]
)
def test_listwise_equals_scipy(settings_):
    reps = drawn(7, scores=True, masked=True)
    output = open_loss({"name": "listwise", **settings_})(reps)
    temperature, alpha = settings_.get("temperature", 0.02), settings_.get("alpha", 1.0)
    plain = plain_infonce(reps.queries, reps.passages, 3, temperature, reps.masked)
    expected, divergences = [], []
    for row in range(5):
        own = reps.passages[row * 3 : row * 3 + 3].detach().numpy() @ reps.queries[row].detach().numpy()
        teacher = softmax(reps.scores[row].numpy() / settings_.get("teacher_temperature", 1.0))
        divergence = rel_entr(teacher, softmax(own / temperature)).sum()
        unknown = row in (1, 3)
        expected.append(plain[row] if unknown else divergence + alpha * plain[row])
        divergences += [] if unknown else [divergence]
    assert output.value.item() == pytest.approx(np.mean(expected))
    assert output.logged["loss"] == pytest.approx(plain.mean())
    assert output.logged["divergence"] == pytest.approx(np.mean(divergences))
    assert output.logged["without_scores"] == pytest.approx(0.4)
    gradient = torch.autograd.grad(output.value, reps.queries)[0]
    assert gradient.isfinite().all()


def test_listwise_without_any_known_score():
    reps = drawn(7, scores=torch.full((5, 3), NAN))
    output = open_loss({"name": "listwise", "alpha": 0.2})(reps)
    assert output.value.item() == pytest.approx(open_loss({"name": "infonce"})(reps).value.item())
    assert torch.autograd.grad(output.value, reps.passages)[0].isfinite().all()


@pytest.mark.parametrize("masked", [None, True])
@pytest.mark.parametrize(
    "settings_", [{}, {"alpha": 0.0}, {"alpha": 0.3, "teacher_temperature": 0.5, "temperature": 0.1}]
)
def test_distillation_equals_scipy(settings_, masked):
    reps = drawn(11, teacher=True, masked=masked)
    output = open_loss({"name": "distillation", **settings_})(reps)
    temperature = settings_.get("temperature", 0.02)
    plain = plain_infonce(reps.queries, reps.passages, 3, temperature, reps.masked)
    own = reps.queries.detach().numpy() @ reps.passages.detach().numpy().T
    divergences = []
    for row in range(5):
        kept = slice(None) if reps.masked is None else ~reps.masked[row].numpy()
        teacher = softmax(reps.teacher[row].numpy()[kept] / settings_.get("teacher_temperature", 0.02))
        divergences.append(rel_entr(teacher, softmax(own[row][kept] / temperature)).sum())
    expected = np.mean(divergences) + settings_.get("alpha", 1.0) * plain.mean()
    assert output.value.item() == pytest.approx(expected)
    assert output.logged["divergence"] == pytest.approx(np.mean(divergences))
    assert output.logged["loss"] == pytest.approx(plain.mean())
    gradients = torch.autograd.grad(output.value, (reps.queries, reps.passages))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_student_that_agrees_with_its_teacher_has_nothing_to_learn_from_it():
    reps = drawn(12, masked=True)
    same = replace(reps, teacher=(reps.queries @ reps.passages.T).detach())
    output = open_loss({"name": "distillation", "alpha": 0.0})(same)
    assert output.value.item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.grad(output.value, reps.queries)[0].abs().max() < 1e-10


def test_fixed_intensity_equals_numpy():
    """Also before step 100; a query of unknown intensity counts with 1."""
    reps = drawn(8, intensity=True, step=0, reasoning=None)
    output = open_loss({"name": "fixed_intensity"})(reps)
    plain = plain_infonce(reps.queries, reps.passages, 3, 0.02)
    raw = reps.intensity.numpy()
    assert output.value.item() == pytest.approx(plain_weights(np.nan_to_num(raw, nan=1.0)) @ plain)
    assert output.logged["intensity_mean"] == pytest.approx(np.nanmean(raw))
    assert output.logged["without_reasoning"] == pytest.approx(0.2)
    free = open_loss({"name": "fixed_intensity", "mapping": "none", "norm": "none"})(reps)
    assert free.value.item() == pytest.approx(np.nan_to_num(raw, nan=1.0) @ plain)


@pytest.mark.parametrize("name", loss_names())
def test_matryoshka_is_the_mean_over_dimensions(name):
    reps = drawn(9, scores=True, intensity=True, masked=True, teacher=True)
    output = open_loss({"name": name, "matryoshka": [8, 5, 2]})(reps)
    loss, values, losses = open_loss({"name": name}), [], []
    for dim in (8, 5, 2):
        parts = (reps.queries, reps.passages, reps.reasoning)
        cut = [
            torch.tensor(v / np.linalg.norm(v, axis=1, keepdims=True))
            for v in (p.detach().numpy()[:, :dim] for p in parts)
        ]
        alone = loss(replace(reps, queries=cut[0], passages=cut[1], reasoning=cut[2]))
        values.append(alone.value.item())
        losses.append(alone.per_query.numpy())
    assert output.value.item() == pytest.approx(np.mean(values))
    np.testing.assert_allclose(output.per_query, np.mean(losses, axis=0))
    assert output.logged["loss"] == pytest.approx(np.mean(losses))
    gradient = torch.autograd.grad(output.value, reps.queries)[0]
    assert (gradient.abs().sum(0) > 0).all()
    assert open_loss({"name": name, "matryoshka": [2]}).needs == loss.needs


def test_gradients_of_all_losses_are_those_of_their_values():
    """Finite differences; RI-InfoNCE's weights depend on the queries but carry no gradient, so its own test has the formula."""
    for name in set(loss_names()) - {"ri_infonce"}:
        given_fields = {"scores": torch.rand(3, 2), "intensity": torch.rand(3), "teacher": True, "masked": True}
        reps = drawn(10, n=3, group=2, dim=4, reasoning=None, **given_fields)
        loss = open_loss({"name": name, "temperature": 0.5, "matryoshka": [4, 3]})

        def value(queries, passages, loss=loss, reps=reps):
            return loss(replace(reps, queries=queries, passages=passages)).value

        assert torch.autograd.gradcheck(value, (reps.queries, reps.passages))


# Settings


def test_names_and_needs():
    assert loss_names() == ["distillation", "fixed_intensity", "infonce", "listwise", "ri_infonce"]
    needs = {name: set(open_loss({"name": name}).needs) for name in loss_names()}
    assert needs == {
        "distillation": {"teacher"}, "fixed_intensity": {"intensity"}, "infonce": set(), "listwise": {"scores"},
        "ri_infonce": {"reasoning"},
    }  # fmt: skip


def test_the_paper_s_settings():
    """paper.md 2.1, 2.2 and the authors' train.sh."""
    loss = open_loss({"name": "ri_infonce"})
    assert (loss.temperature, loss.start_step, loss.kappa, loss.epsilon) == (0.02, 100, 5.0, 1e-6)
    assert (loss.mapping, loss.norm) == ("clamp", "l1")


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({}, "loss.name is None: use one of distillation, fixed_intensity, infonce"),
        ({"name": "reps"}, "loss.name is 'reps': use one of"),
        ({"name": ["infonce"]}, "loss.name is .*use one of"),
        ({"name": "infonce", "kappa": 5}, "loss.kappa is not a setting of infonce: use temperature, matryoshka"),
        ({"name": "infonce", "temperature": 0}, "loss.temperature is 0: .*greater than 0"),
        ({"name": "infonce", "temperature": NAN}, "loss.temperature is nan: .*finite"),
        ({"name": "ri_infonce", "mapping": "sqrt"}, "loss.mapping is 'sqrt': .*'clamp' or 'none'"),
        ({"name": "ri_infonce", "start_step": -1}, "loss.start_step is -1: .*greater than or equal to 0"),
        ({"name": "infonce", "matryoshka": []}, r"loss.matryoshka is \[\]: .*at least 1"),
        ({"name": "infonce", "matryoshka": [4, 0]}, "loss.matryoshka.1 is 0: .*greater than or equal to 1"),
        ({"name": "infonce", "matryoshka": [4, 4]}, r"loss.matryoshka is \[4, 4\]: name each dimension once"),
    ],
)
def test_wrong_settings_are_refused(given_settings, message):
    with pytest.raises(DataError, match=message):
        open_loss(given_settings)


def test_numbers_as_yaml_writes_them():
    """YAML reads 1e-6 as text."""
    assert open_loss({"name": "ri_infonce", "epsilon": "1e-6"}).epsilon == 1e-6


def test_batches_that_lack_what_a_loss_needs():
    with pytest.raises(DataError, match="without intensities"):
        open_loss({"name": "fixed_intensity"})(drawn())
    with pytest.raises(DataError, match="without annotation scores"):
        open_loss({"name": "listwise"})(drawn())
    with pytest.raises(DataError, match="without a teacher"):
        open_loss({"name": "distillation"})(drawn())
    with pytest.raises(DataError, match="has 16, the vectors have 8 dimensions"):
        open_loss({"name": "infonce", "matryoshka": [16, 4]})(drawn())
