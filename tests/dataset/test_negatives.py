"""Negatives of known pairs: from the asked ranks of every view, never what is relevant, excluded, or nearly so; by the seed alone."""

from __future__ import annotations

from collections import Counter

import pytest

from reasonembed.dataset import negatives
from reasonembed.dataset.negatives import KnownQuery, with_negatives
from reasonembed.errors import DataError
from reasonembed.search.bm25 import BM25Searcher
from reasonembed.types import Document, Hit

WORDS = [f"word{number}" for number in range(2_000)]


def long(place: int) -> str:
    return " ".join(WORDS[place * 30 : place * 30 + 30])


DOCUMENTS = [Document(f"d{n:02}", long(n), "T" if n % 2 else "") for n in range(40)]
TEXTS = {document.id: document.content for document in DOCUMENTS}


class Listed:
    """A view that ranks ids in a fixed order, whatever is asked; what is excluded goes before the cut."""

    def __init__(self, ids):
        self.ids = ids

    def search(self, queries, k, exclude=None):
        kept = [[key for key in self.ids if key not in left_out] for left_out in exclude]
        return [[Hit(key, -float(rank)) for rank, key in enumerate(ids[:k])] for ids in kept]


DOWN, UP = Listed(sorted(TEXTS)), Listed(sorted(TEXTS, reverse=True))


def made(queries, *views, documents=DOCUMENTS, **options):
    return list(with_negatives(queries, documents, views or (DOWN,), **{"seed": 1, **options}))


def ids(texts):
    back = {text: key for key, text in TEXTS.items()}
    return {back[text] for text in texts}


def numbered(*numbers):
    return {f"d{n:02}" for n in numbers}


def test_ranks_are_counted_without_positives_and_what_is_excluded():
    query = KnownQuery("q", ("d00", "d05"), "q because", exclude=("d03", "nowhere"))
    (sample,) = made([query], n=50, ranks=(3, 6))
    assert (sample.query, sample.reasoning_query) == ("q", "q because")
    assert sample.pos == (TEXTS["d00"], TEXTS["d05"])
    assert ids(sample.neg) == numbered(4, 6, 7, 8)  # left are 1 2 4 6 7 8 ...
    assert len(sample.neg) == 4


def test_every_view_gives_its_ranks_and_a_document_counts_once():
    (sample,) = made([KnownQuery("q", ("d39",))], DOWN, UP, n=99, ranks=(1, 3))
    assert ids(sample.neg) == numbered(0, 1, 2, 38, 37, 36)
    (sample,) = made([KnownQuery("q", ("d39",))], DOWN, DOWN, n=99, ranks=(1, 3))
    assert sorted(ids(sample.neg)) == sorted(numbered(0, 1, 2))
    assert len(sample.neg) == 3


def test_what_nearly_repeats_a_positive_or_an_excluded_one_is_left_out():
    words = long(0).split() * 4
    near = " ".join([*words[:-1], "changed"])
    documents = [Document("a", " ".join(words)), Document("near", near), Document("same", " ".join(words)), *DOCUMENTS]
    view = Listed(["near", "same", "a", *sorted(TEXTS)])
    for query in (KnownQuery("q", ("a",)), KnownQuery("q", ("d20",), exclude=("a",))):
        (sample,) = made([query], view, documents=documents, n=9, ranks=(1, 2))
        assert ids(sample.neg) == numbered(0, 1)
        (sample,) = made([query], view, documents=documents, n=9, ranks=(1, 2), near=None)
        assert set(sample.neg) == {near, TEXTS["d00"]}  # equal texts still count as one


def test_the_draw_follows_from_seed_and_query_alone(monkeypatch):
    queries = [KnownQuery(f"q{n}", (f"d{n:02}",)) for n in range(7)]
    whole = made(queries, n=4)
    assert all(len(set(sample.neg)) == 4 for sample in whole)
    assert whole[2:4] == made(queries[2:4], n=4)
    monkeypatch.setattr(negatives, "QUERY_BLOCK", 2)
    assert made(queries, n=4) == whole
    assert made(queries, n=4, seed=2) != whole
    one, other = made([KnownQuery("q", ("d00",), key="1"), KnownQuery("q", ("d00",), key="2")], n=4)
    assert one.neg != other.neg


def test_equal_texts_of_a_query_are_one_positive_and_no_negative():
    documents = [*DOCUMENTS, Document("copy", TEXTS["d02"])]
    (sample,) = made([KnownQuery("q", ("d02", "copy"))], documents=documents, n=9, ranks=(1, 3))
    assert sample.pos == (TEXTS["d02"],)
    assert ids(sample.neg) == numbered(0, 1, 3)


def test_a_query_without_negatives_is_counted_and_gives_no_sample():
    words = BM25Searcher()
    words.add(list(TEXTS), list(TEXTS.values()))
    counts = Counter()
    queries = [KnownQuery("unheard of", ("d00",)), KnownQuery("word30 word60 word90 word0", ("d00",))]
    (sample,) = made(queries, words, ranks=(1, 9), counts=counts)
    assert ids(sample.neg) == numbered(1, 2, 3)
    assert counts == {negatives.NO_NEGATIVE: 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ranks": (0, 5)}, r"ranks=\(0, 5\)"),
        ({"ranks": (6, 5)}, r"ranks=\(6, 5\)"),
        ({"n": 0}, "n=0 negatives from 1 views"),
        ({"queries": [KnownQuery("why?", ())]}, "'why\\?' has no positive"),
        ({"queries": [KnownQuery("why?", ("d00", "x"))]}, "'x', positive of 'why\\?', is not among the documents"),
        ({"documents": DOCUMENTS[:5]}, "a view found 'd05', which is not among the documents"),
    ],
)
def test_what_cannot_be_mined_is_refused(change, said):
    with pytest.raises(DataError, match=said):
        made(**{"queries": [KnownQuery("q", ("d00",))], **change})


def test_no_view_is_refused():
    with pytest.raises(DataError, match="from 0 views"):
        list(with_negatives([KnownQuery("q", ("d00",))], DOCUMENTS, [], seed=1))
