"""Order, window, cache, counts and endings of `Llm`, with a backend in this process that says what it is told."""

from __future__ import annotations

import _thread
import asyncio
import itertools
import signal
import sqlite3
import threading
import time
from dataclasses import replace

import pytest

from reasonembed.errors import DataError, LlmError, StorageError
from reasonembed.llm import failures
from reasonembed.llm.client import Llm
from reasonembed.llm.failures import AttemptFailed
from reasonembed.llm.totals import Price, Totals
from reasonembed.llm.types import Answer, Failure, Message, Request, Sampling, user


class Echo:
    """A backend: answers with the question, after what `before` does to the attempt."""

    def __init__(self, before=None, name="echo"):
        self.before, self.name, self.asked, self.running, self.peak, self.closed = before, name, [], 0, 0, False

    def describe(self):
        return {"kind": "test", "model": self.name}

    async def answer(self, request):
        text = request.messages[-1].content
        self.asked.append(text)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            if self.before:
                await self.before(text, self.asked.count(text))
            else:
                await asyncio.sleep(0)
            return Answer(f"echo {text}", prompt_tokens=3, completion_tokens=2)
        finally:
            self.running -= 1

    async def aclose(self):
        self.closed = True


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(failures, "FIRST_WAIT", 0.001)


def questions(n):
    return (user(f"q{i}") for i in range(n))


def test_replies_come_in_order_and_each_is_counted():
    async def later_ones_are_faster(text, _):
        await asyncio.sleep(0.002 * (9 - int(text[1:]) % 10))

    with Llm(Echo(later_ones_are_faster), concurrency=7, price=Price(prompt=2.0, completion=10.0)) as llm:
        replies = list(llm.answers(questions(50)))
        totals = llm.totals
    assert [reply.index for reply in replies] == list(range(50))
    assert [reply.answer.text for reply in replies] == [f"echo q{i}" for i in range(50)]
    assert replace(totals, seconds=0.0, cost=None) == Totals(50, 0, 50, {}, 0, 150, 100)
    assert totals.cost == pytest.approx((150 * 2.0 + 100 * 10.0) / 1e6)
    assert totals.seconds > 0


def test_unordered_replies_come_as_they_are_ready():
    release = threading.Event()

    async def first_waits(text, _):
        while text == "q0" and not release.is_set():
            await asyncio.sleep(0.001)

    with Llm(Echo(first_waits), concurrency=4) as llm:
        replies = llm.answers(questions(5), ordered=False)
        early = [next(replies).index for _ in range(4)]
        release.set()
        assert {*early} == {1, 2, 3, 4}
        assert [reply.index for reply in replies] == [0]


def test_no_more_run_at_once_than_allowed():
    async def wait(*_):
        await asyncio.sleep(0.001)

    backend = Echo(wait)
    with Llm(backend, concurrency=5) as llm:
        assert sum(1 for _ in llm.answers(questions(100))) == 100
    assert backend.peak == 5


def test_an_endless_source_is_taken_as_needed():
    taken = itertools.count()
    with Llm(Echo()) as llm:
        source = (user(f"q{next(taken)}") for _ in itertools.count())
        replies = llm.answers(source)
        for _ in range(10):
            next(replies)
        time.sleep(0.05)
        replies.close()
    assert next(taken) <= 1024 + 64


def test_a_source_that_fails_is_not_hidden():
    def source():
        yield user("q0")
        raise ValueError("the reader broke")

    with Llm(Echo()) as llm, pytest.raises(ValueError, match="the reader broke"):
        list(llm.answers(source()))


def test_an_answer_in_the_cache_is_not_asked_again(tmp_path):
    first, second, other = Echo(), Echo(), Echo(name="another model")
    with Llm(first, cache=tmp_path / "a" / "llm.sqlite") as llm:
        before = [reply.answer for reply in llm.answers(questions(200))]
    with Llm(second, cache=tmp_path / "a" / "llm.sqlite", price=Price(1, 1)) as llm:
        after = [reply.answer for reply in llm.answers(questions(201))]
        totals = llm.totals
    assert [replace(answer, cached=True) for answer in before] == after[:200]
    assert not any(answer.cached for answer in before)
    assert second.asked == ["q200"]
    assert (totals.requests, totals.cached, totals.answered, totals.prompt_tokens) == (201, 200, 1, 3)
    with Llm(other, cache=tmp_path / "a" / "llm.sqlite") as llm:
        llm.answer(user("q0"))
    assert other.asked == ["q0"]


