"""Global batches of one dataset each, as token ids: what stands in batch number n depends on the seed and n alone.

Every process draws the same global batch and tokenises its own share of it, so a training is the same on any number of processes
and goes on from any step.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reasonembed.errors import DataError, ModelError
from reasonembed.model.tokens import TokenIds
from reasonembed.training.data import Dataset

if TYPE_CHECKING:
    from reasonembed.encode.embedder import Embedder
    from reasonembed.model.checkpoint import Checkpoint
    from reasonembed.training.config import LengthsConfig, TrainConfig
    from reasonembed.types import TrainingSample

logger = logging.getLogger(__name__)

OWN_WORDS = 10
"""Shortest query, in words, whose own document is looked for by its text: shorter ones stand in documents by chance."""
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A global batch of Q queries with G passages each; of the texts only this process's share of Q / world queries.

    Attributes:
        step: Of the optimiser, from 0.
        epoch: From 0.
        dataset: Name of it.
        samples: `dataset:line` of all Q samples.
        group: G.
        queries: Token ids of the share's queries, with their prompts.
        passages: Token ids of their passages, query by query, the positive first.
        reasoning: Token ids of their reasoning queries, of the query where a sample has none; None where the loss wants none.
        has_reasoning: (Q,) whether a sample has a reasoning query.
        masked: (Q, Q * G) True where a passage is not a negative of a query, never its own positive; None where all are.
        scores: (Q, G) annotation scores of the passages, NaN unknown; None where the loss wants none.
        intensity: (Q,) fixed reasoning intensity, NaN unknown; None where the loss wants none.
        teacher: The share's queries, then its passages, as token ids of the teacher; None where the loss wants none.
        n_cut: Texts of the share that were cut to their limit.
        n_tokens: Tokens of the share, special tokens included.
    """

    step: int
    epoch: int
    dataset: str
    samples: tuple[str, ...]
    group: int
    queries: list[TokenIds]
    passages: list[TokenIds]
    reasoning: list[TokenIds] | None
    has_reasoning: Flags | None
    masked: Flags | None
    scores: Floats | None
    intensity: Floats | None
    teacher: list[TokenIds] | None
    n_cut: int
    n_tokens: int


def check_lengths(checkpoint: Checkpoint, lengths: LengthsConfig) -> None:
    """Refuse lengths that a model does not take.

    Raises:
        ModelError: Which one, and the most there may be.
    """
    limit = checkpoint.max_positions
    for name, length in lengths.model_dump().items():
        if limit is not None and length > limit:
            raise ModelError(
                f"lengths.{name} is {length}, {checkpoint.name} takes {limit} tokens. "
                f"Fix: `lengths: {{{name}: {limit}}}` or less"
            )


