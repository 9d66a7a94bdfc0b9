"""What Snakemake's Kubernetes executor asks of a cluster, written down by a server on the loopback address.

It is no cluster: it keeps what it is sent and says of every job that it has failed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


class _Recorder(BaseHTTPRequestHandler):
    server: Api

    def _answer(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def do_POST(self) -> None:
        body = self._body()
        self.server.sent.append((self.path.rsplit("/", 1)[-1], body))
        self._answer(201, body)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"GET {path}")
        if path.endswith("/pods"):
            self._answer(200, {"kind": "PodList", "apiVersion": "v1", "items": []})
        else:
            self._answer(200, {"kind": "Job", "apiVersion": "batch/v1", "status": {"failed": 1}})

    def do_DELETE(self) -> None:
        self._body()
        self._answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is printed."""


class Api(ThreadingHTTPServer):
    """The server. ``sent`` holds the kind and body of everything that it was asked to create."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Recorder)
        self.sent: list[tuple[str, Any]] = []
        self.asked: list[str] = []

    def configuration(self, file: Path) -> Path:
        """Write a kubeconfig that leads here."""
        named = {"name": "here"}
        here = {"server": f"http://127.0.0.1:{self.server_port}"}
        values = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [named | {"cluster": here}],
            "users": [named | {"user": {}}],
            "contexts": [named | {"context": {"cluster": "here", "user": "here"}}],
        }
        file.write_text(yaml.safe_dump(values))
        return file


@contextmanager
def recording_api() -> Iterator[Api]:
    """A server for as long as this lasts."""
    with Api() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
