"""Statistics against counts made by hand, and the distribution against numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reasonembed.dataset.statistics import spread, statistics
from reasonembed.types import TrainingSample


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_spread_against_numpy(values):
    found = spread(values)
    assert found.mean == np.mean(values) or abs(found.mean - np.mean(values)) < 1e-9
    assert (found.least, found.most) == (min(values), max(values))
    assert found.median == np.quantile(values, 0.5, method="inverted_cdf")
    assert found.p95 == np.quantile(values, 0.95, method="inverted_cdf")


def test_counts_by_hand():
    samples = [
        TrainingSample("one two", ("a", "b"), ("c",), pos_scores=(3.0, 4.5), neg_scores=(1.0,), batch_size=8),
        TrainingSample("one two", ("a",), ("a", "dd"), reasoning_query="because it is so", prompt="P"),
        TrainingSample("three", ("e",), ()),
    ]
    found = statistics(samples)
    assert (found.samples, found.positives, found.negatives, found.passages) == (3, 4, 3, 5)
    assert (found.repeated_queries, found.contradictions, found.without_negatives, found.with_reasoning) == (1, 1, 1, 1)
    assert found.scores == {1: 1, 3: 1, 5: 1}
    assert found.reasoning_words.mean == 4
    assert found.passage_chars.most == 2
    assert found.batch_size == {"8": 1, "None": 2}
    assert found.prompts == {"None": 2, "P": 1}
    assert found.as_dict()["pos"]["most"] == 2


def test_nothing():
    found = statistics([])
    assert (found.samples, found.pos, found.scores) == (0, None, {})
