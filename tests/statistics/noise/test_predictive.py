"""The monotone fit against its definition, and the predictive range against simulation."""

import numpy as np
import pytest
from scipy import stats
from simulated_answers import noise_of

from qkld.errors import StatisticsError
from qkld.statistics.core.correlations_of_resamples import spearman_of_draws
from qkld.statistics.noise.predictive import monotone_fit, noise_draws, predictive_range
from validation.calibration.verdicts import simulated_noise
from validation.calibration.worlds import draw_cohort

KLD = np.array([0.004, 0.006, 0.009, 0.013, 0.018, 0.025, 0.03, 0.04])
COVARIANCE = 6e-6 * (0.35 + 0.65 * np.eye(8))
EVERYONE = np.ones(8, dtype=bool)


def test_fit_falls_is_capped_at_the_reference_and_nearest():
    net = np.array([0.004, 0.001, -0.003, -0.001, -0.004, -0.008, -0.006, -0.012])
    fit = monotone_fit(noise_of(net, COVARIANCE), KLD)
    assert (np.diff(fit) <= 0).all()
    assert fit[:2] == pytest.approx([0, 0])
    assert fit[2:4] == pytest.approx([-0.002, -0.002])
    assert fit[5:7] == pytest.approx([-0.007, -0.007])


def test_fit_weighs_by_noise_and_ignores_the_order_of_quants(rng):
    net = np.array([0.0, -0.006, -0.002, -0.003, -0.004, -0.005, -0.006, -0.007]) - 0.01
    noise = noise_of(net, np.diag([1, 1, 3, 1, 1, 1, 1, 1.0]) * 1e-6)
    fit = monotone_fit(noise, KLD)
    assert fit[1] == pytest.approx((-0.016 - 0.012 / 3 - 0.013 - 0.014) / (3 + 1 / 3), rel=1e-6)
    order = rng.permutation(8)
    assert monotone_fit(noise.of([noise.labels[i] for i in order]), KLD[order]) == pytest.approx(fit[order])


def test_quants_of_one_kld_get_one_value():
    kld = np.append(KLD[:6], [0.03, 0.03])
    fit = monotone_fit(noise_of(-np.arange(8) / 1000, COVARIANCE), kld)
    assert fit[6] == fit[7] == pytest.approx(-0.0065)


def test_spearman_of_draws_is_scipys(rng):
    draws = np.round(rng.normal(size=(20, 8)), 1)
    expected = [stats.spearmanr(KLD, row).statistic for row in draws]
    assert spearman_of_draws(KLD, draws) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(spearman_of_draws(KLD, np.zeros((1, 8))))


def test_draws_have_the_items_covariance(rng):
    draws = noise_draws(noise_of(np.zeros(8), COVARIANCE), np.full(8, 0.1), 40_000, rng=rng)
    assert np.cov(draws.T) == pytest.approx(COVARIANCE, rel=0.1, abs=2e-7)
    assert draws.mean(axis=0) == pytest.approx(np.full(8, 0.1), abs=1e-4)


def test_the_range_is_that_of_new_items_when_the_curve_is_known(rng):
    """With very little noise the fit is the truth; the range then is a point at −1."""
    found = predictive_range(noise_of(-KLD, 1e-12 * np.eye(8)), KLD, EVERYONE, draws=200, rng=rng)
    assert (found.low, found.high, found.observed) == pytest.approx((-1, -1, -1))
    assert found.p == 1


def test_p_is_small_where_scores_rise_against_a_clear_fall(rng):
    cohort = draw_cohort("W2", 41, 16, rng=rng)
    net = cohort.net.copy()
    net[:8] = net[:8][::-1]
    noise = simulated_noise(cohort, net, 10**6, rng=rng)
    inside = np.arange(16) < 8
    found = predictive_range(noise, cohort.kld, inside, draws=500, rng=rng)
    assert found.observed > 0.9
    assert found.p < 0.05


def test_same_seed_same_range(rng):
    noise = noise_of(-KLD / 10, COVARIANCE)
    one, same, other = (
        predictive_range(noise, KLD, EVERYONE, draws=100, rng=np.random.default_rng(s)) for s in (1, 1, 2)
    )
    assert one == same != other
    assert one.low <= one.median <= one.high
    assert 0 < one.p <= 1


def test_too_few_members_and_no_draws_are_refused(rng):
    noise = noise_of(-KLD, COVARIANCE)
    with pytest.raises(StatisticsError, match="at least 4 quants"):
        predictive_range(noise, KLD, np.arange(8) < 3, draws=10, rng=rng)
    with pytest.raises(StatisticsError, match="at least 1 draw"):
        predictive_range(noise, KLD, EVERYONE, draws=0, rng=rng)
