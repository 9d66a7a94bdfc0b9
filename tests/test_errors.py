"""What an error of qkld says, here and in another process."""

from __future__ import annotations

import pickle

import pytest

from qkld import errors
from qkld.errors import QkldError, TokenizerError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, QkldError)]


def test_an_error_says_what_is_wrong_expected_found_and_to_be_done():
    error = TokenizerError("The vocabulary differs.", expected=["a"], found=2, do="use another quant")
    assert str(error).split("\n") == [
        "The vocabulary differs.",
        "  expected: a",
        "  found:    2",
        "  do:       use another quant",
    ]
    assert (error.problem, error.expected, error.found, error.do) == (
        "The vocabulary differs.",
        "a",
        "2",
        "use another quant",
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_comes_back_whole_from_another_process(kind):
    error = kind("It broke.", expected=1, found=None, do="correct it")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.do) == (kind, str(error), "correct it")


def test_no_error_goes_without_what_to_do():
    with pytest.raises(TypeError):
        QkldError("It broke.", expected=1, found=2)
