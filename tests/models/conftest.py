"""Fixtures of the model tests."""

from __future__ import annotations

import pytest
from tiny_models import FACTS, GGUF, make_module, save, stored

from qkld.study.entries import GgufModel
from qkld.study.params import Compute


@pytest.fixture(scope="session")
def compute():
    """The demo's settings on a CPU."""
    return Compute(
        device="cpu",
        compute_dtype="float32",
        head_dtype="compute_dtype",
        device_map="none",
        weights="dequantized",
        vocabulary_tile=8192,
    )


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
