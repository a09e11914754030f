"""Markdown and plain text: headings, code, lists, front matter, places; deep nesting."""

from __future__ import annotations

import textwrap

import pytest


@pytest.fixture
def passages(tmp_path, read):
    def passages(text, name="guide.md", **options):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), "utf-8", newline="")
        return [(p.id, p.title, p.text) for p in read(path, **options).passages]

    return passages


def test_headings_make_the_path_and_lines_the_places(passages):
    assert passages("""\
        # Guide

        Intro over
        two lines.

        ## Setup ##
        Install it.
        ### Linux
        Use `apt`.

        Usage
        -----
        Run it.

        Appendix
        ========
        Last.
        """) == [
        ("guide.md#L3", "Guide", "Intro over two lines."),
        ("guide.md#L7", "Guide > Setup", "Install it."),
        ("guide.md#L9", "Guide > Setup > Linux", "Use `apt`."),
        ("guide.md#L13", "Guide > Usage", "Run it."),
        ("guide.md#L17", "Appendix", "Last."),
    ]  # fmt: skip


def test_code_keeps_its_lines_and_hides_its_headings(passages):
    (found,) = passages("""\
        # Code

        ```python
        # no heading

        def f():
            return  1
        ```

        ~~~
        ```
        ~~~
        """)
    assert found == ("guide.md#L4", "Code", "# no heading\n\ndef f():\n    return  1\n\n```")


def test_a_fence_that_never_ends_takes_the_rest(passages):
    assert passages("```\n# a\n\nb\n") == [("guide.md#L2", "", "# a\n\nb")]


def test_lists_and_tables_keep_their_lines(passages):
    (found,) = passages("* one\n* two\n  more\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n1. first\n2. second\n")
    assert found[2] == "* one\n* two\n  more\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n1. first\n2. second"


def test_front_matter_is_dropped_and_its_title_kept(passages):
    text = '---\ntitle: "The book"\ntags: [a]\n---\nBefore.\n\n# Chapter\nText.\n'
    assert passages(text) == [("guide.md#L5", "The book", "Before."), ("guide.md#L8", "Chapter", "Text.")]
    assert passages("---\nno front matter\n") == [("guide.md#L2", "", "no front matter")]


def test_links_and_pictures_give_their_text(passages):
    text = (
        'See [the docs](https://x.org/a?b=c "T") and [![build](b.svg)](ci) ![pic](data:image/png;base64,AAAA) [ref][1].'
    )
    assert passages(text)[0][2] == "See the docs and build pic [ref][1]."


def test_comments_and_rules_are_dropped_and_quotes_unwrapped(passages):
    assert passages("<!-- one\ntwo -->\n> quoted\n> > twice\n\n***\n\nend\n")[0][2] == "quoted twice\n\nend"


def test_a_heading_without_text_is_not_lost(passages):
    assert passages("# A\n## B\n## C\ntext\n# D\n") == [
        ("guide.md#L2", "A", "B"), ("guide.md#L4", "A > C", "text"), ("guide.md#L5", "", "D")
    ]  # fmt: skip


def test_two_chunks_of_one_place_have_two_ids(passages):
    found = passages("# T\n\n" + "One two three four five six. " * 9, limit=16)
    assert [key for key, _, _ in found] == ["guide.md#L3"] + [f"guide.md#L3.{n}" for n in range(2, len(found) + 1)]
    assert len(found) > 3


@pytest.mark.parametrize("line", ["> " * 50_000 + "deep", "- " * 50_000 + "deep", "[" * 100_000 + "deep",
                                  "![a](" * 20_000 + "deep", "*" * 100_000 + "deep"])  # fmt: skip
def test_deep_nesting_is_read_in_one_pass(passages, line):
    assert "deep" in passages(line + "\n\nnext\n", limit=10**6)[0][2]


def test_deep_lists_over_many_lines(passages):
    (found,) = passages("\n".join("  " * n + f"- item{n}" for n in range(2_000)), limit=10**6)
    assert found[2].split()[-1] == "item1999"


def test_plain_text(passages):
    wrapped = "A sentence that an editor has wrapped at about\nsixty characters, as in old books and mails, is one.\n"
    assert passages(wrapped + "\nroses\nare\nred\n", name="a.txt") == [
        ("a.txt#L1", "", wrapped.replace("\n", " ").strip() + "\n\nroses\nare\nred")
    ]


def test_a_file_of_blanks_has_no_text(tmp_path, read):
    (tmp_path / "blank.md").write_text(" \n\n")
    result = read(tmp_path / "blank.md")
    assert not result.passages
    assert [(s.place, s.reason) for s in result.skipped] == [("blank.md", "no text in it")]
