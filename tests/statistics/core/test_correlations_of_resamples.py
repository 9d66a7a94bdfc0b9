"""Correlations of resamples against scipy's, resample by resample, and against published values."""

import numpy as np
import pytest
from correlation_columns import METHODS, PUBLISHED_X, PUBLISHED_Y, scipy_correlation, tied_columns
from scipy import stats

from qkld.statistics.core.correlations_of_resamples import (
    correlation,
    correlations_of_counts,
    ranks_in_resamples,
    resample_counts,
)
from qkld.statistics.core.intervals import bootstrap_correlations


def test_published_values():
    assert correlation(PUBLISHED_X, PUBLISHED_Y) == pytest.approx(0.8699639, abs=5e-8)
    tau = correlation(PUBLISHED_X, PUBLISHED_Y, "kendall")
    assert tau == pytest.approx(0.7282926, abs=5e-8)
    both = [stats.somersd(*columns).statistic for columns in ((PUBLISHED_X, PUBLISHED_Y), (PUBLISHED_Y, PUBLISHED_X))]
    assert 0.7425743 in [pytest.approx(d, abs=5e-8) for d in both]
    assert tau**2 == pytest.approx(np.prod(both))  # τ_b is the geometric mean of both of Somers' D


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [5, 14, 41])
def test_bootstrap_is_the_correlation_of_each_resample(method, n, rng):
    x, y = tied_columns(rng, n)
    fast = bootstrap_correlations(x, y, resamples=60, rng=np.random.default_rng(1), method=method)
    counts = resample_counts(n, 60, rng=np.random.default_rng(1)).astype(int)
    for value, count in zip(fast, counts, strict=True):
        a, b = np.repeat(x, count), np.repeat(y, count)
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(scipy_correlation(a, b, method), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [5, 41])
def test_scores_may_change_from_resample_to_resample(method, n, rng):
    x, _ = tied_columns(rng, n)
    scores = np.round(rng.normal(size=(1500, n)), 1)
    counts = resample_counts(n, 1500, rng=rng)
    logged = np.log(x) if method == "pearson_log" else x
    fast = correlations_of_counts(counts, logged, scores, method)
    for row in (*range(40), *range(1460, 1500)):
        drawn = counts[row].astype(int)
        a, b = np.repeat(x, drawn), np.repeat(scores[row], drawn)
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            assert np.isnan(fast[row])
        else:
            assert fast[row] == pytest.approx(scipy_correlation(a, b, method), abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scores", [np.full(5, 0.5), np.full((3, 5), 0.5)])
def test_no_resample_has_a_correlation_where_every_score_is_equal(method, scores):
    counts = np.ones((3, 5))
    assert np.isnan(correlations_of_counts(counts, np.arange(1.0, 6.0), scores, method)).all()


def test_ranks_are_midranks_of_the_draws(rng):
    values = rng.integers(0, 4, 9).astype(float)
    counts = resample_counts(9, 30, rng=rng)
    one = ranks_in_resamples(counts, values)
    assert ranks_in_resamples(counts, np.tile(values, (30, 1))) == pytest.approx(one, abs=1e-12)
    drawn = counts[0].astype(int)
    assert np.repeat(one[0], drawn) == pytest.approx(stats.rankdata(np.repeat(values, drawn)))


def test_resamples_are_ranked_anew(rng):
    x = np.exp(rng.normal(size=12))
    y = -x + rng.normal(size=12)
    ranked = bootstrap_correlations(x, y, resamples=50, rng=np.random.default_rng(1))
    counts = resample_counts(12, 50, rng=np.random.default_rng(1)).astype(int)
    rank_x, rank_y = stats.rankdata(x), stats.rankdata(y)
    once = [stats.pearsonr(np.repeat(rank_x, c), np.repeat(rank_y, c)).statistic for c in counts]
    assert np.abs(ranked - once).max() > 0.01


def test_resamples_draw_every_quant_equally_often(rng):
    counts = resample_counts(7, 20_000, rng=rng)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(7), abs=0.03)
    assert counts.var(axis=0) == pytest.approx(np.full(7, 6 / 7), abs=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_swapping_the_sign_of_the_score_swaps_the_sign(method, rng):
    x, y = tied_columns(rng, 17)
    assert correlation(x, -y, method) == pytest.approx(-correlation(x, y, method), abs=1e-15)
    assert correlation(x, y, method) == pytest.approx(scipy_correlation(x, y, method), abs=1e-15)
