"""Blocks are named by what the code does."""

import pytest

from validation.calibration import correlation_nulls, sizes, verdicts
from validation.calibration.kept import behind, code_of, source_key
from validation.calibration.runs import block_rng

CODE = "LIMIT = 2\n\n\ndef above(x):\n    return x > LIMIT\n"


@pytest.mark.parametrize(
    "same",
    [
        '"""A module."""\n' + CODE,
        CODE.replace("return", '"""Whether x is above."""\n    return'),
        CODE.replace("LIMIT = 2\n", 'LIMIT = 2  # why\n"""Of x."""\n'),
    ],
)
def test_comments_and_docstrings_do_not_count(same):
    assert code_of(same) == code_of(CODE)


@pytest.mark.parametrize("other", [CODE.replace("2", "3"), CODE.replace(">", ">="), CODE.replace("return", "yield")])
def test_code_counts(other):
    assert code_of(other) != code_of(CODE)


def test_strings_that_are_used_count():
    assert code_of('f("a")') != code_of('f("b")')


def test_the_code_behind_a_module_is_what_it_imports_directly_or_not():
    found = behind(correlation_nulls.__name__)
    assert {
        "validation.calibration.correlation_nulls",
        "qkld.statistics.core.permutation",
        "qkld.statistics.core.correlations_of_resamples",
    } <= set(found)
    assert "validation.calibration.sizes" not in found
    assert set(found) < set(behind(sizes.__name__))


def test_another_function_or_module_is_another_source():
    functions = ((sizes.run_sizes,), (verdicts.run_verdicts,), (block_rng, verdicts.run_verdicts))
    keys = {source_key(own, module.__name__) for own in functions for module in (sizes, verdicts)}
    assert len(keys) == 6
