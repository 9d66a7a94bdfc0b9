"""Refusals: every statistic says how many quants it needs, and tables say why a number is not there."""

import numpy as np
import pandas as pd
import pytest

from qkld.errors import StatisticsError
from qkld.statistics.checks import noted, one_line, paired_columns, quants_of
from qkld.statistics.correlation import bootstrap_correlations, correlation, permutation_p, zmax_interval

X, Y = [1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0]


@pytest.mark.parametrize(
    ("x", "y", "found"),
    [
        (X[:3], Y[:3], "at least 4 quants\n  found:    3"),
        (X, [1.0] * 4, "Column 'score' is constant"),
        ([1.0, np.nan, 3.0, 4.0], Y, "1 of 4 missing"),
        ([1.0, np.inf, 3.0, 4.0], Y, "1 of 4 missing or not finite"),
        (X, Y[:3], "two columns of equal length"),
    ],
)
def test_columns_without_a_correlation_are_refused(x, y, found):
    with pytest.raises(StatisticsError) as error:
        paired_columns(x, y, names=("kl_mean", "score"))
    assert found in str(error.value)
    assert "quants" in str(error.value) or "column" in str(error.value)


@pytest.mark.parametrize(
    "statistic",
    [
        correlation,
        lambda x, y: bootstrap_correlations(x, y, resamples=10, rng=np.random.default_rng(0)),
        lambda x, y: permutation_p(x, y, permutations=10, rng=np.random.default_rng(0)),
        lambda x, y: zmax_interval(x, y, 0.95),
    ],
)
@pytest.mark.parametrize("bad", [[1.0, 2.0, 3.0], [5.0] * 8, [np.nan, *range(7)]])
def test_every_statistic_refuses(statistic, bad):
    with pytest.raises(StatisticsError):
        statistic(bad, list(range(len(bad))))


def test_a_refusal_becomes_a_note_and_an_empty_cell():
    row = noted(lambda: {"estimate": correlation(X[:3], Y[:3])}, {"estimate": np.nan})
    assert np.isnan(row["estimate"])
    assert "at least 4 quants; found: 3" in row["note"]
    assert "\n" not in row["note"]
    assert noted(lambda: {"estimate": 1.0}, {"estimate": np.nan}) == {"estimate": 1.0, "note": ""}


def test_one_line_leaves_out_the_advice():
    assert "do:" not in one_line(StatisticsError("a\n  expected: b\n  do:       c"))


def test_only_quants_enter():
    cohort = pd.DataFrame({"label": ["r", "f", "q"], "role": ["reference", "floor", "quant"]})
    assert list(quants_of(cohort)["label"]) == ["q"]
