"""BFCL through its own package in an environment of its own; and nothing that a model wrote is run there."""

import json

import pytest

from qkld.benchmarks.judging import bfcl, bfcl_worker
from qkld.errors import BenchmarkError

ITEM = {
    "id": "simple_python_0",
    "category": "simple_python",
    "question": [[{"role": "user", "content": "Add one and two."}]],
    "function": json.dumps(
        [
            {
                "name": "add",
                "description": "Adds.",
                "parameters": {
                    "type": "dict",
                    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                    "required": ["a", "b"],
                },
            }
        ]
    ),
    "ground_truth": json.dumps([{"add": {"a": [1], "b": [2]}}]),
}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1 + 2 * 3", 7), ("-(4 - 6)", 2), ("7 // 2", 3), ("7 % 4", 3), ("2 ** 10", 1024)],
)
def test_arithmetic_is_that_of_python(text, value):
    assert bfcl_worker.arithmetic(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getpid() + 1",
        "'a' * 10**9",
        "[1] * 5",
        "(lambda: 1)() + 1",
        "10 ** 10 ** 10",
        "x + 1",
        "True + 1",
    ],
)
def test_what_is_no_arithmetic_is_not_computed(text):
    with pytest.raises(ValueError, match=r"no arithmetic|too large"):
        bfcl_worker.arithmetic(text)


@pytest.mark.network
def test_prompts_and_verdicts_are_the_package_s():
    (row,) = (json.loads(line) for line in bfcl.with_prompts([json.dumps(ITEM)]))
    assert row["system"].startswith("You are an expert in composing functions.")
    assert "Note that the provided function is in Python 3 syntax." in row["system"]
    assert row["question"] == "Add one and two."
    answers = {
        "[add(a=1, b=2)]": True,
        "add(b=2, a=1)": True,
        "[add(a=3-2, b=2)]": True,
        "[add(a=1)]": False,
        "[add(a=1, b=3)]": False,
        "[sub(a=1, b=2)]": False,
        "[add(a=1, b=2), add(a=1, b=2)]": False,
        "The result is 3.": False,
        "": False,
    }
    assert dict(zip(answers, bfcl.check([row] * len(answers), list(answers)), strict=True)) == answers
    assert bfcl.check([row | {"category": "irrelevance"}] * 2, ["[add(a=1, b=2)]", "I cannot."]) == [False, True]


@pytest.mark.network
def test_an_answer_that_the_package_does_not_give_is_said(tmp_path, monkeypatch):
    with pytest.raises(BenchmarkError, match=r"no answer to 'prompts'(.|\n)*KeyError"):
        bfcl.ask("prompts", [{"id": "simple_python_0"}])
