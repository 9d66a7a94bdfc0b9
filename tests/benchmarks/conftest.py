"""A model of a few thousand weights with a tokenizer of bytes, and files of benchmark items, all made here."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
from byte_models import byte_model, byte_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """Seed → an opened model with random weights, float32, on the CPU."""
    return partial(byte_model, tokenizer)


@pytest.fixture(scope="session")
def tiny(make_model):
    """Two models of one architecture: a reference and a quant that is far from it."""
    return SimpleNamespace(reference=make_model(1), quant=make_model(2))


@pytest.fixture
def write_lines(tmp_path):
    """Rows → a file of JSON lines."""

    def written(rows, name="items.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    return written


@pytest.fixture(scope="session")
def arc_rows():
    """Nine questions of ARC's form; the third is asked twice."""
    things = ["sun", "ice", "lead", "salt", "frog", "wheat", "river", "moon"]
    rows = [
        {
            "id": f"q{number}",
            "question": f"Which of these {'really ' * (number % 3)}is like {thing}?",
            "choices": {"text": things[number:] + things[:number], "label": list("ABCDEFGH")},
            "answerKey": "ABCDEFGH"[(3 * number) % 8],
        }
        for number, thing in enumerate(things)
    ]
    return [*rows, {**rows[2], "id": "again"}]
