"""Batches: what stands in one depends on seed and step alone, shares put together are the whole, masks are right, EOS stays."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from reasonembed.encode.embedder import Embedder
from reasonembed.errors import DataError, ModelError
from reasonembed.training.batches import OWN_WORDS, Batches, TextEncoder
from reasonembed.training.config import parse_train_config
from reasonembed.training.data import Dataset
from reasonembed.types import TrainingSample

NONE = frozenset()


@pytest.fixture(scope="module")
def embedder(tiny_qwen3):
    return Embedder(
        tiny_qwen3,
        engine="torch",
        device="cpu",
        dtype="float32",
        query_format="Instruct: {}\nQuery: {}",
        instruction="Own",
    )


def samples(name, count, *, pos=3, neg=6, **more):
    return [
        TrainingSample(f"{name} q{n}", tuple(f"{name} p{n}.{m}" for m in range(pos)), tuple(f"{name} n{n}.{m}" for m in range(neg)), **more)
        for n in range(count)
    ]  # fmt: skip


def config(**more):
    return parse_train_config({"name": "t", "data": "x", "loss": {"name": "infonce"}, **more})


def batches(embedder, datasets, *, needs=NONE, rank=0, world=1, intensity=None, teacher=None, **more):
    made = config(**more)
    return Batches(
        datasets,
        config=made,
        encode=TextEncoder(embedder, made),
        needs=needs,
        rank=rank,
        world=world,
        intensity=intensity,
        teach=None if teacher is None else TextEncoder(teacher, made),
    )


def two(queries=4, group=4):
    return [Dataset("a", samples("a", 22), queries, group), Dataset("b", samples("b", 15), 6, 3)]


def text(embedder, ids):
    """Token ids as the text they were made of, special tokens left out."""
    return embedder.tokenizer.tokenizer.decode(ids.tolist(), skip_special_tokens=True)


def flat(embedder, batch):
    """All of a batch in a form that compares."""
    return (
        batch.step, batch.epoch, batch.dataset, batch.samples,
        [text(embedder, ids) for ids in batch.queries], [text(embedder, ids) for ids in batch.passages],
    )  # fmt: skip


def test_a_batch_depends_on_seed_and_step_alone(embedder):
    optimiser = {"epochs": 3}
    made = batches(embedder, two(), optimiser=optimiser)
    assert len(made) == 3 * (22 // 4 + 15 // 6)
    forward = [flat(embedder, made[step]) for step in range(len(made))]
    fresh = batches(embedder, two(), optimiser=optimiser)
    backward = [flat(embedder, fresh[step]) for step in reversed(range(len(fresh)))]
    assert forward == backward[::-1]
    other = batches(embedder, two(), optimiser=optimiser, seed=43)
    assert forward != [flat(embedder, other[step]) for step in range(len(other))]
    capped = batches(embedder, two(), optimiser={"epochs": 3, "steps": 2})
    assert [flat(embedder, capped[step]) for step in range(len(capped))] == forward[:2]
    for step in (-1, len(made)):
        with pytest.raises(IndexError, match="outside 0"):
            made[step]


def test_adding_a_dataset_leaves_the_batches_of_the_others(embedder):
    alone = batches(embedder, two()[:1])
    both = batches(embedder, two())
    of_a = {flat(embedder, both[step])[3]: flat(embedder, both[step])[4:] for step in range(len(both))}
    for step in range(len(alone)):
        batch = flat(embedder, alone[step])
        assert of_a[batch[3]] == batch[4:]


def test_a_batch_is_of_one_dataset_and_an_epoch_goes_once_through_the_samples(embedder):
    made = batches(embedder, two(), optimiser={"epochs": 2})
    orders = []
    for epoch in range(2):
        steps = [made[step] for step in range(epoch * made.per_epoch, (epoch + 1) * made.per_epoch)]
        for batch in steps:
            assert {name.split(":")[0] for name in batch.samples} == {batch.dataset}
            assert batch.epoch == epoch
            assert (len(batch.samples), batch.group) == {"a": (4, 4), "b": (6, 3)}[batch.dataset]
        counts = Counter(name for batch in steps for name in batch.samples)
        assert set(counts.values()) == {1}
        assert Counter(name[0] for name in counts) == {"a": 20, "b": 12}  # the remainder is dropped
        orders.append([batch.samples for batch in steps])
    assert {batch[0][0] for batch in orders[0][:7]} == {"a", "b"}
    assert orders[0] != orders[1]


def test_more_steps_than_the_epochs_have_are_told(embedder, caplog):
    assert len(batches(embedder, two(), optimiser={"epochs": 1, "steps": 100})) == 7
    assert "optimiser.steps is 100" in caplog.text
    assert "epochs: 15" in caplog.text
    caplog.clear()
    assert len(batches(embedder, two(), optimiser={"epochs": 1, "steps": 7})) == 7
    assert not caplog.text


def test_passages_are_of_their_query_without_repetition_and_redrawn(embedder):
    made = batches(embedder, [Dataset("a", samples("a", 8), 4, 5)], optimiser={"epochs": 6})
    seen = {}
    for step in range(len(made)):
        batch = made[step]
        for place, name in enumerate(batch.samples):
            number = int(name.split(":")[1]) - 1
            drawn = [text(embedder, ids) for ids in batch.passages[place * 5 : (place + 1) * 5]]
            assert drawn[0] in {f"a p{number}.{m}" for m in range(3)}
            assert len(set(drawn)) == 5
            assert set(drawn[1:]) <= {f"a n{number}.{m}" for m in range(6)}
            assert text(embedder, batch.queries[place]) == f"Instruct: Own\nQuery: a q{number}"
            seen.setdefault(number, []).append(drawn)
    assert all(len({tuple(drawn) for drawn in rows}) > 1 for rows in seen.values())
    positives = {drawn[0] for rows in seen.values() for drawn in rows}
    assert len(positives) > len(seen)  # more than one positive of a query comes


@pytest.mark.parametrize(("group", "often"), [(9, [2, 3, 3]), (5, [1, 1, 2]), (4, [1, 1, 1])])
def test_too_few_negatives_repeat_equally_often(embedder, group, often):
    batch = batches(embedder, [Dataset("a", samples("a", 8, neg=3), 8, group)])[0]
    for place in range(8):
        counts = Counter(text(embedder, ids) for ids in batch.passages[place * group + 1 : (place + 1) * group])
        assert sorted(counts.values()) == often
    assert batch.masked is None


def test_a_query_without_negatives_is_compared_with_the_others_passages(embedder):
    rows = [*samples("a", 3), TrainingSample("bare", ("only",), ())]
    batch = batches(embedder, [Dataset("a", rows, 4, 3)])[0]
    place = batch.samples.index("a:4")
    columns = list(range(place * 3 + 1, place * 3 + 3))
    expected = np.zeros((4, 12), bool)
    expected[:, columns] = True
    np.testing.assert_array_equal(batch.masked, expected)
    others = {text(embedder, batch.passages[i * 3]) for i in range(4) if i != place}
    assert {text(embedder, batch.passages[column]) for column in columns} <= others
    alone = batches(embedder, [Dataset("a", rows[3:], 1, 2)])
    with pytest.raises(DataError, match="a:1 has no negative, and its batch no other query"):
        alone[0]


def test_a_group_of_one_has_the_positives_alone(embedder):
    batch = batches(embedder, [Dataset("a", samples("a", 4), 4, 1)])[0]
    numbers = [int(name.split(":")[1]) - 1 for name in batch.samples]
    assert len(batch.passages) == 4
    for number, ids in zip(numbers, batch.passages, strict=True):
        assert text(embedder, ids) in {f"a p{number}.{m}" for m in range(3)}
    assert batch.masked is None
    alone = batches(embedder, [Dataset("a", samples("a", 1), 1, 1)])
    with pytest.raises(DataError, match="a:1 has no negative, and its batch no other query"):
        alone[0]


def test_masks_by_hand(embedder):
    rows = [
        TrainingSample("q0", ("x",), ("n0",)),
        TrainingSample("q1", ("y",), ("x",)),  # its negative is q0's positive
        TrainingSample("q2", ("x",), ("n2",)),  # the same positive as q0
        TrainingSample("q3", ("z", "n0", "y"), ("n3",)),  # one of its positives is q0's negative, one q1's positive
    ]
    data = [Dataset("a", rows, 4, 2)]
    batch = {mode: batches(embedder, data, batch={"mask": mode})[0] for mode in ("none", "duplicates", "known")}
    assert batch["none"].masked is None
    order = [int(name.split(":")[1]) - 1 for name in batch["known"].samples]
    drawn = text(embedder, batch["known"].passages[order.index(3) * 2])
    column = {(query, slot): order.index(query) * 2 + slot for query in range(4) for slot in range(2)}
    texts = {
        (0, 0): "x",
        (0, 1): "n0",
        (1, 0): "y",
        (1, 1): "x",
        (2, 0): "x",
        (2, 1): "n2",
        (3, 0): drawn,
        (3, 1): "n3",
    }
    for mode in ("duplicates", "known"):
        expected = np.zeros((4, 8), bool)
        for query, sample in enumerate(rows):
            known = sample.pos if mode == "known" else (texts[query, 0],)
            for (owner, slot), passage in texts.items():
                if passage in known and (owner, slot) != (query, 0):
                    expected[order.index(query), column[owner, slot]] = True
        np.testing.assert_array_equal(batch[mode].masked, expected)
    known = batch["known"].masked
    assert known[order.index(0), column[1, 1]]
    assert known[order.index(0), column[2, 0]]
    assert known[order.index(3), column[0, 1]]
    assert not known[order.index(1)].any() or drawn == "y"


def test_a_long_query_never_meets_the_document_it_was_taken_from(embedder):
    own = "every compact subset of a metric space is closed and bounded"
    assert len(own.split()) > OWN_WORDS
    rows = [
        TrainingSample(own, ("limit points",), ("far",)),
        TrainingSample("second", (f"Theorem. {own}. Proof.",), (own,)),  # both hold the text of the first query
        TrainingSample("far", ("third",), ("near",)),  # short: its text in another's negative is chance
    ]
    data = [Dataset("a", rows, 3, 2)]
    for mode, masked in (("duplicates", 0), ("known", 2)):
        batch = batches(embedder, data, batch={"mask": mode})[0]
        place = {int(name.split(":")[1]) - 1: row for row, name in enumerate(batch.samples)}
        assert batch.masked.sum() == masked
        assert batch.masked[place[0], place[1] * 2 : place[1] * 2 + 2].sum() == masked


@pytest.mark.parametrize("world", [2, 4])
def test_shares_put_together_are_the_global_batch(embedder, world):
    rows = samples("a", 9, pos_scores=(3, 4, 5), neg_scores=(1, 1, 2, 2, 1, 1), reasoning_query="because")
    needs = frozenset({"reasoning", "scores", "intensity"})
    intensity = {f"a:{line}": line / 10 for line in range(1, 9)}
    options = {"needs": needs, "intensity": intensity, "batch": {"mask": "known"}}
    whole = batches(embedder, [Dataset("a", rows, 4, 3)], **options)
    shares = [batches(embedder, [Dataset("a", rows, 4, 3)], rank=rank, world=world, **options) for rank in range(world)]
    for step in range(len(whole)):
        expected, parts = whole[step], [share[step] for share in shares]
        for name in ("queries", "passages", "reasoning"):
            joined = [ids.tolist() for part in parts for ids in getattr(part, name)]
            assert joined == [ids.tolist() for ids in getattr(expected, name)]
        assert {len(part.passages) for part in parts} == {12 // world}
        assert sum(part.n_tokens for part in parts) == expected.n_tokens
        for part in parts:
            assert part.samples == expected.samples
            for name in ("has_reasoning", "masked", "scores", "intensity"):
                np.testing.assert_array_equal(getattr(part, name), getattr(expected, name))
    assert expected.intensity.tolist() == [
        pytest.approx(intensity.get(name, float("nan")), nan_ok=True) for name in expected.samples
    ]


def test_scores_stand_with_their_passages(embedder):
    rows = [
        TrainingSample("q0", ("p5", "p4"), ("n1", "n2"), pos_scores=(5, 4), neg_scores=(1, 2)),
        TrainingSample("q1", ("p",), ("n",), pos_scores=(3,)),
        TrainingSample("q2", ("p",), ()),
    ]
    batch = batches(embedder, [Dataset("a", rows, 3, 3)], needs=frozenset({"scores"}))[0]
    found = {name: batch.scores[place].tolist() for place, name in enumerate(batch.samples)}
    place = batch.samples.index("a:1")
    drawn = [text(embedder, ids) for ids in batch.passages[place * 3 : place * 3 + 3]]
    assert found["a:1"] == [float(passage[1]) for passage in drawn]
    assert found["a:2"][0] == 3
    assert np.isnan(found["a:2"][1:]).all()
    assert np.isnan(found["a:3"]).all()
    assert batch.reasoning is None
    assert batch.intensity is None


@pytest.mark.parametrize("world", [1, 2])
def test_the_teacher_reads_the_same_texts_its_own_way(embedder, tiny, world):
    teacher = Embedder(tiny("bert"), engine="torch", device="cpu", dtype="float32")
    for rank in range(world):
        made = batches(
            embedder,
            two(),
            needs=frozenset({"teacher"}),
            rank=rank,
            world=world,
            teacher=teacher,
            lengths={"query": 100, "passage": 5, "reasoning": 100},
        )
        for step in range(len(made)):
            batch = made[step]
            queries, passages = batch.teacher[: len(batch.queries)], batch.teacher[len(batch.queries) :]
            said = [text(embedder, ids).removeprefix("Instruct: Own\nQuery: ") for ids in batch.queries]
            assert [text(teacher, ids) for ids in queries] == said  # this one takes no instruction
            assert len(passages) == len(batch.passages)
            assert {len(ids) for ids in passages} == {5}
            for ours, theirs in zip(batch.passages, passages, strict=True):
                assert text(embedder, ours).startswith(text(teacher, theirs))
    assert batches(embedder, two())[0].teacher is None


def test_a_query_without_reasoning_takes_its_own_text(embedder):
    rows = [TrainingSample("q0", ("p",), ("n",), reasoning_query="long q0"), TrainingSample("q1", ("p",), ("n",))]
    batch = batches(embedder, [Dataset("a", rows, 2, 2)], needs=frozenset({"reasoning"}))[0]
    found = [text(embedder, ids).split("Query: ")[1] for ids in batch.reasoning]
    first = batch.samples.index("a:1")
    assert (found[first], found[1 - first]) == ("long q0", "q1")
    assert batch.has_reasoning.tolist() == [name == "a:1" for name in batch.samples]


def test_long_texts_are_cut_with_their_eos_and_counted(embedder):
    lengths = {"query": 16, "passage": 9, "reasoning": 20}
    rows = [TrainingSample("word " * 50, ("text " * 50,), ("n",), reasoning_query="why " * 50)] * 2
    batch = batches(embedder, [Dataset("a", rows, 2, 2)], needs=frozenset({"reasoning"}), lengths=lengths)[0]
    eos = embedder.tokenizer.suffix[-1]
    for ids, limit in ((batch.queries, 16), (batch.reasoning, 20), (batch.passages[::2], 9)):
        assert {len(row) for row in ids} == {limit}
    everything = [*batch.queries, *batch.reasoning, *batch.passages]
    assert {int(ids[-1]) for ids in everything} == {eos}
    assert batch.n_cut == 6  # two of each kind; the negatives are short
    assert batch.n_tokens == sum(map(len, everything))


def test_token_ids_are_those_the_embedder_uses(embedder):
    encode = TextEncoder(embedder, config(lengths={"query": 40, "passage": 40, "reasoning": 40}))
    queries, passages = ["Which theorem?", "why"], ["A matrix.", "Rain " * 60]
    for ids, expected in (
        (encode.queries(queries), embedder.encode_queries(queries, max_length=40)),
        (
            encode.queries(queries, ["Find", "Find"]),
            embedder.encode_queries(queries, instruction="Find", max_length=40),
        ),
        (encode.passages(passages), embedder.encode_corpus(passages, max_length=40)),
    ):
        vectors = embedder.engine.embed(ids)
        np.testing.assert_allclose(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), expected, atol=1e-5)


def test_instructions_of_sample_dataset_recipe_and_checkpoint(embedder, tiny):
    def first(dataset_instruction, prompt, recipe, model=embedder):
        rows = [TrainingSample("q", ("p",), ("n",), prompt=prompt), TrainingSample("q", ("p",), ("n",), prompt=prompt)]
        lengths = {"query": 64, "passage": 64, "reasoning": 64}
        made = batches(model, [Dataset("a", rows, 2, 2, dataset_instruction)], instruction=recipe, lengths=lengths)
        return text(model, made[0].queries[0])

    assert first(None, None, None) == "Instruct: Own\nQuery: q"
    assert first(None, None, "recipe") == "Instruct: recipe\nQuery: q"
    assert first("dataset", None, "recipe") == "Instruct: dataset\nQuery: q"
    assert first("dataset", "sample", "recipe") == "Instruct: sample\nQuery: q"
    assert first("dataset", "", "recipe") == "q"
    plain = Embedder(tiny("bert"), engine="torch", device="cpu", dtype="float32", pooling="mean")
    assert first("dataset", "sample", "recipe", plain) == "q"


def test_what_cannot_be_is_refused(embedder, tiny):
    with pytest.raises(DataError, match=r"6 queries of a global batch of 'b' cannot be shared among 4 .* `queries: 4`"):
        batches(embedder, two(), rank=0, world=4)
    with pytest.raises(DataError, match="needs intensities"):
        batches(embedder, two(), needs=frozenset({"intensity"}))
    plain = Embedder(tiny("bert"), engine="torch", device="cpu", dtype="float32", pooling="mean")
    with pytest.raises(ModelError, match=r"lengths.query is 512, bert takes 128 tokens"):
        TextEncoder(plain, config())