def test_everything_in_a_request_is_part_of_its_key(tmp_path):
    sampling = Sampling(temperature=1.0, schema={"type": "object"})
    base = Request((Message("user", "q"),), sampling)
    same = Request((Message("user", "q"),), replace(sampling, temperature=1, schema={"type": "object"}))
    others = [
        replace(base, sample=1),
        Request((Message("system", "q"),), sampling),
        Request((Message("system", ""), Message("user", "q")), sampling),
        *(
            replace(base, sampling=replace(sampling, **{name: value}))
            for name, value in (
                ("temperature", 0.5), ("top_p", 0.5), ("top_k", 5), ("repetition_penalty", 1.1), ("max_tokens", 5),
                ("stop", ("a",)), ("seed", 1), ("top_logprobs", 3), ("schema", {"type": "array"}),
            )
        ),
    ]  # fmt: skip
    backend = Echo()
    with Llm(backend, cache=tmp_path / "llm.sqlite") as llm:
        cached = [llm.answer(request).cached for request in [base, same, *others, *others]]
    assert cached == [False, True, *[False] * len(others), *[True] * len(others)]


def test_equal_requests_under_way_are_asked_once(tmp_path):
    async def wait(*_):
        await asyncio.sleep(0.02)

    for cache in (None, tmp_path / "llm.sqlite"):
        backend = Echo(wait)
        with Llm(backend, cache=cache) as llm:
            replies = list(llm.answers([user("q")] * 40))
            assert backend.asked == ["q"]
            assert [reply.answer.text for reply in replies] == ["echo q"] * 40
            assert sum(not reply.answer.cached for reply in replies) == 1
            assert (llm.totals.requests, llm.totals.answered, llm.totals.cached) == (40, 1, 39)


