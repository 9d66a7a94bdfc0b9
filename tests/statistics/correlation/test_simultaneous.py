"""max-T against all arrangements counted one by one; the band against one interval a metric."""

from itertools import permutations

import numpy as np
import pytest
from correlation_columns import tied_columns
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.intervals import zmax_interval
from qkld.statistics.core.permutation import permutation_p
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.simultaneous import max_t, simultaneous_band

SETTINGS = Resampling(confidence=0.95, resamples=2000, permutations=4000, seed=3)


def alike(rng, n=20, metrics=6, share=0.8):
    """Metrics that share most of what they measure, and a score that has nothing to do with them."""
    common = rng.normal(size=(n, 1))
    return np.sqrt(share) * common + np.sqrt(1 - share) * rng.normal(size=(n, metrics)), rng.normal(size=n)


def test_adjusted_p_is_the_share_of_all_arrangements(rng):
    metrics, scores = rng.normal(size=(6, 3)), rng.normal(size=6)
    observed = [abs(stats.spearmanr(x, scores).statistic) for x in metrics.T]
    every = np.array([[abs(stats.spearmanr(x, p).statistic) for x in metrics.T] for p in permutations(scores)])
    exact = [(every.max(axis=1) >= rho - 1e-9).mean() for rho in observed]
    found = max_t(metrics, scores, resampling=SETTINGS)
    assert found.p == pytest.approx(np.array(exact), abs=0.025)
    assert found.critical == pytest.approx(np.quantile(every.max(axis=1), 0.95), abs=0.06)


def test_one_metric_has_nothing_to_adjust(rng):
    x, y = tied_columns(rng, 15)
    alone = permutation_p(x, y, permutations=4000, rng=np.random.default_rng(3))
    assert max_t(x[:, None], y, resampling=SETTINGS).p[0] == alone


def test_adjusting_is_between_nothing_and_bonferroni(rng):
    metrics, scores = alike(rng)
    found = max_t(metrics, scores, resampling=SETTINGS)
    single = np.array([max_t(x[:, None], scores, resampling=SETTINGS).p[0] for x in metrics.T])
    assert (single <= found.p).all()
    assert (found.p <= np.minimum(1, 6 * single) + 0.01).all()
    twice = max_t(np.hstack([metrics, metrics]), scores, resampling=SETTINGS)
    assert (twice.p == np.tile(found.p, 2)).all()


def test_some_metric_of_many_is_found_by_chance_as_often_as_promised():
    rng, found = np.random.default_rng(6), []
    settings = Resampling(0.95, 1, 199, 0)
    for _ in range(400):
        found.append(max_t(*alike(rng, n=16, metrics=14), resampling=settings).p.min() <= 0.05)
    assert np.mean(found) == pytest.approx(0.05, abs=0.033)


def test_swapping_the_sign_of_a_metric_changes_nothing(rng):
    metrics, scores = alike(rng)
    one, other = (max_t(m, scores, resampling=SETTINGS) for m in (metrics, metrics * [1, -1, 1, -1, 1, -1]))
    assert (one.p == other.p).all()
    assert one.critical == other.critical


def test_within_families_scores_move_inside_only(rng):
    families = np.repeat(["a", "b"], 10)
    shift = np.where(families == "a", 0, 50)
    metrics = shift[:, None] + rng.normal(size=(20, 4))
    scores = shift + rng.normal(size=20)
    assert max_t(metrics, scores, resampling=SETTINGS).p.max() < 0.01
    assert max_t(metrics, scores, resampling=SETTINGS, families=families).p.min() > 0.02
    with pytest.raises(StatisticsError, match="be permuted within a family"):
        max_t(metrics, scores, resampling=SETTINGS, families=[str(i) for i in range(20)])


def test_the_band_is_wider_than_one_interval_and_narrower_than_bonferronis(rng):
    metrics, scores = alike(rng)
    band = simultaneous_band(metrics, scores + metrics[:, 0], resampling=SETTINGS, names=list("abcdef"))
    for (name, row), x in zip(band.iterrows(), metrics.T, strict=True):
        assert row["estimate"] == stats.spearmanr(x, scores + metrics[:, 0]).statistic, name
        z = np.arctanh(row[["low", "high"]])
        widths = [np.ptp(np.arctanh(zmax_interval(x, scores + metrics[:, 0], c))) for c in (0.95, 1 - 0.02 / 6)]
        assert widths[0] < np.ptp(z) < widths[1]


def test_a_metric_that_has_no_rank_is_named(rng):
    metrics, scores = alike(rng)
    metrics[:, 2] = 1.0
    for function in (max_t, simultaneous_band):
        with pytest.raises(StatisticsError, match="'kl_max' is constant"):
            function(metrics, scores, resampling=SETTINGS, names=["a", "b", "kl_max", "d", "e", "f"])
    with pytest.raises(StatisticsError, match=r"shape \(quants, 2\)"):
        max_t(metrics, scores, resampling=SETTINGS, names=["a", "b"])


def test_the_band_needs_quants_and_a_standard_error(rng):
    metrics, scores = rng.normal(size=(12, 3)), np.arange(12.0)
    metrics[:, 1] = scores**3
    band = simultaneous_band(metrics, scores, resampling=SETTINGS, names=list("abc"))
    assert band["low"].isna().tolist() == [False, True, False]
    assert band.loc["b", "estimate"] == 1
    with pytest.raises(StatisticsError, match="at least 8 quants"):
        simultaneous_band(metrics[:7], scores[:7], resampling=SETTINGS, names=list("abc"))
