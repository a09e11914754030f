"""HTML: what is the page's text, its headings, its encoding; pages that are deep, large or cut off."""

from __future__ import annotations

import dataclasses

import pytest

from reasonembed.corpus import readers


@pytest.fixture
def passages(tmp_path, read):
    def passages(html, **options):
        path = tmp_path / "page.html"
        path.write_bytes(html if isinstance(html, bytes) else html.encode())
        return [(p.id, p.title, p.text) for p in read(path, **options).passages]

    return passages


def test_the_text_of_a_page(passages):
    html = """<!doctype html><html><head><title>The &amp; page</title><style>p {}</style></head><body>
      <nav>Home | About</nav><p>Before the <b>first</b> head&shy;ing.</p><!-- comment -->
      <h1>One</h1><p>A <a href="x">link</a>, a<br>break, 3&nbsp;&lt;&nbsp;4.</p><aside>Ad</aside>
      <h2>Two</h2><ul><li>first</li><li>second <em>item</em></li></ul>
      <pre>def f():
    return  1</pre><script>var x = "no";</script>
      <h3>Three</h3><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td><span>2</span></td></tr></table>
      <footer>Imprint</footer></body></html>"""
    assert passages(html) == [
        ("page.html#p1", "The & page", "Before the first heading."),
        ("page.html#p3", "One", "A link, a break, 3 < 4."),
        ("page.html#p5", "One > Two", "- first\n\n- second item\n\ndef f():\n    return  1"),
        ("page.html#p9", "One > Two > Three", "a | b\n1 | 2"),
    ]


def test_a_table_that_arranges_a_page_is_no_table(passages):
    html = "<table><tr><td><h1>Head</h1><p>Text.</p></td><td><table><tr><td>a</td><td>b</td></tr></table></td></tr></table>"
    assert passages(html) == [("page.html#p2", "Head", "Text.\n\na | b")]


@pytest.mark.parametrize("encoding", ["shift_jis", "utf-8", "euc-jp"])
def test_the_encoding_is_the_one_that_meta_declares(passages, encoding):
    html = f'<html><head><meta http-equiv="Content-Type" content="text/html; charset={encoding}"></head><p>日本語の文章'
    assert passages(html.encode(encoding))[0][2] == "日本語の文章"


def test_a_page_that_is_cut_off_is_read_as_far_as_it_goes(passages):
    assert passages("<h1>Head</h1><p>text <b>bold")[0] == ("page.html#p2", "Head", "text bold")


def test_elements_far_inside_each_other(passages, tmp_path, read):
    for tags in ("<div>", "<b>", "<ul><li>", "<table><tr><td>"):
        assert "deep" in passages(tags * 1_500 + "deep")[0][2]
    path = tmp_path / "deeper.html"
    path.write_text("<div>" * 100_000 + "deep")
    (skipped,) = read(path).skipped
    assert skipped.reason == "elements nested more than 5,000 deep. Fix: repair the page"


def test_many_neighbours_without_an_end_are_not_deep(passages):
    assert len(passages("<p>a<br><img src=x>" * 6_000 + "<div></div>" * 6_000 + "<table>" + "<tr><td>b" * 6_000)) > 50


def test_too_large_a_page_is_not_opened(tmp_path, read, monkeypatch):
    path = tmp_path / "big.html"
    path.write_text("<p>a page of more than a thousand bytes</p>" * 50)
    assert len(read(path).passages) > 1
    html = dataclasses.replace(readers.KINDS["html"], max_bytes=1_000)
    monkeypatch.setitem(readers.KINDS, "html", html)
    result = read(path)
    assert not result.passages
    assert result.skipped[0].reason == "2,150 bytes, the limit for html is 1,000. Fix: split it"


def test_a_hundred_megabytes_are_over_the_real_limit(tmp_path, read):
    path = tmp_path / "huge.html"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    assert read(path).skipped[0].reason.startswith("100,000,000 bytes, the limit for html is 50,000,000")


def test_binary_content_and_no_text(tmp_path, read):
    (tmp_path / "a.html").write_bytes(b"<p>\0\0</p>")
    assert "binary content" in read(tmp_path / "a.html").skipped[0].reason
    (tmp_path / "b.html").write_bytes(b"<script>1</script>")
    assert read(tmp_path / "b.html").skipped[0].reason == "no text in it"
