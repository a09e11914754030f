"""A tiny random Llama as GGUF, run in this process: batching, seeds, limits, and files that are no models."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import sys
import threading

import pytest

from reasonembed.errors import DataError, ModelError
from reasonembed.llm.client import Llm
from reasonembed.llm.local import LocalBackend, _context_length, _Engine, _Job
from reasonembed.llm.open import open_llm
from reasonembed.llm.types import Message, Request, Sampling, user

pytest.importorskip("openvino_genai")
TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}assistant:"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    pytest.importorskip("torch")
    from gguf_tiny import write_llama_gguf
    from tiny import build

    folder = tmp_path_factory.mktemp("local")
    return write_llama_gguf(build(folder / "llama", "llama"), folder / "gguf" / "tiny.gguf", chat_template=TEMPLATE)


@pytest.fixture(scope="module")
def llm(gguf):
    with open_llm(gguf, cache=None) as llm:
        yield llm


def ask(text="hello", *, sample=0, **options):
    return user(text, sampling=Sampling(**{"temperature": 1.0, "max_tokens": 12, **options}), sample=sample)


def test_prompt_and_answer_are_counted(llm, gguf):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parents[1] / "llama")
    answer = llm.answer(user("hello you", system="be brief", sampling=Sampling(temperature=0.0, max_tokens=12)))
    written = "system: be brief\nuser: hello you\nassistant:"
    assert answer.prompt_tokens == len(tokenizer(written, add_special_tokens=False).input_ids)
    assert 1 <= answer.completion_tokens <= 12
    assert answer.finish_reason == ("length" if answer.completion_tokens == 12 else "stop")
    assert answer.seconds > 0


def test_an_answer_depends_on_its_request_and_not_on_its_company(llm):
    requests = [ask(f"question {i}", sample=sample) for i in range(4) for sample in range(4)]
    together = [reply.answer.text for reply in llm.answers(requests)]
    alone = [llm.answer(request).text for request in requests]
    assert together == alone
    assert len(set(together)) >= 14
    assert llm.answer(ask(seed=3)).text == llm.answer(ask(seed=3, sample=1)).text
    assert llm.answer(ask(temperature=0.0)).text == llm.answer(ask(temperature=0.0, sample=1)).text


def test_many_join_and_leave_one_batch(llm):
    replies = list(llm.answers(ask(f"q{i}", max_tokens=1 + i % 20) for i in range(100)))
    answers = [reply.answer for reply in replies if reply.answer]
    assert len(answers) >= 90  # a random model may end at once, which is an empty answer
    assert {reply.failure.kind for reply in replies if reply.failure} <= {"empty"}
    assert all(reply.answer.completion_tokens <= 1 + reply.index % 20 for reply in replies if reply.answer)


def test_an_answer_keeps_to_a_schema(llm):
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    for sample in range(3):
        value = json.loads(llm.answer(ask(schema=schema, max_tokens=200, temperature=0.2, sample=sample)).text)
        assert list(value) == ["yes"]


def test_refusals_name_the_limit(llm):
    replies = list(llm.answers([ask("w " * 3000), ask(top_logprobs=2), ask(top_p=7.0), ask()]))
    kinds = [reply.failure.kind if reply.failure else None for reply in replies]
    assert kinds == ["refused", "refused", "refused", None]
    assert "the limit is 1012: the model's 1024 less max_tokens=12" in replies[0].failure.detail
    assert "top_logprobs" in replies[1].failure.detail


def test_alternatives_of_one_token_have_the_models_own_probabilities(llm, gguf):
    """The oracle is Transformers' forward pass over the same prompt, the begun answer included."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parents[1] / "llama")
    messages = (Message("user", "hello"), Message("assistant", "the score: "))
    answer = llm.answer(Request(messages, Sampling(temperature=0.1, max_tokens=1, top_logprobs=8)))
    ids = tokenizer("user: hello\nassistant:the score: ", add_special_tokens=False, return_tensors="pt").input_ids
    assert answer.prompt_tokens == ids.shape[1]
    (choice,) = answer.tokens
    assert (choice.token, choice.logprob) == choice.top[0]
    assert [logprob for _, logprob in choice.top] == sorted((p for _, p in choice.top), reverse=True)
    assert len(dict(choice.top)) > 1
    backbone = AutoModel.from_pretrained(gguf.parents[1] / "llama", dtype=torch.float32)
    with torch.no_grad():
        last = backbone(ids).last_hidden_state[0, -1]
        wanted = (backbone.embed_tokens.weight @ last).log_softmax(-1)  # a GGUF without an output matrix ties it
    places = {tokenizer.decode([place]): place for place in range(len(wanted))}
    for token, logprob in choice.top:
        if token:  # a special token is written as nothing
            assert logprob == pytest.approx(float(wanted[places[token]]), abs=0.1), token


def test_a_request_that_takes_too_long_leaves_the_batch(gguf):
    with Llm(LocalBackend(gguf), timeout=0.01, retries=0) as llm:
        assert next(llm.answers([ask(max_tokens=900)])).failure.kind == "timeout"
    with Llm(LocalBackend(gguf)) as llm:
        assert llm.answer(ask()).completion_tokens


