"""Fixtures of the model tests."""

from __future__ import annotations

import pytest
from tiny_models import COMPUTE, FACTS, GGUF, make_module, save, stored

from qkld.study.entries import GgufModel


@pytest.fixture(scope="session")
def compute():
    """The demo's settings on a CPU."""
    return COMPUTE.model_copy(update={"vocabulary_tile": 8192})


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A random Llama with its tokenizer."""
    return save(tmp_path_factory.mktemp("tiny"), make_module())


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """The entry of the random Llama."""
    return stored(tiny_folder)


@pytest.fixture(scope="session")
def demo():
    """The entry of the demo's reference."""
    return GgufModel(label="reference", family="gguf", **FACTS, **GGUF)
