"""A real model (qwen15) in this process, and the same file behind a real OpenAI-compatible server (llama.cpp's, of xllamacpp).

Needs REASONEMBED_MODELS=FOLDER with `qwen15` in it, the extras `local-llm` and `synth`, and xllamacpp.
"""

from __future__ import annotations

import json
import math

import pytest

from reasonembed.llm.answers import expected_score, json_in, score_in
from reasonembed.llm.open import open_llm
from reasonembed.llm.types import Sampling, user

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]
CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Italy": "Rome", "Egypt": "Cairo"}
GREEDY = Sampling(temperature=0.0, max_tokens=24)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
    "required": ["city", "country"],
}


@pytest.fixture(scope="module")
def gguf(models):
    return next((models / "qwen15").glob("*.gguf"))


@pytest.fixture(scope="module")
def local(gguf):
    pytest.importorskip("openvino_genai")
    with open_llm(gguf, cache=None) as llm:
        yield llm


@pytest.fixture(scope="module")
def server(gguf):
    xllamacpp = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx, params.n_parallel, params.port = 4096, 4, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    running = xllamacpp.Server(params)
    with open_llm(f"{running.listening_address}/v1", cache=None, concurrency=4) as llm:
        yield llm


@pytest.fixture(params=["local", "server"])
def llm(request):
    return request.getfixturevalue(request.param)


def capital(country, **options):
    return user(f"What is the capital of {country}? Answer with the city's name alone.", **options)


def test_it_knows_capitals_and_counts_tokens(llm):
    before = llm.totals
    replies = list(llm.answers(capital(country, sampling=GREEDY) for country in CAPITALS))
    for reply, city in zip(replies, CAPITALS.values(), strict=True):
        assert city in reply.answer.text
        assert reply.answer.finish_reason == "stop"
        assert 10 < reply.answer.prompt_tokens < 80
        assert 1 <= reply.answer.completion_tokens <= 24
    spent = llm.totals - before
    assert spent.completion_tokens == sum(reply.answer.completion_tokens for reply in replies)
    assert spent.failed == {}


def test_an_answer_is_cut_where_it_was_told(llm):
    answer = llm.answer(user("Count from one to a hundred in words.", sampling=Sampling(temperature=0.0, max_tokens=9)))
    assert answer.finish_reason == "length"
    assert answer.completion_tokens == 9


def test_stop_texts_end_an_answer(llm):
    sampling = Sampling(temperature=0.0, max_tokens=40, stop=("five",))
    answer = llm.answer(user("Count from one to ten in English words, in lower case.", sampling=sampling))
    assert "four" in answer.text
    assert "six" not in answer.text
    assert answer.finish_reason == "stop"


def test_an_answer_keeps_to_a_schema(llm):
    sampling = Sampling(temperature=0.0, max_tokens=60, schema=SCHEMA)
    value = json_in(llm.answer(user("The capital of Japan as JSON.", sampling=sampling)).text)
    assert sorted(value) == ["city", "country"]
    assert all(isinstance(part, str) for part in value.values())


def test_it_scores_in_the_form_asked_for(llm):
    """The form only: a model of this size judges poorly (the server's quantised kernels gave 1 of 9 here)."""
    question = (
        "How well does the passage answer the question? Give a whole number from 0 to 9 as <score>N</score> and nothing else.\n"
        "Question: What is the capital of France?\nPassage: Paris is the capital of France."
    )
    assert score_in(llm.answer(user(question, sampling=GREEDY)).text, 0, 9) is not None


def test_samples_differ_and_repeat_locally(local):
    sampling = Sampling(temperature=1.0, max_tokens=30)
    asked = [user("Invent a name for a ship and say why.", sampling=sampling, sample=i) for i in range(4)]
    texts = [reply.answer.text for reply in local.answers(asked)]
    assert len(set(texts)) == 4
    fixed = user("Invent a name for a ship.", sampling=Sampling(temperature=1.0, max_tokens=8, seed=11))
    assert local.answer(fixed).text == local.answer(fixed).text


def test_local_refusals_name_the_limit(local):
    long = local.answers([user("word " * 40_000, sampling=GREEDY), user("q", sampling=Sampling(top_logprobs=3))])
    too_long, alternatives = (reply.failure for reply in long)
    assert too_long.kind == alternatives.kind == "refused"
    assert "the limit is 32744: the model's 32768 less max_tokens=24" in too_long.detail
    assert "top_logprobs" in alternatives.detail


def test_a_server_gives_log_probabilities(server):
    question = "Rate how warm the Sahara is from 0 to 9. Answer with the number alone."
    answer = server.answer(user(question, sampling=Sampling(temperature=0.0, max_tokens=4, top_logprobs=10)))
    assert answer.tokens
    for choice in answer.tokens:
        assert sum(math.exp(logprob) for _, logprob in choice.top) <= 1.0 + 1e-3
    mean = expected_score(answer.tokens, 0, 9)
    assert 0 <= mean <= 9
    json.dumps(mean, allow_nan=False)
