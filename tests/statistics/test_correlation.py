"""Correlations against scipy, against their definitions taken literally, and against published values."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.correlation import (
    Resampling,
    bonett_wright_error,
    bootstrap_correlations,
    correlate,
    correlation,
    correlation_table,
    percentile_interval,
    permutation_p,
    resample_counts,
    without_each_family,
    zmax_interval,
)

# Bonett and Wright's example as R's statpsych::ci.spear gives it
PUBLISHED_Y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
PUBLISHED_X = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
METHODS = ["spearman", "kendall", "pearson_log"]
SETTINGS = Resampling(confidence=0.95, resamples=400, permutations=199, seed=3)


def scipy_correlation(x, y, method):
    if method == "spearman":
        return stats.spearmanr(x, y).statistic
    if method == "kendall":
        return stats.kendalltau(x, y).statistic
    return stats.pearsonr(np.log(x), y).statistic


def tied_columns(rng, n):
    """Positive x and y with ties in both."""
    x = rng.integers(1, max(3, n // 2), n).astype(float)
    return x, np.round(-x + rng.normal(0, 2, n))


def test_published_values():
    rho = correlation(PUBLISHED_X, PUBLISHED_Y)
    assert rho == pytest.approx(0.8699639, abs=5e-8)
    assert correlation(PUBLISHED_X, PUBLISHED_Y, "kendall") == pytest.approx(0.7282926, abs=5e-8)
    half = stats.norm.ppf(0.975) * bonett_wright_error(rho, 15)
    assert np.tanh(np.arctanh(rho) + np.array([-half, half])) == pytest.approx([0.5840951, 0.9638297], abs=5e-7)


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
def test_permutation_p_is_the_share_of_all_arrangements(method, rng):
    x, y = np.exp(rng.normal(size=6)), rng.normal(size=6)
    observed = abs(scipy_correlation(x, y, method))
    every = [abs(scipy_correlation(x, np.array(p), method)) for p in permutations(y)]
    exact = np.mean(np.array(every) >= observed - 1e-9)
    assert permutation_p(x, y, permutations=8000, rng=rng, method=method) == pytest.approx(exact, abs=0.025)


def test_permutation_p_within_families_moves_scores_inside_only(rng):
    families = np.array(["a"] * 10 + ["b"] * 10)
    x = np.concatenate([rng.normal(0, 1, 10), rng.normal(50, 1, 10)])
    y = np.concatenate([rng.normal(0, 1, 10), rng.normal(-50, 1, 10)])
    free = permutation_p(x, y, permutations=1999, rng=rng)
    within = permutation_p(x, y, permutations=1999, rng=rng, families=families)
    assert free < 0.01
    assert within > 0.05


def test_permutation_p_within_one_family_agrees_with_the_free_one(rng):
    x, y = tied_columns(rng, 15)
    free = permutation_p(x, y, permutations=4000, rng=rng)
    assert permutation_p(x, y, permutations=4000, rng=rng, families=["a"] * 15) == pytest.approx(free, abs=0.03)


def test_permutation_p_is_never_zero_and_needs_somebody_to_swap():
    x = np.arange(30.0)
    assert permutation_p(x, x, permutations=99, rng=np.random.default_rng(0)) == pytest.approx(0.01)
    with pytest.raises(StatisticsError, match="at least 2 quants"):
        permutation_p(x, x, permutations=99, rng=np.random.default_rng(0), families=[str(i) for i in range(30)])


def test_permutation_p_is_uniform_without_association(rng):
    p = [permutation_p(rng.normal(size=12), rng.normal(size=12), permutations=199, rng=rng) for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)


def test_zmax_interval_is_at_least_bonett_wrights(rng):
    x = rng.normal(size=16)
    y = -x + rng.normal(size=16)
    rho = correlation(x, y)
    half = stats.norm.ppf(0.975) * bonett_wright_error(rho, 16)
    low, high = zmax_interval(x, y, 0.95)
    assert low <= np.tanh(np.arctanh(rho) - half) + 1e-12
    assert high >= np.tanh(np.arctanh(rho) + half) - 1e-12
    assert -1 < low < rho < high < 1


def test_without_each_family_is_the_correlation_of_the_rest(rng):
    x, y = rng.normal(size=15), rng.normal(size=15)
    families = np.repeat(["a", "b", "c"], 5)
    table = without_each_family(x, y, families)
    assert list(table["family"]) == ["a", "b", "c"]
    assert table["estimate"].iloc[1] == stats.spearmanr(x[families != "b"], y[families != "b"]).statistic
    with pytest.raises(StatisticsError, match="at least 2 families"):
        without_each_family(x, y, ["a"] * 15)


@pytest.mark.parametrize("method", METHODS)
def test_a_row_does_not_depend_on_the_order_of_quants_beyond_resampling(method, rng):
    x, y = tied_columns(rng, 20)
    order = rng.permutation(20)
    row, other = (correlate(a, b, resampling=SETTINGS, method=method) for a, b in ((x, y), (x[order], y[order])))
    assert row["estimate"] == pytest.approx(other["estimate"], abs=1e-12)
    assert row["distinct_metric"] == np.unique(x).size
    assert row["distinct_score"] == np.unique(y).size
    assert row["low"] == pytest.approx(other["low"], abs=0.15)


def test_ranks_ignore_monotone_changes(rng):
    x, y = np.exp(rng.normal(size=20)), rng.normal(size=20)
    assert correlate(x, y, resampling=SETTINGS) == correlate(np.log(x), np.exp(y), resampling=SETTINGS)


def test_same_seed_same_row_other_seed_other_interval(rng):
    x, y = np.exp(rng.normal(size=20)), rng.normal(size=20)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - that the global generator is left alone is the point
    first = correlate(x, y, resampling=SETTINGS)
    assert first == correlate(x, y, resampling=SETTINGS)
    other = correlate(x, y, resampling=Resampling(0.95, 400, 199, seed=4))
    assert first["estimate"] == other["estimate"]
    assert (first["low"], first["p"]) != (other["low"], other["p"])
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_a_row_of_three_quants_has_no_number_and_says_why():
    row = correlate([1, 2, 3], [3, 2, 1], resampling=SETTINGS, names=("kl_mean", "composite"))
    assert row["n"] == 3
    assert all(np.isnan(row[c]) for c in ("estimate", "low", "high", "p"))
    assert "at least 4 quants" in row["note"]


def test_a_zero_has_no_logarithm():
    row = correlate([0, 1, 2, 3, 4], [1, 3, 2, 5, 4], resampling=SETTINGS, method="pearson_log")
    assert np.isnan(row["estimate"])
    assert "values above 0" in row["note"]


def test_table_takes_quants_only(rng):
    cohort = pd.DataFrame(
        {
            "label": [f"m{i}" for i in range(12)],
            "role": ["reference", "floor"] + ["quant"] * 10,
            "family": ["a", "b"] * 6,
            "kl_mean": np.exp(rng.normal(size=12)),
            "score_t": rng.random(12),
            "composite": [np.nan] * 12,
        }
    )
    table = correlation_table(cohort, ["kl_mean"], ["t", "composite"], resampling=SETTINGS)
    quants = cohort[cohort["role"] == "quant"]
    assert table["estimate"].iloc[0] == stats.spearmanr(quants["kl_mean"], quants["score_t"]).statistic
    assert table["n"].tolist() == [10, 10]
    assert np.isnan(table["estimate"].iloc[1])
    assert "10 of 10 missing" in table["note"].iloc[1]


def test_ten_thousand_resamples_of_forty_one_quants_are_quick(rng):
    from time import process_time

    x, y = rng.normal(size=41), rng.normal(size=41)
    start = process_time()
    bootstrap_correlations(x, y, resamples=10_000, rng=rng)
    assert process_time() - start < 3
