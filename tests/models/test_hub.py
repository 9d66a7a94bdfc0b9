"""A repository of a hub, served here: its small files are fetched, then the weights that are read; nothing twice."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from tiny_models import make_module, make_tokenizer, save, stored

from qkld.errors import ModelError
from qkld.models import open_model

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a hub: a repository's list of files, and each file with its hash."""

    folder: Path
    fetched: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/"):
            files = sorted(p for p in self.folder.rglob("*") if p.is_file())
            names = [str(p.relative_to(self.folder)) for p in files]
            tree = [
                {"type": "file", "path": n, "size": p.stat().st_size, "oid": hashlib.sha1(p.read_bytes()).hexdigest()}
                for n, p in zip(names, files, strict=True)
            ]
            whole = {"id": "some/model", "sha": REVISION, "siblings": [{"rfilename": name} for name in names]}
            self._send(json.dumps(tree if "/tree/" in path else whole).encode(), with_body=with_body)
            return
        name = path.partition(f"/resolve/{REVISION}/")[2]
        file = self.folder / name
        if not name or not file.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if with_body:
            self.fetched.append(name)
        self._send(file.read_bytes(), with_body=with_body)

    def _send(self, body: bytes, *, with_body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """No line a request."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A hub on this machine with the repository ``some/model``, and an empty cache."""
    handler = type("OneHub", (Hub,), {"folder": tmp_path / "repository", "fetched": []})
    handler.folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield handler
    server.shutdown()
    server.server_close()


def entry():
    return stored(repository="some/model", revision=REVISION, label="reference")


def test_neither_a_second_copy_nor_another_format_is_downloaded(hub, compute):
    make_module().to(torch.bfloat16).save_pretrained(hub.folder, max_shard_size="60KB")
    make_tokenizer().save_pretrained(hub.folder)
    shards = sorted(p.name for p in hub.folder.glob("model-*.safetensors"))
    for copy in ("consolidated.safetensors", "original/model.safetensors", "onnx/model.onnx", "pytorch_model.bin"):
        (hub.folder / copy).parent.mkdir(exist_ok=True)
        shutil.copy(hub.folder / shards[0], hub.folder / copy)
    for other in ("model-00009-of-00009.safetensors", "evil.py"):
        (hub.folder / other).write_bytes(b"none of this is read")
    opened = open_model(entry(), reference=entry(), compute=compute)
    assert opened.bits.bits_per_weight == 16
    assert len(shards) > 2
    weights = [name for name in hub.fetched if not name.endswith(".json")]
    assert sorted(weights) == shards
    assert len(hub.fetched) == len(set(hub.fetched))
    assert not [name for name in hub.fetched if "/" in name]


def test_a_model_in_one_file_is_that_file(hub, compute):
    save(hub.folder, make_module())
    shutil.copy(hub.folder / "model.safetensors", hub.folder / "consolidated.safetensors")
    open_model(entry(), reference=entry(), compute=compute)
    assert [name for name in hub.fetched if name.endswith(".safetensors")] == ["model.safetensors"]


def test_an_adapter_is_refused_before_its_weights_are_fetched(hub, compute):
    make_tokenizer().save_pretrained(hub.folder)
    (hub.folder / "adapter_config.json").write_text("{}")
    (hub.folder / "adapter_model.safetensors").write_bytes(b"large")
    with pytest.raises(ModelError, match="holds an adapter"):
        open_model(entry(), reference=entry(), compute=compute)
    assert not [name for name in hub.fetched if name.endswith(".safetensors")]


def test_weights_that_the_hub_has_not_are_named(hub, compute):
    make_module().save_pretrained(hub.folder, max_shard_size="60KB")
    make_tokenizer().save_pretrained(hub.folder)
    sorted(hub.folder.glob("model-*.safetensors"))[1].unlink()
    with pytest.raises(ModelError, match=r"(?s)Files of 'reference' are missing.*index\.json"):
        open_model(entry(), reference=entry(), compute=compute)


def test_pickled_weights_of_a_hub_are_not_fetched(hub, compute):
    save(hub.folder, make_module())
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are refused"):
        open_model(entry(), reference=entry(), compute=compute)
    assert "pytorch_model.bin" not in hub.fetched
