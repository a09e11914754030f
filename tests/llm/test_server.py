"""The client against a server that speaks real HTTP and breaks in every scripted way; results equal the undisturbed run."""

from __future__ import annotations

import datetime
import email.utils
import json
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from llm_server import CUT_JSON, Act, LlmServer, echo, faulty

from reasonembed.errors import DataError, LlmError
from reasonembed.llm import failures
from reasonembed.llm.failures import retry_after, wait_before
from reasonembed.llm.open import open_llm
from reasonembed.llm.server import ServerBackend
from reasonembed.llm.types import Message, Request, Sampling, user

KEY = "sk-very-secret-123"
QUESTIONS = [user(f"q{i}") for i in range(40)]
UNDISTURBED = [f"answer to q{i}" for i in range(40)]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(failures, "FIRST_WAIT", 0.005)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


STORMS = {
    "429 without Retry-After": faulty(Act(status=429), Act(status=429), Act(status=429)),
    "429 with Retry-After": faulty(Act(status=429, headers={"Retry-After": "0.01"})),
    "500": faulty(Act(status=500), Act(status=503), Act(status=502, raw=b"<html>Bad Gateway</html>")),
    "408 and 409": faulty(Act(status=408), Act(status=409)),
    "JSON cut": faulty(CUT_JSON),
    "body cut": faulty(Act("never whole", cut=True), Act("never whole", cut=True)),
    "no JSON": faulty(Act(raw=b"<html>welcome</html>"), Act(raw=b"[]"), Act(raw=b'{"choices": []}'), Act(raw=b"null")),
    "error in a 200": faulty(Act(raw=b'{"error": {"message": "the provider is down"}}')),
    "empty": faulty(Act(""), Act(message={"content": None}), Act(raw=b"")),
    "hang up": faulty(Act(drop=True), Act(drop=True)),
    "one of all": faulty(Act(status=429), Act(status=500), CUT_JSON, Act(cut=True, text="x"), Act(drop=True), Act("")),
}


@pytest.mark.parametrize("script", STORMS.values(), ids=STORMS)
def test_a_storm_changes_no_result_and_nothing_is_paid_twice(script, tmp_path):
    with LlmServer(script) as server:
        with open_llm(server.url, concurrency=8, cache=tmp_path / "llm.sqlite") as llm:
            assert [reply.answer.text for reply in llm.answers(QUESTIONS)] == UNDISTURBED
            assert llm.totals.retried == sum(server.asked.values()) - 40
            assert llm.totals.completion_tokens == 40 * 3
        assert server.paid == {f"q{i}": 1 for i in range(40)}
        with open_llm(server.url, concurrency=8, cache=tmp_path / "llm.sqlite") as llm:
            asked = sum(server.asked.values())
            assert [reply.answer.text for reply in llm.answers(QUESTIONS)] == UNDISTURBED
        assert sum(server.asked.values()) == asked
        assert server.peak <= 8


def test_an_empty_think_block_is_no_answer():
    with LlmServer(faulty(Act("<think>\n</think>"))) as server, open_llm(server.url, cache=None) as llm:
        assert llm.answer(user("q")).text == "answer to q"


def test_hanging_requests_end_and_are_asked_again():
    from reasonembed.llm.client import Llm

    with LlmServer(faulty(Act(seconds=60))) as server, Llm(ServerBackend(server.url), timeout=1.0) as llm:
        assert [reply.answer.text for reply in llm.answers(QUESTIONS)] == UNDISTURBED
        assert llm.totals.retried == 40


def test_a_refusal_is_final_and_says_why():
    def script(asked):
        return Act(status=400, error=f"too long; your key {KEY}") if asked.prompt == "q7" else echo(asked)

    with LlmServer(script) as server, open_llm(server.url, api_key=KEY, cache=None) as llm:
        replies = list(llm.answers(QUESTIONS))
        assert [reply.index for reply in replies if reply.answer is None] == [7]
        assert replies[7].failure.kind == "refused"
        assert "HTTP 400" in replies[7].failure.detail
        assert "too long; your key ***" in replies[7].failure.detail
        assert replies[7].failure.attempts == server.asked["q7"] == 1


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_model_ends_the_run_at_once(status):
    with (
        LlmServer(lambda asked: Act(status=status, error=f"no: {asked.headers['authorization']}")) as server,
        open_llm(server.url, model="m", api_key=KEY, cache=None, concurrency=4) as llm,
    ):
        with pytest.raises(LlmError, match=rf"HTTP {status}.*model's name") as caught:
            list(llm.answers(user(f"q{i}") for i in range(100_000)))
        assert KEY not in str(caught.value)
        assert sum(server.asked.values()) < 20