def test_a_request_that_nobody_waits_for_leaves_the_others_alone(gguf, caplog):
    async def one_leaves(backend):
        long, *others = [
            asyncio.create_task(backend.answer(ask(f"q{i}", max_tokens=n))) for i, n in enumerate([900, 200, 200])
        ]
        while "loaded in" not in caplog.text:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # a few of the 900 steps
        assert long.cancel()
        answers = await asyncio.gather(*others)
        late = await backend.answer(ask("late"))
        await backend.aclose()
        return [*answers, late]

    with caplog.at_level("INFO", logger="reasonembed.llm.local"):
        answers = asyncio.run(one_leaves(LocalBackend(gguf)))
    assert all(answer.completion_tokens for answer in answers)
    assert caplog.text.count("loaded in") == 1  # the engine that it left is the one that answered the others


def test_prompts_that_come_together_and_begin_alike_are_read_once(gguf, llm, monkeypatch):
    """The first is read, then those that share its beginning join; where nobody waits for it any more, the next is the first."""
    monkeypatch.setattr("reasonembed.llm.local.BATCHED_TOKENS", 64)  # so that a prompt takes several steps
    requests = [
        ask("one and the same beginning " * 20 + end, max_tokens=30) for end in ("left", "first", "second", "third")
    ]

    async def answered():
        engine, loop = _Engine(gguf, 1, 1024), asyncio.get_running_loop()
        left, *others = [_Job(request, loop, loop.create_future()) for request in requests]
        for job in (left, *others):
            engine.add(job)
        engine.step()
        assert list(engine.running.values()) == [left]
        left.future.cancel()
        joined = []
        while engine.jobs():
            engine.step()
            joined.append(len(engine.running))
            await asyncio.sleep(0)
        return joined, [job.future.result().text for job in others]

    joined, texts = asyncio.run(answered())
    assert joined[0] == 1
    assert max(joined) >= 2
    assert texts == [llm.answer(request).text for request in requests[1:]]


def test_what_is_cached_needs_no_model(gguf, tmp_path, monkeypatch):
    with open_llm(gguf, cache=tmp_path / "llm.sqlite") as llm:
        first = llm.answer(ask())
    monkeypatch.setattr("reasonembed.llm.local._Engine", None)
    before = threading.active_count()
    with open_llm(gguf, cache=tmp_path / "llm.sqlite") as llm:
        assert llm.answer(ask()).text == first.text
        assert threading.active_count() == before


def test_the_description_follows_the_weights(gguf, tmp_path):
    same, other = tmp_path / "tiny.gguf", tmp_path / "b" / "tiny.gguf"
    data = gguf.read_bytes()
    other.parent.mkdir()
    same.write_bytes(data)
    other.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert LocalBackend(same).describe() == LocalBackend(gguf).describe()
    assert LocalBackend(other).describe() != LocalBackend(gguf).describe()
    assert "/" not in json.dumps(LocalBackend(gguf).describe())


def test_files_that_are_no_models(gguf, tmp_path):
    files = {
        "empty": b"", "text": b"hello world, this is text", "head": b"GGUF", "cut": gguf.read_bytes()[:40],
        "old": b"GGUF" + struct.pack("<I", 1), "kind": b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 99),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelError, match=f"{name}: no readable GGUF file"):
            open_llm(tmp_path / name, cache=None)
    with pytest.raises(ModelError, match=r"openvino_model.xml is missing"):
        open_llm(tmp_path, cache=None)
    with pytest.raises(DataError, match="takes no model name"):
        open_llm(gguf, model="m", cache=None)


def test_a_file_without_weights(tmp_path):
    from gguf import GGUFWriter

    writer = GGUFWriter(str(tmp_path / "bare.gguf"), "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with (
        open_llm(tmp_path / "bare.gguf", cache=None) as llm,
        pytest.raises(ModelError, match=r"bare.gguf: cannot be loaded"),
    ):
        llm.answer(ask())


def test_the_context_length_is_read_behind_any_other_field(tmp_path):
    from gguf import GGUFWriter

    for number, add in enumerate(("add_uint32", "add_uint64")):
        file = tmp_path / f"{number}.gguf"
        writer = GGUFWriter(str(file), "llama")
        writer.add_array("words", ["a", "bc", ""])
        writer.add_array("numbers", [1, 2, 3])
        writer.add_array("nested", [[1, 2], [3, 4]])
        writer.add_bool("flag", True)
        writer.add_float64("float", 1.5)
        writer.add_string("text", "x" * 1000)
        getattr(writer, add)("llama.context_length", 4096)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        assert _context_length(file) == 4096


def test_nothing_is_reported_and_no_network_is_used(gguf, tmp_path):
    """As for openvino itself: importing its language models must not call home either."""
    program = (
        "import sys; from reasonembed.llm.open import open_llm; from reasonembed.llm.types import user, Sampling\n"
        "with open_llm(sys.argv[1], cache=None) as llm: llm.answer(user('a', sampling=Sampling(max_tokens=20)))\n"
        "print(sorted({'openvino_telemetry', 'torch', 'openai'} & set(sys.modules)))"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", program, str(gguf)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert not (tmp_path / "intel").exists()
