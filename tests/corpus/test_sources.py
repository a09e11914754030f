"""What is found behind paths, under which keys, and what is left out with which reason."""

from __future__ import annotations

import os
import socket

import pytest

from reasonembed.corpus.sources import Skipped, find_sources, printable
from reasonembed.errors import DataError


def keys(found):
    return [source.key for source in found.sources]


def reasons(found):
    return {skipped.place: skipped.reason for skipped in found.skipped}


def write(path, text="text"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_folder_is_walked_in_order_of_names(tmp_path):
    docs = tmp_path / "docs"
    for name in ("b.md", "a/z.txt", "a/b/c.HTML", "a.pdf", "x.jsonl.gz", "t.tsv", "p.parquet", "w.docx"):
        write(docs / name)
    found = find_sources([docs])
    assert keys(found) == sorted(keys(found))
    assert {source.key: source.kind for source in found.sources} == {
        "docs/a.pdf": "pdf", "docs/a/b/c.HTML": "html", "docs/a/z.txt": "text", "docs/b.md": "markdown",
        "docs/p.parquet": "parquet", "docs/t.tsv": "table", "docs/w.docx": "docx", "docs/x.jsonl.gz": "jsonl",
    }  # fmt: skip
    source = found.sources[-1]
    status = source.path.stat()
    assert (source.size, source.modified_ns) == (4, status.st_mtime_ns)
    assert not found.skipped


def test_keys_do_not_depend_on_where_one_stands_or_on_other_files(tmp_path, monkeypatch):
    write(tmp_path / "docs" / "a.md")
    far = keys(find_sources([tmp_path / "docs"]))
    monkeypatch.chdir(tmp_path)
    assert far == keys(find_sources(["docs/"])) == keys(find_sources(["./docs"])) == ["docs/a.md"]
    monkeypatch.chdir(tmp_path / "docs")
    write(tmp_path / "docs" / "0.md")
    assert keys(find_sources(["."])) == ["docs/0.md", "docs/a.md"]


def test_folders_of_one_name_keep_their_parents(tmp_path):
    write(tmp_path / "x" / "docs" / "a.md")
    write(tmp_path / "y" / "docs" / "a.md")
    assert keys(find_sources([tmp_path / "x/docs", tmp_path / "y/docs"])) == ["x/docs/a.md", "y/docs/a.md"]


def test_hidden_unknown_and_empty_are_left_out_with_a_reason(tmp_path):
    for name in (".git/config.md", ".hidden.md", "picture.png", "README"):
        write(tmp_path / "docs" / name)
    write(tmp_path / "docs" / "empty.md", "")
    found = find_sources([tmp_path / "docs"])
    assert not found.sources
    told = reasons(found)
    assert told["docs/.git"] == told["docs/.hidden.md"] == "hidden"
    assert told["docs/picture.png"].startswith("files of kind '.png' are not read (these are: .csv .docx")
    assert told["docs/README"].startswith("files of kind 'README'")
    assert told["docs/empty.md"] == "empty file"


def test_a_hidden_folder_that_is_named_is_read(tmp_path):
    write(tmp_path / ".notes" / "a.md")
    assert keys(find_sources([tmp_path / ".notes"])) == [".notes/a.md"]


def test_loops_of_links_and_repeats_end(tmp_path):
    docs = tmp_path / "docs"
    write(docs / "a.md")
    (docs / "loop").symlink_to(docs, target_is_directory=True)
    (docs / "self").symlink_to("self")
    (docs / "gone.md").symlink_to("nowhere.md")
    (docs / "b.md").symlink_to("a.md")
    os.link(docs / "a.md", docs / "hard.md")
    write(tmp_path / "elsewhere" / "c.md")
    (docs / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    found = find_sources([docs, docs / "linked", docs / "a.md"])
    assert keys(found) == ["docs/a.md", "docs/linked/c.md"]
    told = reasons(found)
    assert told["docs/loop"] == "the same folder as docs"
    assert told["docs/b.md"] == told["docs/hard.md"] == told["a.md"] == "the same file as docs/a.md"
    assert told["linked"] == "the same folder as docs/linked"
    assert told["docs/self"].startswith("cannot be opened: Too many levels")
    assert told["docs/gone.md"].startswith("cannot be opened: No such file")


def test_names_that_no_line_can_hold(tmp_path):
    (tmp_path / "docs").mkdir()
    write(tmp_path / "docs" / "two\nlines.md")
    write(tmp_path / "docs" / "red\x1b[31m.md")
    with open(os.fsencode(tmp_path) + b"/docs/caf\xe9.md", "wb") as file:  # noqa: PTH123
        file.write(b"text")
    write(tmp_path / "docs" / "größe 漢字.md")
    found = find_sources([tmp_path / "docs"])
    assert keys(found) == ["docs/größe 漢字.md"]
    assert [skipped.place for skipped in found.skipped] == [
        r"docs/caf\udce9.md", r"docs/red\x1b[31m.md", r"docs/two\nlines.md"
    ]  # fmt: skip
    assert all(skipped.place.isprintable() and skipped.reason.isprintable() for skipped in found.skipped)


def test_what_is_no_file(tmp_path):
    (tmp_path / "docs").mkdir()
    os.mkfifo(tmp_path / "docs" / "pipe.md")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "docs" / "s.md"))
        told = reasons(find_sources([tmp_path / "docs"]))
    assert told == dict.fromkeys(("docs/pipe.md", "docs/s.md"), "no regular file (a pipe, socket or device)")


def test_a_benchmark_folder_gives_its_corpus(tmp_path):
    for name in ("corpus.jsonl.gz", "queries.jsonl", "qrels/test.tsv", "README.md"):
        write(tmp_path / "sets" / "beir" / name)
    for name in ("documents.jsonl", "examples.jsonl", "long_documents.jsonl"):
        write(tmp_path / "sets" / "bright" / name)
    write(tmp_path / "sets" / "other" / "corpus.jsonl")
    write(tmp_path / "sets" / "other" / "notes.md")
    found = find_sources([tmp_path / "sets"])
    assert keys(found) == [
        "sets/beir/corpus.jsonl.gz", "sets/bright/documents.jsonl", "sets/other/corpus.jsonl", "sets/other/notes.md"
    ]  # fmt: skip
    assert reasons(found)["sets/beir/qrels"] == "beside the corpus corpus.jsonl.gz of a benchmark folder"


def test_paths_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such file or folder\. Fix: check the name"):
        find_sources([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="no input was given"):
        find_sources([])


def test_a_deep_tree_is_no_danger(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    write(folder / "top.md")
    before = os.getcwd()  # noqa: PTH109
    try:
        for _ in range(30):  # as one path beyond the system's 4,096 bytes
            os.chdir(folder)
            folder = type(folder)("d" * 200)
            folder.mkdir()
    finally:
        os.chdir(before)
    found = find_sources([tmp_path / "d"])
    assert keys(found) == ["d/top.md"]
    assert "File name too long" in found.skipped[0].reason


def test_reasons_stand_on_one_line():
    skipped = Skipped("a\nb", "x" * 9_999 + "\x00")
    assert skipped.place == r"a\nb"
    assert len(skipped.reason) == 500
    assert printable("\ud800") == r"\ud800"