def test_a_server_that_is_gone(tmp_path):
    with LlmServer() as server:
        url = server.url
    with (
        open_llm(url, model="m", cache=None) as llm,
        pytest.raises(LlmError, match=r"requests in a row failed.*connection"),
    ):
        list(llm.answers(user(f"q{i}") for i in range(100_000)))
    with pytest.raises(LlmError, match=r"127.0.0.1:\d+/v1: the server does not list its models"):
        open_llm(url, cache=None)


def test_retry_after_is_kept():
    times = []

    def script(asked):
        times.append(time.monotonic())
        return Act(status=429, headers={"Retry-After": "0.3"}) if asked.attempt == 1 else echo(asked)

    with LlmServer(script) as server, open_llm(server.url, cache=None) as llm:
        llm.answer(user("q"))
    assert times[1] - times[0] >= 0.3


def test_retry_after_in_all_its_forms():
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    assert 28 < retry_after({"retry-after": email.utils.format_datetime(soon, usegmt=True)}) <= 30
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after({"retry-after": " 7 "}) == 7.0
    for value in ("", "soon", "nan"):
        assert retry_after({"retry-after": value}) is None
    assert retry_after({}) is None


def test_waits_double_with_full_jitter_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(failures, "FIRST_WAIT", 1.0)
    random.seed(0)
    for attempt, bound in ((1, 1.0), (2, 2.0), (5, 16.0), (7, 60.0), (2000, 60.0)):
        waits = [wait_before(min(attempt, 900), None) for _ in range(2000)]
        assert 0.0 <= min(waits) < 0.01 * bound
        assert 0.99 * bound < max(waits) <= bound
        assert sum(waits) / len(waits) == pytest.approx(bound / 2, rel=0.1)
    assert 20.0 <= wait_before(1, 20.0) <= 22.0
    assert wait_before(1, 1e9) <= 660.0


def test_what_is_sent():
    sampling = Sampling(0.6, 0.9, 20, 1.05, 77, ("END",), 5, 4, {"type": "object"})
    request = Request((Message("system", "be brief"), Message("user", "q")), sampling)
    with LlmServer() as server, open_llm(server.url, api_key=KEY, cache=None) as llm:
        llm.answer(request)
        llm.answer(user("q"))
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert server.bodies[0] == {
        "model": "scripted",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "q"}],
        "temperature": 0.6, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.05, "max_tokens": 77, "stop": ["END"],
        "seed": 5, "logprobs": True, "top_logprobs": 4,
        "response_format": {
            "type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
    }  # fmt: skip
    assert server.bodies[1] == {"model": "scripted", "messages": [{"role": "user", "content": "q"}], "max_tokens": 1024}


def test_a_model_that_calls_the_limit_otherwise():
    def script(asked):
        if "max_tokens" in asked.body:
            return Act(status=400, error="Unsupported parameter: use 'max_completion_tokens' instead.")
        return Act(f"limit {asked.body['max_completion_tokens']}")

    with LlmServer(script) as server, open_llm(server.url, cache=None) as llm:
        assert [llm.answer(user(q)).text for q in "abc"] == ["limit 1024"] * 3
        assert sum(server.asked.values()) == 4


@pytest.mark.parametrize(
    ("act", "text", "reasoning"),
    [
        (Act("5", {"reasoning_content": "2+3"}), "5", "2+3"),
        (Act("5", {"reasoning": "2+3"}), "5", "2+3"),
        (Act("<think>2+3</think>\n5"), "5", "2+3"),
        (Act("2+3</think>\n5"), "5", "2+3"),
        (Act("<think>2+3 and so on", choice={"finish_reason": "length"}), "", "2+3 and so on"),
        (Act("", {"content": None, "reasoning_content": "2+3"}, {"finish_reason": "length"}), "", "2+3"),
    ],
)
def test_reasoning_wherever_the_server_puts_it(act, text, reasoning):
    with LlmServer(lambda asked: act) as server, open_llm(server.url, cache=None) as llm:
        answer = llm.answer(user("q"))
    assert (answer.text, answer.reasoning) == (text, reasoning)
    assert answer.finish_reason == act.choice.get("finish_reason", "stop")