class TextEncoder:
    """Texts of training to token ids, with the prompts that `Embedder` gives them, cut to the recipe's lengths with EOS kept.

    Args:
        embedder: Its tokenizer and its prompts are used.
        config: Its `lengths` and `instruction`.

    Attributes:
        n_cut: Texts cut so far.

    Raises:
        ModelError: A length is more than the model takes.
    """

    def __init__(self, embedder: Embedder, config: TrainConfig) -> None:
        self._embedder = embedder
        self._instruction = config.instruction
        self._lengths = config.lengths
        self.n_cut = 0
        check_lengths(embedder.checkpoint, config.lengths)

    def queries(self, texts: Sequence[str], instructions: Sequence[str | None] | None = None) -> list[TokenIds]:
        """Token ids of queries with their instructions.

        Args:
            texts: Queries.
            instructions: One each; None, as a whole or for a query, takes the recipe's, else the checkpoint's. A model that
                was not trained with instructions keeps its own query prompt.

        Returns:
            One 1-D int64 array a text, at most `lengths.query` long.

        Raises:
            ModelError: A text has no tokens at all, or the model does not pool prompts.
        """
        return self._encode(self._prompted(texts, instructions), self._lengths.query)

    def reasoning(self, texts: Sequence[str], instructions: Sequence[str | None] | None = None) -> list[TokenIds]:
        """As `queries`, at most `lengths.reasoning` long (paper.md 2.1: same instruction and format)."""
        return self._encode(self._prompted(texts, instructions), self._lengths.reasoning)

    def passages(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of passages, at most `lengths.passage` long; see `queries`."""
        prompt = self._pooled(self._embedder.checkpoint.document_prompt)
        return self._encode([prompt + text for text in texts], self._lengths.passage)

    def _prompted(self, texts: Sequence[str], instructions: Sequence[str | None] | None) -> list[str]:
        prompts: dict[str | None, tuple[str, str]] = {}
        for told in dict.fromkeys(instructions or (None,)):
            instruction = self._instruction if told is None else told
            before, after = self._embedder.query_prompt(instruction if self._embedder.takes_instructions else None)
            prompts[told] = (self._pooled(before), after)
        given = instructions or [None] * len(texts)
        return [prompts[told][0] + text + prompts[told][1] for text, told in zip(texts, given, strict=True)]

    def _pooled(self, prompt: str) -> str:
        """A prompt, refused where pooling leaves it out: training pools all tokens."""
        if prompt and not self._embedder.checkpoint.include_prompt:
            raise ModelError(
                f"{self._embedder.name} leaves the prompt {prompt[:40]!r} out of its pooling, which training does not do. "
                "Fix: `instruction: ''`, or a model whose pooling includes prompts"
            )
        return prompt

    def _encode(self, texts: list[str], length: int) -> list[TokenIds]:
        ids, cut = self._embedder.tokenizer.encode(texts, max_length=length)
        self.n_cut += cut
        return ids


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A sample with what was drawn of it: the places of a positive and of negatives, none where it has no negatives."""

    name: str
    sample: TrainingSample
    positive: int
    negatives: tuple[int, ...]

    @property
    def texts(self) -> list[str]:
        """The drawn passages, the positive first."""
        return [self.sample.pos[self.positive], *(self.sample.neg[place] for place in self.negatives)]

    def scores(self, group: int) -> list[float]:
        """Annotation scores of the group's passages, NaN unknown."""
        pos, neg = self.sample.pos_scores, self.sample.neg_scores
        known = [float("nan") if pos is None else pos[self.positive]]
        known += [] if neg is None else [neg[place] for place in self.negatives]
        return known + [float("nan")] * (group - len(known))


class Batches(Sequence[Batch]):
    """All batches of a training by step.

    An epoch shuffles the samples of each dataset, cuts them into global batches, drops the remainder, and shuffles the batches of
    all datasets (paper.md 2.2). Each time a sample comes, one positive and group - 1 negatives are drawn anew: without
    repetition, or where there are too few, each of them as often as any other or once more. A query without any negative gets the
    drawn positives of other queries in their place; these are masked for every query, for they already stand in the batch, so such
    a query is compared with the other queries' passages alone.

    Args:
        datasets: Of `open_datasets`.
        config: Its seed, epochs, steps and mask.
        encode: Makes token ids.
        needs: What the loss wants: `reasoning`, `scores`, `intensity`, `teacher`.
        rank: Number of this process, from 0.
        world: Number of processes; each has a contiguous share of a batch's queries.
        intensity: `dataset:line` -> fixed reasoning intensity.
        teach: Makes token ids of the teacher.

    Raises:
        DataError: The queries of a global batch cannot be shared among the processes, or the loss needs intensities or a teacher
            and there are none.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        *,
        config: TrainConfig,
        encode: TextEncoder,
        needs: frozenset[str],
        rank: int = 0,
        world: int = 1,
        intensity: Mapping[str, float] | None = None,
        teach: TextEncoder | None = None,
    ) -> None:
        if "intensity" in needs and intensity is None:
            raise DataError("the loss needs intensities, and none are given", fix="pass `intensity`, by sample name")
        if "teacher" in needs and teach is None:
            raise DataError("the loss needs a teacher, and none is given", fix="pass `teach`, its encoder of texts")
        for dataset in datasets:
            if dataset.queries % world:
                raise DataError(
                    f"{dataset.queries} queries of a global batch of {dataset.name!r} cannot be shared among {world} processes",
                    fix=f"`queries: {max(1, dataset.queries // world) * world}` beside its path in `data`",
                )
        self._datasets = tuple(datasets)
        self._encode, self._needs, self._intensity, self._teach = encode, needs, intensity, teach
        self._rank, self._world = rank, world
        self._seed, self._mask = config.seed, config.batch.mask
        self.per_epoch = sum(len(dataset.samples) // dataset.queries for dataset in datasets)
        steps = self.per_epoch * config.optimiser.epochs
        self._steps = min(steps, config.optimiser.steps or steps)
        if (asked := config.optimiser.steps or 0) > steps:
            logger.warning(
                "optimiser.steps is %d, but %d passes over the data (optimiser.epochs) have %d: it ends there. Fix: epochs: %d",
                asked, config.optimiser.epochs, steps, -(-asked // max(1, self.per_epoch)),
            )  # fmt: skip
        self._planned: tuple[int, _Plan] = (-1, _Plan([], []))

    def __len__(self) -> int:
        """Steps of all epochs."""
        return self._steps

    def __getitem__(self, step: int) -> Batch:  # type: ignore[override]  # a slice of batches would hold all their texts
        """The batch of a step from 0.

        Raises:
            IndexError: There is no such step.
            DataError: The file of a dataset has changed, or a batch of one query has no negative.
        """
        if not 0 <= step < self._steps:
            raise IndexError(f"step {step} is outside 0..{self._steps - 1}")
        epoch, place = divmod(step, self.per_epoch)
        which, samples = self._plan(epoch).batch(place, self._datasets)
        dataset = self._datasets[which]
        drawn = [self._draw(dataset, index, epoch) for index in samples]
        texts, masked = self._passages(drawn, dataset, epoch)
        return self._tokenised(step, epoch, dataset, drawn, texts, masked)

    def _plan(self, epoch: int) -> _Plan:
        planned = self._planned
        if planned[0] != epoch:
            planned = self._planned = (epoch, _Plan.of(self._datasets, self._seed, epoch))
        return planned[1]

    def _draw(self, dataset: Dataset, index: int, epoch: int) -> _Drawn:
        sample = dataset.samples[index]
        random = Random(f"{self._seed} {epoch} {dataset.name} {index}")
        positive = random.randrange(len(sample.pos))
        wanted, there = dataset.group - 1, len(sample.neg)
        rounds, rest = divmod(wanted, there) if there else (0, 0)
        negatives = (*range(there),) * rounds + tuple(random.sample(range(there), rest))
        return _Drawn(dataset.sample_name(index), sample, positive, negatives)

    def _passages(self, drawn: list[_Drawn], dataset: Dataset, epoch: int) -> tuple[list[list[str]], Flags | None]:
        """The texts of each group, and which of them are no negatives."""
        texts = [row.texts for row in drawn]
        group = dataset.group
        if len(drawn) == 1 and (group == 1 or len(texts[0]) < group):
            raise DataError(
                f"{drawn[0].name} has no negative, and its batch no other query",
                fix="2 queries or more in a global batch, or mine negatives and a group of 2 or more",
            )
        filled = [place for place, row in enumerate(drawn) if len(texts[place]) < group]
        for place in filled:
            others = [row[0] for other, row in enumerate(texts) if other != place]
            texts[place] += Random(f"{self._seed} {epoch} fill {drawn[place].name}").choices(others, k=group - 1)
        masked = None if self._mask == "none" and not filled else self._masked(drawn, texts)
        for place in filled:
            assert masked is not None
            masked[:, place * group + 1 : (place + 1) * group] = True
        return texts, masked

    def _masked(self, drawn: list[_Drawn], texts: list[list[str]]) -> Flags:
        """(Q, Q * G): by `mask`, passages equal to a query's drawn positive; or to any of its known ones, and its own document."""
        flat = [text for row in texts for text in row]  # (Q * G,)
        masked = np.zeros((len(texts), len(flat)), np.bool_)
        if self._mask == "none":
            return masked
        having: dict[str, list[int]] = {}
        for column, text in enumerate(flat):
            having.setdefault(text, []).append(column)
        group = len(texts[0])
        for query, row in enumerate(drawn):
            for text in row.sample.pos if self._mask == "known" else texts[query][:1]:
                masked[query, having.get(text, [])] = True
            if self._mask == "known" and len(row.sample.query.split()) >= OWN_WORDS:
                masked[query] |= [row.sample.query in text for text in flat]
            masked[query, query * group] = False
        return masked

    def _tokenised(
        self, step: int, epoch: int, dataset: Dataset, drawn: list[_Drawn], texts: list[list[str]], masked: Flags | None
    ) -> Batch:
        share = len(drawn) // self._world
        mine = slice(self._rank * share, (self._rank + 1) * share)
        samples = [row.sample for row in drawn[mine]]
        prompts = [dataset.instruction if sample.prompt is None else sample.prompt for sample in samples]
        cut = self._encode.n_cut
        asked, flat = [sample.query for sample in samples], [text for row in texts[mine] for text in row]
        queries, passages = self._encode.queries(asked, prompts), self._encode.passages(flat)
        teacher = None
        if self._teach is not None:
            teacher = [*self._teach.queries(asked, prompts), *self._teach.passages(flat)]
        reasoning = has_reasoning = None
        if "reasoning" in self._needs:
            reasoning = self._encode.reasoning([sample.reasoning_query or sample.query for sample in samples], prompts)
            has_reasoning = np.array([bool(row.sample.reasoning_query) for row in drawn])
        return Batch(
            step=step, epoch=epoch, dataset=dataset.name, samples=tuple(row.name for row in drawn), group=dataset.group,
            queries=queries, passages=passages, reasoning=reasoning, has_reasoning=has_reasoning, masked=masked,
            scores=self._scores(drawn, dataset.group), intensity=self._fixed(drawn), teacher=teacher,
            n_cut=self._encode.n_cut - cut, n_tokens=sum(map(len, (*queries, *passages, *(reasoning or ())))),
        )  # fmt: skip

    def _scores(self, drawn: list[_Drawn], group: int) -> Floats | None:
        if "scores" not in self._needs:
            return None
        return np.array([row.scores(group) for row in drawn], np.float32)  # (Q, G)

    def _fixed(self, drawn: list[_Drawn]) -> Floats | None:
        if "intensity" not in self._needs or self._intensity is None:
            return None
        return np.array([self._intensity.get(row.name, float("nan")) for row in drawn], np.float32)  # (Q,)


@dataclass(frozen=True, slots=True)
class _Plan:
    """An epoch: its batches in order, and the order of the samples of each dataset.

    Attributes:
        batches: (number of the dataset, number of its batch), one a step.
        orders: Places of samples, one array a dataset.
    """

    batches: Sequence[tuple[int, int]]
    orders: Sequence[array[int]]

    @classmethod
    def of(cls, datasets: Sequence[Dataset], seed: int, epoch: int) -> _Plan:
        batches = [
            (which, number)
            for which, dataset in enumerate(datasets)
            for number in range(len(dataset.samples) // dataset.queries)
        ]
        Random(f"{seed} {epoch} batches").shuffle(batches)
        return cls(batches, list(_orders(datasets, seed, epoch)))

    def batch(self, place: int, datasets: Sequence[Dataset]) -> tuple[int, list[int]]:
        """Number of the dataset and places of the samples of a batch."""
        which, number = self.batches[place]
        queries = datasets[which].queries
        return which, self.orders[which][number * queries : (number + 1) * queries].tolist()


def _orders(datasets: Sequence[Dataset], seed: int, epoch: int) -> Iterator[array[int]]:
    for dataset in datasets:
        order = array("I", range(len(dataset.samples)))
        Random(f"{seed} {epoch} {dataset.name} samples").shuffle(order)
        yield order
