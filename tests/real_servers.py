"""Real servers in processes of their own, on tiny models, and their packages in a folder of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from qkld.study.locks import locked
from qkld.study.paths import data_folder
from qkld.study.provenance import sha256_of_file

LOCK = Path(__file__).parent / "real_servers.lock"
START_SECONDS = 300

LLAMA_SERVER = """
import sys, time, xllamacpp
wanted = xllamacpp.CommonParams()
wanted.model.path, wanted.n_ctx, wanted.n_parallel, wanted.warmup = sys.argv[1], int(sys.argv[3]), 1, False
wanted.hostnames, wanted.port, wanted.cpuparams.n_threads = ["127.0.0.1"], int(sys.argv[2]), 1
server = xllamacpp.Server(wanted)
time.sleep(3600)
"""
"""llama.cpp's server, as xllamacpp has it in its wheel."""

LLAMA_CPP_PYTHON = ("--n_ctx", "128", "--n_threads", "1", "--host", "127.0.0.1", "--model_alias", "tiny")


def packages() -> Path:
    """The servers' packages, installed once for each content of the lock."""
    folder = data_folder() / f"servers-{sha256_of_file(LOCK)[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / ".servers.lock"):
        if not (folder / "complete").exists():
            options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(folder)]
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *options, "--requirement", str(LOCK)], check=True)
            (folder / "complete").touch()
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Address(str):
    """A server's address, with its process."""

    process: subprocess.Popen


@contextmanager
def running(*command: str, port: int) -> Iterator[Address]:
    """A server's address, once it says which models it has; the process is ended afterwards."""
    url = Address(f"http://127.0.0.1:{port}")
    environment = {**os.environ, "PYTHONPATH": str(packages()), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url.process = process
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(url):
            assert process.poll() is None, f"the server ended with {process.returncode}"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/models", timeout=5).is_success
    except httpx.TransportError:
        return False


def llama_server(model: Path, context: int = 128) -> tuple[list[str], int]:
    """The command of llama.cpp's server, and its port."""
    port = free_port()
    return [sys.executable, "-c", LLAMA_SERVER, str(model), str(port), str(context)], port


def llama_cpp_python(model: Path, *more: str) -> tuple[list[str], int]:
    """The command of llama-cpp-python's server, and its port."""
    port = free_port()
    own = ["--model", str(model), "--port", str(port), *LLAMA_CPP_PYTHON, *more]
    return [sys.executable, "-m", "llama_cpp.server", *own], port
