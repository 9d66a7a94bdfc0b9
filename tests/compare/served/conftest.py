"""Real servers on one tiny model, and the other tiny model that is their reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from real_servers import llama_cpp_python, llama_server, running
from tiny_gguf_files import write_model


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``reference.gguf`` and ``served.gguf``: other random weights, float32, one tokenizer; and a third model."""
    folder = tmp_path_factory.mktemp("served")
    for seed, name in enumerate(("reference", "served", "other"), start=7):
        write_model(folder / f"{name}.gguf", seed=seed)
    return folder


@pytest.fixture(scope="session")
def llama(files: Path) -> Iterator[str]:
    """The address of llama.cpp's own server."""
    command, port = llama_server(files / "served.gguf")
    with running(*command, port=port) as url:
        yield f"{url}#{files / 'served.gguf'}"


@pytest.fixture(scope="session")
def python(files: Path) -> Iterator[str]:
    """The address of llama-cpp-python's server."""
    command, port = llama_cpp_python(files / "served.gguf", "--logits_all", "true")
    with running(*command, port=port) as url:
        yield f"{url}#tiny"
