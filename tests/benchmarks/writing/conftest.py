"""A model of a few thousand weights with a tokenizer of bytes, and prompts of different lengths for it."""

import numpy as np
import pytest
from byte_models import byte_model, byte_tokenizer

from qkld.benchmarks.writing import Prompt


@pytest.fixture(scope="session")
def model():
    return byte_model(byte_tokenizer(), 1)


@pytest.fixture(scope="session")
def prompts():
    """Twelve prompts of 3 to 47 tokens, with answers of different lengths and with and without a stop text."""
    rng = np.random.default_rng(7)
    lengths = [3, 4, 4, 9, 13, 17, 17, 21, 30, 38, 41, 47]
    return [
        Prompt(str(i), tuple(int(t) for t in rng.integers(0, 256, n)), ("e", "\n") if i % 3 == 0 else (), 6 + 3 * i)
        for i, n in enumerate(lengths)
    ]