def test_several_threads_ask_through_one_llm(tmp_path):
    backend, seen = Echo(), {}
    with Llm(backend, cache=tmp_path / "llm.sqlite", concurrency=4) as llm:

        def ask(name):
            seen[name] = [reply.answer.text for reply in llm.answers(questions(300))]

        threads = [threading.Thread(target=ask, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert list(seen.values()) == [[f"echo q{i}" for i in range(300)]] * 4
    assert len(backend.asked) == 300


def test_a_failure_is_a_reply_and_is_not_cached(tmp_path):
    async def refuse_q3(text, attempt):
        if text == "q3" and attempt == 1:
            raise AttemptFailed("refused", "too long\n  by far")

    backend = Echo(refuse_q3)
    with Llm(backend, cache=tmp_path / "llm.sqlite") as llm:
        replies = list(llm.answers(questions(5)))
        assert replies[3].failure == Failure("refused", "too long by far", 1)
        assert replies[3].answer is None
        assert llm.totals.failed == {"refused": 1}
        earlier = llm.totals
        assert llm.answer(user("q3")).text == "echo q3"
        assert (llm.totals - earlier).failed == {}
        assert (llm.totals - earlier).answered == 1


def test_what_may_pass_is_tried_again_and_the_rest_is_not():
    async def fail(text, _):
        raise AttemptFailed("server", "down", retry=text == "again")

    backend = Echo(fail)
    with Llm(backend, retries=3) as llm:
        for text, attempts in (("again", 4), ("never", 1)):
            with pytest.raises(LlmError, match=rf"no answer after {attempts} attempts \(server\): down"):
                llm.answer(user(text))
        assert llm.totals.retried == 3
    assert backend.asked == ["again"] * 4 + ["never"]


def test_an_attempt_that_hangs_is_ended():
    async def hang_once(text, attempt):
        if attempt == 1:
            await asyncio.sleep(60)

    with Llm(Echo(hang_once), timeout=0.05) as llm:
        assert llm.answer(user("q")).text == "echo q"
    with Llm(Echo(hang_once), timeout=0.05, retries=0) as llm:
        assert next(llm.answers([user("q")])).failure == Failure("timeout", "no answer in 0.05 s", 1)


def test_a_dead_server_ends_the_run_and_what_was_answered_is_kept(tmp_path):
    async def dies(text, _):
        if int(text[1:]) >= 20:
            raise AttemptFailed("connection", "refused", retry=True, hopeless=True)

    backend = Echo(dies)
    with Llm(backend, cache=tmp_path / "llm.sqlite", concurrency=2, retries=1) as llm:
        with pytest.raises(LlmError, match=r"3 requests in a row failed.*the server runs"):
            list(llm.answers(questions(1_000_000)))
        assert len(backend.asked) < 40
    again = Echo()
    with Llm(again, cache=tmp_path / "llm.sqlite") as llm:
        assert all(reply.answer for reply in llm.answers(questions(30)))
    assert sorted(again.asked) == sorted(f"q{i}" for i in range(20, 30))


def test_hopeless_failures_between_answers_end_nothing():
    async def every_second(text, _):
        if int(text[1:]) % 2:
            raise AttemptFailed("connection", "dropped", hopeless=True)

    with Llm(Echo(every_second), concurrency=1) as llm:
        assert sum(reply.answer is None for reply in llm.answers(questions(40))) == 20


def test_a_fault_in_the_backend_is_seen():
    async def fault(*_):
        raise ZeroDivisionError("a fault")

    with Llm(Echo(fault)) as llm, pytest.raises(ZeroDivisionError):
        llm.answer(user("q"))


@pytest.fixture
def interruptible():
    """Python's own handler of Ctrl-C, whatever a test before has left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_keeps_what_is_under_way_and_starts_nothing_new(tmp_path):
    async def slow(*_):
        await asyncio.sleep(0.2)

    backend = Echo(slow)
    with Llm(backend, cache=tmp_path / "llm.sqlite", concurrency=3) as llm:
        replies = llm.answers(questions(1000))
        next(replies)
        threading.Timer(0.05, _thread.interrupt_main).start()  # a real signal: tests/llm/test_server.py, in a child
        with pytest.raises(KeyboardInterrupt):
            for _ in replies:
                pass
        asked = len(backend.asked)
    assert len(backend.asked) == asked  # nothing more began
    assert asked < 20
    again = Echo()
    with Llm(again, cache=tmp_path / "llm.sqlite") as llm:
        assert all(reply.answer.cached for reply in llm.answers(user(text) for text in backend.asked))
    assert again.asked == []


def test_close_drops_what_does_not_end_and_refuses_more(monkeypatch):
    async def hang(*_):
        await asyncio.sleep(60)

    monkeypatch.setattr("reasonembed.llm.client._GRACE_S", 0.05)
    backend = Echo(hang)
    llm = Llm(backend)
    caught = []

    def ask():
        try:
            llm.answer(user("q"))
        except LlmError as error:
            caught.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    while not backend.asked:
        time.sleep(0.001)
    llm.close()
    llm.close()
    thread.join(5)
    assert backend.closed
    assert "closed with requests under way" in caught[0]
    with pytest.raises(LlmError, match="this Llm is closed"):
        llm.answer(user("q"))


def test_a_cache_that_cannot_be_written_is_an_error_of_the_caller(tmp_path, monkeypatch):
    from reasonembed.llm import cache

    monkeypatch.setattr(cache, "_BUSY_S", 0.05)
    path = tmp_path / "llm.sqlite"
    with Llm(Echo(), cache=path) as llm:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match=r"llm.sqlite: database is locked"):
            llm.answer(user("q"))
        holder.execute("ROLLBACK")
        holder.close()
        assert llm.answer(user("q")).text == "echo q"


def test_a_damaged_answer_is_asked_again_and_other_files_are_refused(tmp_path):
    path = tmp_path / "llm.sqlite"
    with Llm(Echo(), cache=path) as llm:
        llm.answer(user("q"))
    with sqlite3.connect(path) as file:
        file.execute("UPDATE answers SET answer = 'x'")
    file.close()
    with Llm(Echo(), cache=path) as llm:
        assert not llm.answer(user("q")).cached
        assert llm.answer(user("q")).cached
    (tmp_path / "text").write_text("not a database, but long enough to be looked at" * 50)
    with sqlite3.connect(tmp_path / "other.sqlite") as file:
        file.execute("CREATE TABLE birds (name)")
    file.close()
    for name in ("text", "other.sqlite"):
        with pytest.raises(DataError, match=f"{name}: no cache of answers"):
            Llm(Echo(), cache=tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder: cannot be opened"):
        Llm(Echo(), cache=tmp_path / "folder")


def test_numbers_out_of_range_are_refused():
    for options in ({"concurrency": 0}, {"retries": -1}, {"timeout": 0.0}):
        with pytest.raises(DataError, match=next(iter(options))):
            Llm(Echo(), **options)
