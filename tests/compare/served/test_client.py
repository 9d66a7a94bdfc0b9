"""What a client does with a server that fails; the server is a small one, because healthy ones do not fail to order."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from qkld.compare.served.address import KEY_VARIABLE, is_served, served_model
from qkld.compare.served.client import Client
from qkld.compare.served.forms import Vllm
from qkld.compare.served.listed import check_enough
from qkld.errors import ParameterError, ServerError


class Failing(BaseHTTPRequestHandler):
    """Answers each request with the next of ``server.script``: a status with a body, or something worse."""

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.seen.append((self.headers.get("Authorization"), self.rfile.read(length)))
        action, body = self.server.script.pop(0) if self.server.script else (200, "{}")
        if action == "hang":
            time.sleep(body)
            return
        data = body.encode()
        self.send_response(200 if action == "cut" else action)
        self.send_header("Content-Length", str(len(data) + (100 if action == "cut" else 0)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        """Nothing is written to the terminal."""


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as made:
        made.script, made.seen, made.daemon_threads = [], [], True
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def client(server):
    waits: list[float] = []
    address = f"http://127.0.0.1:{server.server_address[1]}#tiny,timeout=0.3,attempts=4"
    with Client(served_model(address), wait=waits.append) as made:
        made.waits = waits
        yield made


def test_what_may_pass_is_asked_again_with_growing_waits(server, client):
    server.script = [(503, "loading"), ("cut", '{"a":'), (200, "no JSON"), (200, '{"a": 1}')]
    assert client.post("/v1/completions", {"prompt": [1]}) == {"a": 1}
    assert client.waits == [1.0, 2.0, 4.0]
    assert [json.loads(body) for _, body in server.seen] == [{"prompt": [1]}] * 4


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ([(500, "out of memory")] * 4, "status 500: out of memory, after 4 attempts"),
        ([("hang", 0.5)] * 4, "ReadTimeout"),
    ],
)
def test_a_server_that_never_answers_is_named_with_its_last_words(server, client, script, found):
    server.script = script
    with pytest.raises(ServerError, match=r"(?s)does not answer GET /v1/models.*within 0.3 s.*" + found):
        client.get("/v1/models")
    assert len(client.waits) == 3


def test_nothing_listens(server):
    address = f"http://127.0.0.1:{server.server_address[1]}#tiny,attempts=2"
    server.server_close()
    server.shutdown()
    with Client(served_model(address), wait=lambda _: None) as client, pytest.raises(ServerError, match="ConnectError"):
        client.get("/v1/models")


def test_a_refusal_is_not_repeated(server, client):
    server.script = [(400, "prompt is too long"), (401, "no key")]
    with pytest.raises(ServerError, match=r"(?s)refuses POST /v1.*status 400: prompt is too long.*correct the address"):
        client.post("/v1/completions", {})
    with pytest.raises(ServerError, match=f"set {KEY_VARIABLE}"):
        client.get("/v1/models")
    assert (client.waits, len(server.seen)) == ([], 2)


def test_the_key_comes_from_the_environment_alone(server, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    model = served_model(f"http://127.0.0.1:{server.server_address[1]}#tiny")
    with Client(model) as client:
        client.get("/v1/models")
    assert server.seen[0][0] == "Bearer secret"
    assert "secret" not in repr(model) + model.model_dump_json()


# --- vLLM's form: there is no vLLM here, so this is its documented answer and not a real one -------------------------


def prompt_logprobs(tokens: int, given: int) -> str:
    """An answer as vLLM documents it: None for the first token, then token id → log-probability, rank and text."""
    row = {str(t): {"logprob": -1.0 - t, "rank": t + 1, "decoded_token": "x"} for t in range(given)}
    return json.dumps({"choices": [{"text": "", "prompt_logprobs": [None, *[row] * (tokens - 1)]}]})


def test_rows_of_vllm_are_those_of_the_tokens_that_follow(server, client):
    server.script = [(200, prompt_logprobs(4, 3))]
    listed = Vllm(client).lists([5, 6, 7, 8], [1, 2], 3)
    assert [own.values for own in listed] == [{0: -1.0, 1: -2.0, 2: -3.0}] * 2
    sent = json.loads(server.seen[0][1])
    assert (sent["prompt"], sent["prompt_logprobs"], sent["model"]) == ([5, 6, 7, 8], 3, "tiny")


def test_too_few_log_probabilities_are_refused(server, client):
    server.script = [(200, prompt_logprobs(4, 3)), (200, prompt_logprobs(3, 3)), (200, '{"choices": []}')]
    listed = Vllm(client).lists([5, 6, 7, 8], [1, 2], 20)
    with pytest.raises(ServerError, match=r"(?s)too few log-probabilities.*expected: 20 at.*found:    3 at.*top_k=N"):
        check_enough(listed, 20, 300, label="tiny")
    check_enough(listed, 20, 3, label="tiny")
    for found in ("3 rows", "IndexError"):
        with pytest.raises(ServerError, match=f"(?s)no usable log-probabilities of a prompt.*{found}"):
            Vllm(client).lists([5, 6, 7, 8], [1, 2], 3)


# --- addresses --------------------------------------------------------------------------------------------------------


def test_addresses():
    model = served_model("https://host:8000/v1#org/model-8B,top_k=20,api=vllm,timeout=5")
    assert (model.base_url, model.model, model.label) == ("https://host:8000", "org/model-8B", "model-8B")
    assert (model.top_k, model.api, model.timeout) == (20, "vllm", 5)
    assert is_served("http://host:1#m")
    assert not any(is_served(text) for text in ("s3://bucket/store", "owner/name@main", "http://host/store"))


@pytest.mark.parametrize("text", ["http://h#", "http://h#m,top_k", "http://h#m,top_k=0", "http://h#m,k=3", "h#m"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ParameterError):
        served_model(text)