def test_log_probabilities_come_through_the_cache(tmp_path):
    top = [{"token": "8", "logprob": -0.1}, {"token": "9", "logprob": -2.5}]
    content = [{"token": "8", "logprob": -0.1, "bytes": [56], "top_logprobs": top}, {"token": "!", "logprob": -0.5}]
    with LlmServer(lambda asked: Act("8!", choice={"logprobs": {"content": content}})) as server:
        for cached in (False, True):
            with open_llm(server.url, cache=tmp_path / "llm.sqlite") as llm:
                answer = llm.answer(user("q", sampling=Sampling(top_logprobs=2)))
            assert answer.cached == cached
            assert [(choice.token, choice.logprob) for choice in answer.tokens] == [("8", -0.1), ("!", -0.5)]
            assert answer.tokens[0].top == (("8", -0.1), ("9", -2.5))


def test_a_filtered_answer_is_refused():
    filtered = Act("", choice={"finish_reason": "content_filter"})
    with LlmServer(lambda asked: filtered) as server, open_llm(server.url, cache=None) as llm:
        assert next(llm.answers([user("q")])).failure.kind == "refused"


def test_the_model_is_named_or_the_only_one(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with LlmServer(models=("b", "a")) as server:
        with pytest.raises(LlmError, match=r"the server lists a, b\. Fix: name one"):
            open_llm(server.url, cache=None)
        with open_llm(server.url, model="b", cache=tmp_path / "llm.sqlite") as llm:
            assert llm.describe() == {"kind": "server", "model": "b"}
            llm.answer(user("q"))
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
        with pytest.raises(LlmError) as caught:
            open_llm(server.url.replace("//", "//name:password@").replace("/v1", ""), cache=None, api_key=KEY)
    assert "password" not in str(caught.value)
    assert all(KEY.encode() not in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize("place", ["ftp://x/v1", "http://", "no/such/file.gguf"])
def test_places_that_are_none(place):
    with pytest.raises(DataError):
        open_llm(place, model="m", cache=None)


CLIENT = textwrap.dedent(
    """
    import signal
    import sys
    from reasonembed.llm.open import open_llm
    from reasonembed.llm.types import user
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs with Ctrl-C ignored
    with open_llm(sys.argv[1], cache=sys.argv[2], concurrency=8) as llm:
        for reply in llm.answers(user(f"q{i}") for i in range(400)):
            print(reply.request.messages[0].content, reply.answer.text, sep="\\t", flush=True)
    """
)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_client_asks_nothing_again_that_it_was_given(kill, tmp_path):
    """Killed in the middle and started anew: the same answers, and only what was on the wire is asked twice."""
    with LlmServer(lambda asked: Act(f"answer to {asked.prompt}", seconds=0.03)) as server:
        command = [sys.executable, "-c", CLIENT, server.url, str(tmp_path / "llm.sqlite")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            given = [process.stdout.readline() for _ in range(100)]
            process.send_signal(kill)
            given += process.stdout.readlines()  # `communicate` would pass over what `readline` has buffered
        assert process.returncode != 0
        given = [line.split("\t")[0] for line in given if line.endswith("\n")]
        paid_before: dict[str, int] = {}
        while paid_before != server.paid:  # what was on the wire is still being served
            paid_before = dict(server.paid)
            time.sleep(0.5)
        assert 100 <= len(given) < 400
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"q{i}\tanswer to q{i}" for i in range(400)]
    assert {server.asked[prompt] for prompt in given} == {1}
    twice = [prompt for prompt, n in server.paid.items() if n > 1]
    assert set(twice) <= set(paid_before)
    assert len(twice) <= (0 if kill == signal.SIGINT else 32)
    assert json.dumps(sorted(server.paid)) == json.dumps(sorted(f"q{i}" for i in range(400)))


def test_two_processes_on_one_cache(tmp_path):
    with LlmServer(lambda asked: Act(f"answer to {asked.prompt}", seconds=0.002)) as server:
        command = [sys.executable, "-c", CLIENT, server.url, str(tmp_path / "llm.sqlite")]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        outputs = [process.communicate()[0].splitlines() for process in processes]
        assert outputs == [[f"q{i}\tanswer to q{i}" for i in range(400)]] * 2
        asked = sum(server.asked.values())
        subprocess.run(command, capture_output=True, check=True)
        assert sum(server.asked.values()) == asked
