"""One correlation with all that goes with it: what stands beside the estimate, what is counted and refused."""

import numpy as np
import pytest
from correlation_columns import METHODS, tied_columns
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.single import correlate, range_ratio
from qkld.statistics.correlation.twoway import TwoWay

SETTINGS = Resampling(confidence=0.95, resamples=400, permutations=199, seed=3)


@pytest.mark.parametrize("method", METHODS)
def test_a_row_does_not_depend_on_the_order_of_quants_beyond_resampling(method, rng):
    x, y = tied_columns(rng, 20)
    order = rng.permutation(20)
    row, other = (correlate(a, b, resampling=SETTINGS, method=method) for a, b in ((x, y), (x[order], y[order])))
    assert row["estimate"] == pytest.approx(other["estimate"], abs=1e-12)
    assert row["distinct_metric"] == np.unique(x).size
    assert row["distinct_score"] == np.unique(y).size
    assert row["low"] == pytest.approx(other["low"], abs=0.15)
    assert row["bca_low"] <= row["estimate"] <= row["bca_high"]


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
    assert all(np.isnan(row[c]) for c in ("estimate", "low", "high", "zmax_low", "bca_low", "p"))
    assert "at least 4 quants" in row["note"]


@pytest.mark.parametrize("n", [4, 5, 7])
def test_few_quants_have_an_exact_interval_and_say_so(n, rng):
    row = correlate(np.arange(n), [2, 1, *range(3, n + 1)], resampling=SETTINGS, items=rng.random((400, n)))
    assert all(np.isnan(row[c]) for c in ("low", "high", "bca_low", "bca_high", "twoway_low", "twoway_high"))
    assert -1 <= row["zmax_low"] < row["estimate"] < row["zmax_high"] <= 1
    assert row["zmax_high"] - row["zmax_low"] > 0.4
    assert f"{n} quants: intervals that resample quants are calibrated from 8" in row["note"]
    assert "the exact one" in row["note"]
    assert row["p"] > 0


def test_quants_all_in_order_have_a_one_sided_interval():
    row = correlate(np.arange(12), -np.arange(12), resampling=SETTINGS)
    assert np.isnan([row["low"], row["bca_low"]]).all()
    assert (row["estimate"], row["zmax_low"]) == (-1, -1)
    assert -0.99 < row["zmax_high"] < -0.95
    assert "all resamples have one value" in row["note"]
    assert "the exact one" in row["note"]


def test_a_zero_has_a_rank_and_no_logarithm(rng):
    kld, scores = np.array([0, 0.001, 0.003, 0.01, 0.03, 0.2, 0.5]), rng.normal(size=7)
    ranked = correlate(kld, scores, resampling=SETTINGS, names=("kl_mean", "score"))
    assert (ranked["n"], ranked["zeros"]) == (7, 1)
    assert ranked["estimate"] == stats.spearmanr(kld, scores).statistic
    logged = correlate(kld, scores, resampling=SETTINGS, names=("kl_mean", "score"), method="pearson_log")
    assert (logged["n"], logged["zeros"]) == (6, 1)
    assert logged["estimate"] == pytest.approx(stats.pearsonr(np.log(kld[1:]), scores[1:]).statistic)
    assert "1 at kl_mean = 0 left out of the logarithm" in logged["note"]


def test_a_negative_kld_is_an_error_unless_it_is_rounding():
    kld, scores = np.array([-1e-9, 0.1, 0.2, 0.3, 0.5]), [3.0, 5, 2, 1, 4]
    assert correlate(kld, scores, resampling=SETTINGS, names=("kl_mean", "score"))["zeros"] == 1
    with pytest.raises(StatisticsError, match="negative, which is impossible for a KL divergence"):
        correlate(-kld, scores, resampling=SETTINGS, names=("kl_p90", "score"))
    other = correlate(-kld, scores, resampling=SETTINGS, names=("log_ppl_ratio", "score"))
    assert other["estimate"] == stats.spearmanr(-kld, scores).statistic


def test_range_restriction_stands_beside_a_subset(rng):
    kld, scores = np.exp(rng.normal(size=20)), rng.normal(size=20)
    row = correlate(kld[:8], scores[:8], resampling=SETTINGS, names=("kl_mean", "s"), whole=(kld, scores))
    assert row["range_metric"] == pytest.approx(np.log(kld[:8]).std() / np.log(kld).std())
    assert row["range_score"] == pytest.approx(scores[:8].std() / scores.std())
    assert range_ratio(kld, kld) == 1
    assert range_ratio([0.0, 1.0, np.e], [0.0, 1.0, np.e, np.e**2], log=True) == pytest.approx(np.sqrt(0.25 * 1.5))
    assert np.isnan(range_ratio([1.0, 1.0], [1.0, 1.0]))
    assert np.isnan(range_ratio([0.0], [0.0, 1.0, 2.0], log=True))


def test_scores_of_redrawn_items_may_come_prepared_or_not(rng):
    kld, scores = np.exp(rng.normal(size=10)), rng.normal(size=10)
    redrawn = scores + 0.5 * rng.normal(size=(400, 10))
    plain = correlate(kld, scores, resampling=SETTINGS, items=redrawn)
    assert plain == correlate(kld, scores, resampling=SETTINGS, items=TwoWay(SETTINGS.counts(10), redrawn))
    assert plain["twoway_low"] < plain["twoway_high"]
    with pytest.raises(StatisticsError, match="numbers of resamples of quants and items differ"):
        correlate(kld, scores, resampling=SETTINGS, items=redrawn[:30])


def test_only_zeros_have_no_logarithm_at_all(rng):
    redrawn = rng.normal(size=(400, 6))
    row = correlate(np.zeros(6), redrawn[0], resampling=SETTINGS, method="pearson_log", items=redrawn)
    assert (row["n"], row["zeros"]) == (0, 6)
    assert np.isnan(row["estimate"])
    assert "at least 4 quants" in row["note"]
