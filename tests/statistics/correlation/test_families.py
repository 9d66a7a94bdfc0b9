"""The correlation with one quantizer family left out at a time."""

import numpy as np
import pytest
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.correlation.single import without_each_family


def test_without_each_family_is_the_correlation_of_the_rest(rng):
    x, y = rng.normal(size=15), rng.normal(size=15)
    families = np.repeat(["a", "b", "c"], 5)
    table = without_each_family(x, y, families)
    assert list(table["family"]) == ["a", "b", "c"]
    expected = [stats.spearmanr(x[families != f], y[families != f]).statistic for f in "abc"]
    assert list(table["estimate"]) == pytest.approx(expected, rel=1e-12)
    assert table["n"].tolist() == [10, 10, 10]


def test_a_rest_that_is_constant_is_refused():
    families = ["a"] * 5 + ["b"] * 10
    with pytest.raises(StatisticsError, match="constant"):
        without_each_family(np.arange(15.0), np.r_[np.arange(5.0), np.ones(10)], families)


def test_one_family_has_no_rest():
    with pytest.raises(StatisticsError, match="at least 2 families"):
        without_each_family(np.arange(15.0), np.arange(15.0), ["a"] * 15)


def test_a_rest_too_small_is_refused_by_name():
    with pytest.raises(StatisticsError, match="Without family 'a' too few quants"):
        without_each_family(np.arange(8.0), np.arange(8.0), ["a"] * 5 + ["b"] * 3)
