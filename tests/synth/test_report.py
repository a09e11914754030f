"""The report: figures against counts made by hand, every text escaped, one file without network or script."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import asdict
from html.parser import HTMLParser

import pytest

from reasonembed.dataset.samples import write_samples
from reasonembed.errors import DataError
from reasonembed.io.jsonl import write_jsonl
from reasonembed.pages.charts import RangeRow, histograms, ranges, stacked
from reasonembed.pages.page import duration
from reasonembed.synth.config import SynthConfig
from reasonembed.synth.documents import store_documents
from reasonembed.synth.findings import bucket, find_out, findings_dict
from reasonembed.synth.folder import Run, StageReport
from reasonembed.synth.report import write_report
from reasonembed.synth.triviality import mean_reciprocal, overlap, source_ranks, word_searcher
from reasonembed.types import Annotation, Document, SynthQuery, TrainingSample

EVIL = '</p></style><script>alert("x")</script><img src=http://evil.test/a.png onerror=alert(1)>&amp;{title}'
DOCUMENTS = {
    "a": "an eigenvector keeps its direction under a linear map",
    "b": "rain falls when moist air rises and cools",
    "c": "a matrix is invertible when its determinant is not zero",
    "d": f"hostile text {EVIL}",
}
QUERIES = [
    SynthQuery(
        "a#q1", "does an eigenvector of a linear map keep its direction", "a", (0, 99), "college", "first, think"
    ),
    SynthQuery("b#q1", "why is my laundry wet", "b", (100, 200), "phd"),
    SynthQuery("d#q1", f"what is hostile {EVIL}", "d", (0, 99), EVIL),
]
ANNOTATIONS = [
    Annotation("a#q1", "c", 4.0, (4.0,), "the determinant helps", 1),
    Annotation("a#q1", "b", 1.5, (1.0, 2.0), "rain does not", 2),
    Annotation("d#q1", "a", 5.0, (5.0,), EVIL, 1),
    Annotation("d#q1", "b", 2.0, (2.0,), "no", 7),
    Annotation("d#q1", "c", 2.5, (2.5,), "hm", 60),
]


@pytest.fixture
def run(tmp_path):
    write_jsonl(tmp_path / "corpus.jsonl", ({"id": key, "text": text} for key, text in DOCUMENTS.items()))
    folder = tmp_path / "run"
    config = SynthConfig(name="tiny", corpus=(tmp_path / "corpus.jsonl",), kind=f"Write a {EVIL} question.")
    made = Run(folder, config)
    store_documents([tmp_path / "corpus.jsonl"], folder / "0_corpus")
    write_jsonl(made.path("sources"), ({"id": key} for key in "abd"))
    write_jsonl(made.path("queries"), map(asdict, QUERIES))
    write_jsonl(made.path("annotate"), map(asdict, ANNOTATIONS))
    write_samples(made.path("samples"), [TrainingSample(QUERIES[0].text, ("x",), ("y",))])
    made.record(StageReport("sources", {"written": 3}), {}, [])
    report = StageReport(
        "queries", {"sources": 4, "written": 3}, {EVIL: 1}, requests=5, cached=1, prompt_tokens=1000, completion_tokens=500,
        seconds=12.5, cost=0.25, llm={"model": EVIL},
    )  # fmt: skip
    made.record(report, {}, [])
    made.record(StageReport("annotate", {"written": 5}), {}, [])
    return made


def test_figures_by_hand(run):
    found = find_out(run)
    assert (found.documents, found.queries) == (4, 3)
    (short, long) = found.lengths
    assert (short.least, short.most, short.queries, short.inside) == (0, 99, 2, 2)
    assert (long.queries, long.inside, long.words.median) == (1, 0, 5)
    assert found.labels == {
        "1": (0, 0, 0, 1, 1),
        "2–5": (0, 1, 0, 0, 0),
        "6–10": (0, 1, 0, 0, 0),
        "51–100": (0, 0, 1, 0, 0),
    }
    assert [(item.query.id, item.positive[1].document, item.negative[1].document) for item in found.examples] == [
        ("a#q1", "c", "b"), ("d#q1", "a", "b"),
    ]  # fmt: skip
    assert found.triviality.ranks == (1, None, 1)
    assert found.triviality.reciprocal == pytest.approx(2 / 3)
    assert len(found.triviality.positive) == 2
    assert found.samples["tiny"].samples == 1
    assert json.dumps(findings_dict(found))


def test_overlap_and_ranks_by_hand():
    # stemmed, without stop words: doe, eigenvector, keep, direct, laundri; three of five are in the document
    assert overlap("Does an eigenvector keep the direction of laundry?", DOCUMENTS["a"]) == 0.6
    assert overlap("the of and", DOCUMENTS["a"]) is None
    searcher = word_searcher([Document(key, text) for key, text in DOCUMENTS.items()])
    assert source_ranks(searcher, ["eigenvector direction", "determinant", "laundry"], ["a", "b", "c"]) == [
        1,
        None,
        None,
    ]
    assert mean_reciprocal([1, None, 4]) == pytest.approx(1.25 / 3)


@pytest.mark.parametrize(
    ("rank", "label"), [(1, "1"), (2, "2–5"), (5, "2–5"), (6, "6–10"), (100, "51–100"), (101, "> 100")]
)
def test_buckets(rank, label):
    assert bucket(rank) == label


class Page(HTMLParser):
    """Tags with their attributes, and the visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def parsed(path):
    page = Page()
    page.feed(path.read_text("utf-8"))
    page.close()
    assert page.open == []
    return page


