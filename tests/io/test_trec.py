"""TREC runs and judgements: round trips, foreign files, bad lines, pytrec_eval's own parser."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from reasonembed.errors import DataError
from reasonembed.io.trec import read_qrels, read_run, write_qrels, write_run
from reasonembed.types import Hit, Qrels, Run

RUN = Run("bm25", {"q1": (Hit("d2", 3.25), Hit("d1", 1 / 3)), "q2": (Hit("d1", -1e-9),)})


def test_a_run_survives_writing_and_reading(tmp_path):
    write_run(tmp_path / "a.trec", RUN)
    assert read_run(tmp_path / "a.trec") == RUN
    assert (tmp_path / "a.trec").read_text().splitlines()[0] == "q1 Q0 d2 1 3.25 bm25"


def test_ids_with_blanks_survive_too(tmp_path):
    run = Run("my model", {"a query": (Hit("Some page/1 a.txt", 0.5), Hit("b", 0.25))})
    write_run(tmp_path / "a.trec", run)
    assert read_run(tmp_path / "a.trec") == run
    qrels = Qrels({"a query": {"Some page/1 a.txt": 1, "b": 0}})
    write_qrels(tmp_path / "qrels", qrels)
    assert read_qrels(tmp_path / "qrels") == qrels


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20, unique=True))
def test_float32_scores_survive_as_float32_and_in_order(tmp_path_factory, scores):
    path = tmp_path_factory.mktemp("trec") / "a.trec"
    hits = tuple(Hit(f"d{number}", score) for number, score in enumerate(sorted(scores, reverse=True)))
    write_run(path, Run("x", {"q": hits}))
    found = read_run(path).hits["q"]
    assert [hit.id for hit in found] == [hit.id for hit in hits]
    assert [np.float32(hit.score) for hit in found] == [np.float32(hit.score) for hit in hits]


def test_pytrec_eval_reads_what_we_write(tmp_path):
    write_run(tmp_path / "run", RUN)
    write_qrels(tmp_path / "qrels", Qrels({"q1": {"d1": 1, "d2": 0}}))
    with (tmp_path / "run").open() as file:
        assert pytrec_eval.parse_run(file) == RUN.scores()
    with (tmp_path / "qrels").open() as file:
        assert pytrec_eval.parse_qrel(file) == {"q1": {"d1": 1, "d2": 0}}


def test_a_foreign_run_is_ordered_by_score(tmp_path):
    (tmp_path / "a.trec").write_text("q1\tQ0\tlow\t1\t0.5\tx\nq1 Q0  high 2 0.75 x\n\nq1 Q0 tie 3 0.5 x\n")
    assert [hit.id for hit in read_run(tmp_path / "a.trec").hits["q1"]] == ["high", "low", "tie"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 d1 1 0.5", "a.trec:2: 6 columns were expected, found 5"),
        ("q1 Q0 d0 1 0.5 x", "a.trec:2: document 'd0' occurs twice"),
        ("q1 Q0 d1 one 0.5 x", "a.trec:2: rank 'one' or score '0.5' is no number"),
        ("q1 Q0 d1 1 nan x", "a.trec:2: the score is NaN"),
    ],
)
def test_bad_runs(tmp_path, line, message):
    (tmp_path / "a.trec").write_text(f"q1 Q0 d0 1 1.0 x\n{line}\n")
    with pytest.raises(DataError, match=message):
        read_run(tmp_path / "a.trec")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 0 d0 1", "qrels:2: query 'q1' and document 'd0' are judged twice"),
        ("q1 0 d1 high", "qrels:2: the grade 'high' is no whole number"),
        ("q1 0 d1", "qrels:2: 4 columns were expected, found 3"),
    ],
)
def test_bad_judgements(tmp_path, line, message):
    (tmp_path / "qrels").write_text(f"q1 0 d0 1\n{line}\n")
    with pytest.raises(DataError, match=message):
        read_qrels(tmp_path / "qrels")


def test_ids_that_would_break_the_file_are_refused(tmp_path):
    for bad in ("a\tb", "a\nb", ""):
        with pytest.raises(DataError, match="cannot stand in a TREC file"):
            write_run(tmp_path / "a.trec", Run("x", {"q": (Hit(bad, 1.0),)}))
    assert not (tmp_path / "a.trec").exists()
