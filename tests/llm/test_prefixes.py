"""Which prompts wait for which, block by block."""

from __future__ import annotations

from reasonembed.llm import prefixes
from reasonembed.llm.prefixes import BLOCK, Prefixes, blocks_of

RULES, ONE, OTHER = range(BLOCK), range(100, 100 + BLOCK), range(200, 200 + BLOCK)


def test_a_prompt_waits_for_the_one_that_it_begins_like_and_for_no_other():
    known = Prefixes()
    first, like, unlike = blocks_of([*RULES, *ONE]), blocks_of([*RULES, *OTHER]), blocks_of([*ONE, *RULES])
    assert not known.must_wait(first)
    known.begin(1, first)
    assert known.must_wait(first)
    assert known.must_wait(like)
    assert not known.must_wait(unlike)
    assert not known.must_wait(blocks_of(RULES[:-1]))  # no full block: nothing that could be shared
    known.end(1, read=True)
    assert not known.must_wait(first)
    assert not known.must_wait(like)


def test_beyond_what_is_read_it_waits_for_what_is_being_read():
    known = Prefixes()
    known.begin(1, blocks_of(RULES))
    known.end(1, read=True)
    known.begin(2, blocks_of([*RULES, *ONE]))
    assert known.must_wait(blocks_of([*RULES, *ONE, *OTHER]))
    assert not known.must_wait(blocks_of([*RULES, *OTHER]))


def test_what_was_not_read_to_its_end_is_waited_for_no_more_and_not_believed():
    known = Prefixes()
    known.begin(1, blocks_of(RULES))
    known.end(1, read=False)
    assert not known.must_wait(blocks_of(RULES))
    known.begin(2, blocks_of(RULES))
    assert known.must_wait(blocks_of(RULES))  # it is read anew
    known.end(1, read=True)  # of a reader that has ended: nothing
    assert known.must_wait(blocks_of(RULES))


def test_the_oldest_are_forgotten(monkeypatch):
    monkeypatch.setattr(prefixes, "REMEMBERED", 2)
    known = Prefixes()
    for reader, ids in enumerate((RULES, ONE, OTHER)):
        known.begin(reader, blocks_of(ids))
        known.end(reader, read=True)
    known.begin(9, blocks_of(RULES))
    assert known.must_wait(blocks_of(RULES))
    assert not known.must_wait(blocks_of(ONE))
