"""Intervals against scipy's BCa, R's published one, their definitions, and the truth they are to cover."""

import numpy as np
import pytest
from correlation_columns import METHODS, PUBLISHED_X, PUBLISHED_Y, scipy_correlation, tied_columns
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.correlations_of_resamples import correlation
from qkld.statistics.core.intervals import (
    LEAST_FOR_INTERVAL,
    bca_interval,
    bonett_wright_error,
    bootstrap_correlations,
    bootstrap_ends,
    exact_interval,
    fisher_z,
    jackknife_correlations,
    jackknife_error,
    percentile_interval,
    z_interval,
    zmax_interval,
)


def test_bonett_wright_gives_the_published_interval():
    rho = correlation(PUBLISHED_X, PUBLISHED_Y)
    half = stats.norm.ppf(0.975) * bonett_wright_error(rho, 15)
    assert z_interval(rho, 15, half) == pytest.approx((0.5840951, 0.9638297), abs=5e-7)


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


def test_an_interval_of_a_perfect_order_is_of_the_data_s_number_and_no_constant():
    """The more quants in order, the nearer to 1: it was .9970 at 5 quants, whatever they were."""
    lows = [zmax_interval(np.arange(n), np.arange(n), 0.95) for n in (4, 5, 6, 8, 12, 20)]
    assert [high for _, high in lows] == [1.0] * 6
    lows = [low for low, _ in lows]
    assert lows == sorted(lows)
    assert lows[0] < 0 < lows[1] < 0.4
    assert lows[3] < 0.95 < lows[4] < lows[5] < 0.999


@pytest.mark.parametrize(("n", "rho"), [(4, 1.0), (5, 0.9), (6, 0.6), (7, -0.25)])
def test_an_exact_interval_s_ends_make_what_was_seen_improbable(n, rho, rng):
    """At either end so much as was seen has a probability of 2.5 %, counted in cohorts of its own."""
    low, high = exact_interval(rho, n, 0.95)
    assert low <= rho <= high
    for end, side in ((low, 1), (high, -1)):
        if abs(end) == 1:
            continue
        r = 2 * np.sin(np.pi * end / 6)
        x = rng.standard_normal((20_000, n))
        y = r * x + np.sqrt(1 - r**2) * rng.standard_normal((20_000, n))
        ranks = [stats.rankdata(column, axis=1) - (n + 1) / 2 for column in (x, y)]
        seen = (ranks[0] * ranks[1]).sum(axis=1) / (n * (n**2 - 1) / 12)
        assert (side * seen >= side * rho - 1e-9).mean() == pytest.approx(0.025, abs=0.006)


def test_an_exact_interval_knows_its_ties(rng):
    """Scores of few levels: the interval without ties held a ρ of 0 in .91 of cohorts of 7."""
    held = 0
    for _ in range(60):
        x, y = rng.standard_normal(7), np.round(rng.standard_normal(7) / 0.8)
        low, high = zmax_interval(x, y, 0.95) if np.ptp(y) else (-1.0, 1.0)
        held += low <= 0 <= high
    assert held >= 55
    x, y = np.arange(6.0), np.array([0.0, 0, 1, 1, 2, 2])
    assert zmax_interval(x, y, 0.95) == pytest.approx(tuple(-e for e in zmax_interval(x, -y, 0.95)[::-1]), abs=0.02)


def test_four_quants_in_order_may_be_chance():
    """P(4 quants in order) is 1/24 without any relation, so that the end is below 0; of 5 it is 1/120."""
    assert exact_interval(1.0, 4, 0.95)[0] < 0 < exact_interval(1.0, 5, 0.95)[0]
    assert exact_interval(1.0, 4, 0.99)[0] < exact_interval(1.0, 4, 0.95)[0]


@pytest.mark.parametrize(
    ("n", "rho"), [(5, 0.79), (5, 0.945), (6, 0.945), (7, 0.89), (8, 0.945), (10, 0.98), (12, -0.945)]
)
def test_intervals_of_few_quants_cover(n, rho, rng):
    """At n = 5 the clipped interval held .945 in .62 of cohorts, at n = 6 in .77."""
    r, held = 2 * np.sin(np.pi * rho / 6), 0
    for _ in range(300):
        x = rng.standard_normal(n)
        low, high = zmax_interval(x, r * x + np.sqrt(1 - r**2) * rng.standard_normal(n), 0.95)
        held += low <= rho <= high
    assert held / 300 >= 0.92


def test_a_quarter_step_holds_a_whole_order():
    for n in (8, 12, 41):
        step = 12 / (n * (n**2 - 1))
        assert np.tanh(fisher_z([1.0, -1.0, 1 - step], n)) == pytest.approx([1 - step / 4, step / 4 - 1, 1 - step])


def test_few_quants_are_not_resampled():
    draws = np.linspace(-1, 1, 101)
    low, high = percentile_interval(draws, 0.9)
    assert bootstrap_ends(draws, 0.9, LEAST_FOR_INTERVAL, ("a", "b")) == {"a": low, "b": high}
    assert bootstrap_ends(draws, 0.9, LEAST_FOR_INTERVAL - 1)["note"].startswith("7 quants: intervals that resample")


def test_swapping_the_sign_of_the_score_mirrors_the_interval(rng):
    x, y = tied_columns(rng, 17)
    low, high = zmax_interval(x, y, 0.95)
    assert zmax_interval(x, -y, 0.95) == pytest.approx((-high, -low), abs=1e-12)


def test_one_quant_apart_from_all_others_has_no_jackknife():
    with pytest.raises(StatisticsError, match="one quant differs"):
        jackknife_error([1.0, 1.0, 1.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    with pytest.raises(StatisticsError, match="at least 5 quants"):
        jackknife_error([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 3.0, 4.0])
