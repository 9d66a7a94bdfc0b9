"""Numbers keep their keys, their gaps and their signs."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from qkld.errors import StageError, TableError
from qkld.report.numbers import flat_numbers, number, p_value, printed, significant, with_interval
from qkld.study.provenance import canonical_json

ZONE = pd.DataFrame(
    {
        "metric": ["kl_mean", "kl_mean"],
        "benchmark": ["composite", "composite"],
        "subset": ["full", "zone"],
        "n": [22, 3],
        "estimate": [-0.92, np.nan],
        "low": [-0.99, np.nan],
        "high": [-0.73, np.nan],
        "note": ["", "too few quants"],
    }
)


def test_a_cell_has_one_flat_key():
    numbers = flat_numbers({"zone": ZONE})
    assert numbers["zone/kl_mean/composite/full/estimate"] == -0.92
    assert numbers["zone/kl_mean/composite/full/low"] == -0.99
    assert numbers["zone/kl_mean/composite/zone/n"] == 3
    assert len(numbers) == 2 * 5


def test_what_could_not_be_computed_is_none_with_its_reason():
    numbers = flat_numbers({"zone": ZONE})
    assert numbers["zone/kl_mean/composite/zone/estimate"] is None
    assert numbers["zone/kl_mean/composite/zone/note"] == "too few quants"


def test_numbers_are_json_without_nan():
    table = pd.DataFrame({"benchmark": ["a"], "above_chance_se": [np.inf], "items": np.array([3], dtype="int64")})
    numbers = flat_numbers({"composite": table})
    assert json.loads(canonical_json(numbers)) == {"composite/a/above_chance_se": "inf", "composite/a/items": 3}


def test_of_the_router_only_all_pairs_enter():
    router = pd.DataFrame(
        {"label_a": ["a", "all pairs"], "label_b": ["b", "all pairs"], "benchmark": ["x", "x"], "items": [1, 2]}
    )
    assert flat_numbers({"router": router}) == {"router/all pairs/all pairs/x/items": 2}


def test_a_table_without_its_keys_or_with_a_key_twice_is_refused():
    with pytest.raises(TableError, match="key columns"):
        flat_numbers({"zone": ZONE.drop(columns="subset")})
    with pytest.raises(TableError, match="same key twice"):
        flat_numbers({"zone": pd.concat([ZONE, ZONE])})
    with pytest.raises(TableError, match=r"expected: +one of"):
        flat_numbers({"nonsense": ZONE})


def test_asking_for_a_number_that_is_not_there_names_one_that_is():
    numbers = flat_numbers({"zone": ZONE})
    assert number(numbers, "zone", "kl_mean", "composite", "full", "n") == 22
    with pytest.raises(StageError, match="zone/kl_mean/composite/full/n"):
        number(numbers, "zone", "kl_median", "composite", "full", "n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (printed(-0.123), "−0.12"),
        (printed(0.4567, 1, percent=True), "45.7"),
        (printed(None), "not available"),
        (printed(math.nan), "not available"),
        (printed("inf"), "inf"),
        (significant(0.00086), "0.000860"),
        (significant(12.345), "12.3"),
        (significant(123.0), "123"),
        (significant(3.2e-9), "3.20e−9"),
        (significant(0.0), "0"),
        (p_value(0.0001), "< 0.001"),
        (p_value(0.0314), "0.031"),
        (p_value(math.nan), "not available"),
        (with_interval({"estimate": -0.5, "low": -0.9, "high": 0.25}), "−0.50 [−0.90, 0.25]"),
        (with_interval({"estimate": -0.5, "low": math.nan, "high": math.nan}), "−0.50"),
        (with_interval({"estimate": math.nan, "low": 0.1, "high": 0.2}), "not available"),
        (with_interval({"share": 0.423, "low": 0.4, "high": 0.45}, "share", 1, percent=True), "42.3 [40.0, 45.0]"),
    ],
)
def test_printing(text, expected):
    assert text == expected