def test_a_hostile_run_injects_nothing(run):
    page = parsed(write_report(run.folder))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "iframe", "link", "object", "a", "form"}
    attributes = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in attributes if name.startswith("on")}
    assert not attributes & {"src", "href", "style"}
    assert page.words.count('<script>alert("x")</script>') >= 5  # title, summary of losses, levels, query, reason, ...
    assert any(tag == "meta" and "default-src 'none'" in str(attributes) for tag, attributes in page.tags)


def test_what_a_person_looks_for_is_there(run):
    words = parsed(write_report(run.folder)).words
    for wanted in (
        "4 documents, 3 queries, 1 training samples", "Length drawn and length got", "100–200", "the determinant helps",
        "Triviality", "0.667", "1,000", "0.25", "12.5 s",
    ):  # fmt: skip
        assert wanted in words, wanted


def test_a_run_that_has_only_begun(tmp_path):
    config = SynthConfig(name="new", corpus=(tmp_path / "corpus.jsonl",))
    run = Run(tmp_path / "run", config)
    write_jsonl(run.path("sources"), [])
    run.record(StageReport("sources"), {}, [])
    assert "0 documents, 0 queries" in parsed(write_report(run.folder)).words
    with pytest.raises(DataError, match=r"manifest\.json is missing"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (3599.4, "59 min 59 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def shapes(svg):
    root = ET.fromstring(svg[: svg.index("</svg>") + 6])
    return [item for item in root if item.tag.endswith("rect")], root


def test_stacked_bars_are_as_wide_as_their_shares():
    rects, _ = shapes(stacked({"x": (1, 3), "none": (0, 0), EVIL: (2, 2)}, ("no", "yes"), title=EVIL))
    widths = [float(rect.get("width")) for rect in rects]
    assert widths[1] == pytest.approx(3 * widths[0], rel=0.01)
    assert widths[2:4] == [0, 0]
    assert sum(widths[:2]) == pytest.approx(sum(widths[4:]), abs=0.2)


def test_histograms_are_as_tall_as_their_shares():
    rects, _ = shapes(histograms(("0", "1"), {"one": (1, 3), "two": (20, 20)}, title="t"))
    tall = {rect[0].text: float(rect.get("height")) for rect in rects}
    assert tall["one, 1: 75.0% (3)"] == pytest.approx(1.5 * tall["two, 0: 50.0% (20)"], rel=0.01)
    assert tall["one, 0: 25.0% (1)"] == pytest.approx(tall["two, 1: 50.0% (20)"] / 2, rel=0.02)


def test_ranges_stay_in_the_drawing():
    rows = [RangeRow("a", (0, 99), 10, 50, 300, "x"), RangeRow("b", (500, None), 100, 120, 150, "y")]
    rects, root = shapes(ranges(rows, title="t"))
    assert all(float(rect.get("x")) + float(rect.get("width")) <= 360 for rect in rects)
    assert re.search(r"<circle|circle", ET.tostring(root, "unicode"))
    assert shapes(ranges([], title="t"))[0] == []
