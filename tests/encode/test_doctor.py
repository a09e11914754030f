from __future__ import annotations

import base64
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from reasonembed import Embedder
from reasonembed.encode.doctor import examine_endpoint, examine_model
from reasonembed.encode.endpoint import Endpoint
from reasonembed.errors import ModelError


@pytest.fixture
def saved(tiny_qwen3, tmp_path):
    Embedder(tiny_qwen3, dtype="float32").save(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def serve():
    """A function: embed -> base URL of an OpenAI-style server on loopback that answers with those vectors."""
    servers = []

    def start(embed, *, status=200):
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def _send(self, code, value):
                body = json.dumps(value).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self._send(
                    200,
                    {"object": "list", "data": [{"id": "tiny", "object": "model", "created": 0, "owned_by": "test"}]},
                )

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if status != 200:
                    self._send(status, {"error": {"message": "input is too long", "type": "invalid_request_error"}})
                    return
                vectors = embed(request["input"])
                as_base64 = request.get("encoding_format") == "base64"
                data = [
                    {
                        "object": "embedding",
                        "index": i,
                        "embedding": base64.b64encode(v.astype("<f4").tobytes()).decode() if as_base64 else v.tolist(),
                    }
                    for i, v in enumerate(vectors)
                ]
                self._send(
                    200,
                    {"object": "list", "data": data, "model": "tiny", "usage": {"prompt_tokens": 0, "total_tokens": 0}},
                )

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def raw(embedder):
    return lambda texts: embedder.encode_queries(texts, instruction="")


def problems(findings):
    return {finding.what: finding.detail for finding in findings if finding.level == "problem"}


def test_a_healthy_model_has_no_problem(saved):
    findings = examine_model(Embedder(saved))
    assert problems(findings) == {}
    assert any(finding.what == "reference" and "all 8 as expected" in finding.detail for finding in findings)


def test_changed_pooling_is_found(saved):
    (saved / "1_Pooling/config.json").write_text('{"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true}')
    assert "pooling 'last' instead of 'mean'" in problems(examine_model(Embedder(saved)))["cause"]


def test_other_weights_are_found(saved, tmp_path):
    from tiny import build

    other = build(tmp_path / "other", "qwen3", seed=7)
    (saved / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    assert "are the weights the same" in problems(examine_model(Embedder(saved)))["cause"]


def test_a_healthy_server(saved, serve):
    embedder = Embedder(saved)
    findings = examine_endpoint(Endpoint(serve(raw(embedder))), embedder)
    assert problems(findings) == {}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda e: raw(Embedder(e.checkpoint.path, pooling="mean")), "pooling 'mean' instead of 'last'"),
        (lambda e: e.encode_queries, "the query prompt"),
    ],
)
def test_a_faulty_server_is_explained(saved, serve, fault, message):
    embedder = Embedder(saved, instruction="Find it.")
    url = serve(fault(embedder))
    assert message in problems(examine_endpoint(Endpoint(url), embedder))["cause"]


def test_a_server_that_forgets_eos(saved, serve):
    faulty, embedder = Embedder(saved), Embedder(saved)
    faulty.tokenizer = replace(faulty.tokenizer, suffix=())
    assert "texts without EOS" in problems(examine_endpoint(Endpoint(serve(raw(faulty))), embedder))["cause"]


def test_norm_width_and_values_of_a_server(saved, serve):
    embedder = Embedder(saved)
    embed = raw(embedder)
    assert "not normalised" in problems(examine_endpoint(Endpoint(serve(lambda t: embed(t) * 3)), embedder))["norm"]
    assert (
        "have 8 dimensions"
        in problems(examine_endpoint(Endpoint(serve(lambda t: embed(t)[:, :8])), embedder))["reference"]
    )
    assert "NaN" in problems(examine_endpoint(Endpoint(serve(lambda t: embed(t) * np.nan)), embedder))["values"]


def test_a_server_that_mixes_a_batch_up(saved, serve):
    embed = raw(Embedder(saved))
    url = serve(lambda texts: embed(texts)[::-1])
    assert "depends on its batch" in problems(examine_endpoint(Endpoint(url), None))["company"]


def test_no_server_and_a_refusing_one(serve):
    with pytest.raises(ModelError, match="does not list its models"):
        Endpoint("http://127.0.0.1:9/v1", timeout=1)
    with pytest.raises(ModelError, match="input is too long"):
        Endpoint(serve(None, status=400)).embed(["x"])
