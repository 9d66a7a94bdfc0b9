"""Sizes of tests: every null is drawn from, and a test that rejects too often is seen."""

import numpy as np
import pandas as pd
import pytest

from qkld.statistics.flips.decision import holm
from qkld.statistics.items.score_differences import difference_p
from validation.calibration.sizes import (
    against_each_other,
    against_reference,
    nulls,
    run_sizes,
    size_bounds,
    size_cells,
    size_rates,
    smallest_holm,
)

NULLS = nulls()


@pytest.mark.parametrize("test", dict.fromkeys(null.test for null in NULLS))
def test_each_test_gives_a_p(test, rng):
    for null in [n for n in NULLS if n.test == test][:2]:
        assert 0 <= null.draw(rng) <= 1


def test_nulls_are_named_apart():
    names = [(null.test, null.where) for null in NULLS]
    assert len(set(names)) == len(names)


def test_the_smallest_adjusted_p_is_that_of_holms_method(rng):
    p = rng.random(9) / 4
    assert smallest_holm(p) == pytest.approx(holm(p).min())
    assert smallest_holm(np.array([0.9, 0.8])) == 1.0


def test_pairs_and_quants_are_counted_as_the_package_counts_them(rng):
    right = rng.integers(0, 2, (60, 4)).astype(float)
    quants, reference = right[:, 1:].T, right[:, 0]
    expected = [difference_p((q > reference).sum(), (q < reference).sum(), 60).item() for q in quants]
    assert against_reference(right) == pytest.approx(expected)
    first = ((right[:, 1] > right[:, 2]).sum(), (right[:, 1] < right[:, 2]).sum())
    assert against_each_other(right)[0] == pytest.approx(difference_p(*first, 60).item())


def test_a_size_is_the_share_at_or_below_the_level():
    cell = size_cells(4)[0]
    rates = size_rates(cell, pd.DataFrame({"p": [0.05, 0.04, 0.06, 1.0]}))
    assert (rates["rejected"].item(), rates["size"].item()) == (2, 0.5)
    assert len(run_sizes(cell, rng=np.random.default_rng(1))) == 4


def test_a_test_known_to_exceed_is_listed_and_not_asked():
    row = {"test": "t", "where": "w", "runs": 2000, "rejected": 400, "size": 0.2, "known": ""}
    assert [c.passed for c in size_bounds(pd.DataFrame([row]))] == [False]
    assert size_bounds(pd.DataFrame([{**row, "known": "ranks of residuals"}])) == []


def test_a_cohort_that_gives_no_partial_correlation_rejects_nothing(rng):
    metric_is_bits = next(n for n in nulls() if n.test == "partial correlation").draw.__globals__["_size_only"]
    assert metric_is_bits(16, 1.0, "p_partial")(rng) == 1.0
