"""Pairs and click logs: documents by id, text and file; what is wrong is refused with its line, what is unknown is told."""

from __future__ import annotations

import json

import pytest

from reasonembed.adaptation.pairs import KnownPair, read_pairs
from reasonembed.errors import DataError
from reasonembed.types import Document

DOCUMENTS = [
    Document("docs/rules.md#L1", "Holidays are asked for in writing.", "Rules > Holidays"),
    Document("docs/rules.md#L9", "The laboratory is locked at six.", "Rules > Laboratory"),
    Document("docs/c#/rules.md#L1", "Names of methods begin with a capital.", "Style"),
    Document("docs/one.txt#L1", "Nothing but this.", ""),
    Document("7", "A record with\n  a number.", "Seven"),
]


@pytest.fixture
def read(tmp_path):
    """A function: text of a file, its name -> (query -> documents, place -> reason)."""

    def read(text, name="pairs.csv", **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        result = read_pairs(path, DOCUMENTS, **options)
        return {pair.query: pair.documents for pair in result.pairs}, {one.place: one.reason for one in result.skipped}

    return read


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_document_is_an_id_a_text_or_a_file(read):
    text = "query,document\nby id,docs/rules.md#L9\nby number,7\nby text,a RECORD with a  number.\n"
    text += "with title,Seven A record with a number.\n"
    text += "when is the laboratory locked,docs/rules.md\nwho grants holidays,docs/rules.md\nno word in common,docs/one.txt\n"
    assert read(text) == (
        {
            "by id": ("docs/rules.md#L9",),
            "by number": ("7",),
            "by text": ("7",),
            "with title": ("7",),
            "when is the laboratory locked": ("docs/rules.md#L9",),
            "who grants holidays": ("docs/rules.md#L1",),
            "no word in common": ("docs/one.txt#L1",),  # the file has no other passage
        },
        {},
    )


@pytest.mark.parametrize("name", ["one.txt", "./docs/one.txt", "/home/me/work/docs/one.txt", "../docs/one.txt"])
def test_a_file_by_another_way_to_it(read, name):
    assert read(f"query,document\nq,{name}\n")[0] == {"q": ("docs/one.txt#L1",)}


def test_what_has_no_passage_is_told_once_with_its_first_line(read):
    text = "query,document\nq,7\n\nq,docs/gone.md\nother,docs/gone.md\nlocked,rules.md\nlocked,c#/rules.md\ncapital names,c#/rules.md\n"
    pairs, skipped = read(text + "unheard of,docs/rules.md\nq,other/one.txt\n")
    assert pairs == {"q": ("7",), "locked": ("docs/c#/rules.md#L1",), "capital names": ("docs/c#/rules.md#L1",)}
    assert skipped == {
        "pairs.csv:4": "document 'docs/gone.md' is not in the corpus (2 lines)",
        "pairs.csv:6": "document 'rules.md' is one of 2 files: docs/rules.md, docs/c#/rules.md (1 line)",
        "pairs.csv:9": "document 'docs/rules.md' holds no word of its query (1 line)",
        "pairs.csv:10": "document 'other/one.txt' is not in the corpus (1 line)",
    }


def test_equal_queries_are_one_with_several_documents_in_the_order_of_the_file(read):
    text = lines({"query": "Why  so?", "document": 7}, {"query": "other", "document": "7"})
    text += lines(
        {"query": " why so? ", "document": "docs/one.txt"}, {"query": "ＷＨＹ so?", "document": "7", "x": [1]}
    )
    assert read(text, "pairs.jsonl")[0] == {"Why  so?": ("7", "docs/one.txt#L1"), "other": ("7",)}


def test_pairs_of_c_and_c_sharp_stay_apart(read):
    assert len(read("query,document\nlearn C,7\nlearn C#,7\nlearn C++,7\n")[0]) == 3


def test_clicks_of_a_log_are_added_up_over_lines_and_ways_to_name_a_passage(read):
    rows = [("q", "7", 1), ("Q", "7", 1), ("q", "docs/one.txt", 1), ("q", "docs/rules.md#L1", 0), ("r", "one.txt", 1)]
    rows += [("r", "docs/one.txt#L1", 2), ("s", "7", 1)]
    log = "".join(f"{q},2024-01-01,{d},{n}\n" for q, d, n in rows)
    text = "query,day,document,clicks\n" + log
    assert read(text) == (
        {"q": ("7",), "r": ("docs/one.txt#L1",)},
        {"pairs.csv": "3 pairs have fewer than 2 clicks"},
    )
    assert read(text, min_clicks=3)[0] == {"r": ("docs/one.txt#L1",)}
    assert read(text, min_clicks=1)[0] == {"q": ("7", "docs/one.txt#L1"), "r": ("docs/one.txt#L1",), "s": ("7",)}
    as_json = lines(*({"query": q, "document": d, "clicks": n} for q, d, n in rows))
    assert read(as_json, "log.jsonl")[0] == read(text)[0]
    with pytest.raises(DataError, match="no pair has 4 clicks, the most are 3"):
        read(text, min_clicks=4)


def test_tables_as_spreadsheets_write_them(read):
    rows = 'query;document\n"why, and\nhow?";7\ncafé;7\n'
    for data in (rows.encode("utf-8-sig"), rows.encode("utf-16"), rows.replace("\n", "\r\n").encode("cp1252")):
        assert [query.split() for query in read(data)[0]] == [["why,", "and", "how?"], ["café"]]
    assert read("query\tdocument\na,b\t7\n", "pairs.tsv")[0] == {"a,b": ("7",)}


@pytest.mark.parametrize(
    ("name", "text", "line", "said"),
    [
        ("p.csv", "question,document\nq,7\n", 1, "0 columns 'query' .found: question, document."),
        ("p.csv", "query,query,document\nq,q,7\n", 1, "2 columns 'query'"),
        ("p.csv", "", 1, "0 columns 'query' .found: none."),
        ("p.csv", 'query,document\n"two\nlines",7\nq,7,8\n', 4, "3 cells, the header has 2"),
        ("p.csv", "query,document\nq,7\n ,7\n", 3, "field 'query' is empty"),
        ("p.csv", "query,document\nq,7\nq,\n", 3, "field 'document' is empty"),
        ("p.csv", 'query,document\nq,"7\nq,7\n', 2, "no table: unexpected end of data"),
        ("p.csv", 'query,document\nq,"7"x\n', 2, "no table: "),
        ("p.csv", "query,document,clicks\nq,7,many\n", 2, "field 'clicks' is 'many'. Fix: a whole number"),
        ("p.csv", "query,document,clicks\nq,7,-1\n", 2, "field 'clicks' is '-1'"),
        ("p.csv", "query,document,clicks\nq,7,\n", 2, "field 'clicks' is ''"),
        ("p.csv", "query,document\n", None, "no pair in it"),
        ("p.csv", b"query,document\nq,\0\n", None, "binary content"),
        ("p.jsonl", '{"query": "q", "document": "7"}\n{"query": "q"}\n', 2, "field 'document' is missing"),
        ("p.jsonl", '{"query": ["q"], "document": "7"}\n', 1, "field 'query' must be a string, found list"),
        ("p.jsonl", '{"query": "q", "document": "7", "clicks": 1.5}\n', 1, "field 'clicks' is '1.5'"),
        ("p.jsonl", '{"query": "q", "document": "7", "clicks": true}\n', 1, "field 'clicks' is 'True'"),
        ("p.jsonl", '{"query": "q", "document": 7, "clicks": 1}\n{"query": "q", "document": 7}\n', 2, "'clicks' is missing"),
        ("p.jsonl", '{"query": "q", "document": 7}\n{"query": "q", "document": 7, "clicks": 1}\n', 2, "'clicks' is here"),
        ("p.jsonl", "{\n", 1, "broken JSON"),
        ("p.txt", "query,document\nq,7\n", None, "no file of pairs by its name"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_line(read, name, text, line, said):
    with pytest.raises(DataError, match=said) as error:
        read(text, name)
    assert (error.value.path.name, error.value.line) == (name, line)


def test_a_file_without_any_known_document_is_refused(read, tmp_path):
    with pytest.raises(DataError, match=r"no document can be used; the first: p.csv:3: document 'gone' is not"):
        read("query,document\n\nq,gone\nr,gone too\n", "p.csv")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_pairs(tmp_path / "none.csv", DOCUMENTS)
    with pytest.raises(DataError, match="min_clicks=0"):
        read_pairs(tmp_path / "none.csv", DOCUMENTS, min_clicks=0)


def test_a_document_that_is_a_long_text_is_named_in_short(read):
    _, skipped = read(lines({"query": "q", "document": "7"}, {"query": "q", "document": "x" * 9_000}), "p.jsonl")
    assert skipped == {"p.jsonl:2": f"document '{'x' * 97}...' is not in the corpus (1 line)"}


def test_the_result_is_made_of_pairs(tmp_path):
    (tmp_path / "p.csv").write_text("query,document\nq,7\n")
    assert read_pairs(str(tmp_path / "p.csv"), DOCUMENTS).pairs == (KnownPair("q", ("7",)),)
