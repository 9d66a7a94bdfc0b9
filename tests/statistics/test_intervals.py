"""Intervals against scipy's BCa, R's published one, their definitions, and the truth they are to cover."""

import numpy as np
import pytest
from correlation_columns import METHODS, PUBLISHED_X, PUBLISHED_Y, scipy_correlation, tied_columns
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.estimates import correlation
from qkld.statistics.intervals import (
    bca_interval,
    bonett_wright_error,
    bootstrap_correlations,
    jackknife_correlations,
    jackknife_error,
    percentile_interval,
    z_interval,
    zmax_interval,
)


def test_bonett_wright_gives_the_published_interval():
    rho = correlation(PUBLISHED_X, PUBLISHED_Y)
    half = stats.norm.ppf(0.975) * bonett_wright_error(rho, 15)
    assert z_interval(rho, half) == pytest.approx((0.5840951, 0.9638297), abs=5e-7)


def test_percentile_interval_leaves_undefined_resamples_out():
    draws = np.append(np.linspace(-1, 1, 101), np.nan)
    assert percentile_interval(draws, 0.9) == pytest.approx((-0.9, 0.9))
    with pytest.raises(StatisticsError, match="at most 5% of resamples undefined"):
        percentile_interval(np.append(draws, [np.nan] * 6), 0.9)


def test_percentile_interval_covers(rng):
    inside = 0
    for _ in range(200):
        x = rng.normal(size=28)
        y = -0.7 * x + np.sqrt(1 - 0.49) * rng.normal(size=28)
        low, high = percentile_interval(bootstrap_correlations(x, y, resamples=300, rng=rng), 0.95)
        inside += low <= 6 / np.pi * np.arcsin(-0.35) <= high
    assert 0.90 <= inside / 200 <= 0.99


@pytest.mark.parametrize("method", METHODS)
def test_jackknife_leaves_one_quant_out(method, rng):
    x, y = tied_columns(rng, 12)
    expected = [scipy_correlation(np.delete(x, i), np.delete(y, i), method) for i in range(12)]
    assert jackknife_correlations(x, y, method) == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_bca_interval_is_scipys_for_the_same_draws(method, rng):
    x, y = tied_columns(rng, 15)
    scipys = stats.bootstrap(
        (x, y),
        lambda a, b: scipy_correlation(a, b, method),
        paired=True,
        vectorized=False,
        n_resamples=300,
        method="BCa",
        rng=rng,
    )
    draws, left_out = scipys.bootstrap_distribution, jackknife_correlations(x, y, method)
    ours = bca_interval(correlation(x, y, method), draws, left_out, 0.95)
    assert ours == pytest.approx(tuple(scipys.confidence_interval), abs=1e-9)


def test_bca_interval_of_a_perfect_order_is_refused():
    x = np.arange(12.0)
    with pytest.raises(StatisticsError, match="jackknife that varies"):
        bca_interval(1.0, np.ones(100), jackknife_correlations(x, x), 0.95)


def test_zmax_takes_the_larger_error(rng):
    x = rng.normal(size=16)
    y = -x + rng.normal(size=16)
    rho = correlation(x, y)
    left_out = np.arctanh([stats.spearmanr(np.delete(x, i), np.delete(y, i)).statistic for i in range(16)])
    jackknife = np.sqrt(15 / 16 * ((left_out - left_out.mean()) ** 2).sum())
    assert jackknife_error(x, y) == pytest.approx(jackknife, abs=1e-12)
    half = stats.norm.ppf(0.975) * max(jackknife, np.sqrt((1 + rho**2 / 2) / 13))
    low, high = zmax_interval(x, y, 0.95)
    assert (low, high) == pytest.approx(tuple(np.tanh(np.arctanh(rho) + np.array([-half, half]))), abs=1e-12)
    assert -1 < low < rho < high < 1


@pytest.mark.parametrize("sign", [1, -1])
def test_zmax_interval_of_a_perfect_order_reaches_it(sign):
    x = np.arange(12.0)
    low, high = zmax_interval(x, sign * x, 0.95)
    assert sign in (low, high)
    assert low < high


def test_swapping_the_sign_of_the_score_mirrors_the_interval(rng):
    x, y = tied_columns(rng, 17)
    low, high = zmax_interval(x, y, 0.95)
    assert zmax_interval(x, -y, 0.95) == pytest.approx((-high, -low), abs=1e-12)


def test_one_quant_apart_from_all_others_has_no_jackknife():
    with pytest.raises(StatisticsError, match="one quant differs"):
        jackknife_error([1.0, 1.0, 1.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    with pytest.raises(StatisticsError, match="at least 5 quants"):
        jackknife_error([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 3.0, 4.0])
