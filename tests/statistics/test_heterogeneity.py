"""Heterogeneity against generalised least squares written out, published numbers, and its own promises."""

import numpy as np
import pytest
from scipy import stats
from simulated_answers import noise_of
from statsmodels.stats.contingency_tables import cochrans_q
from statsmodels.stats.meta_analysis import combine_effects

from qkld.calibration.worlds import draw_cohort
from qkld.errors import StatisticsError
from qkld.statistics.covariance import item_covariance
from qkld.statistics.heterogeneity import (
    RIDGE,
    cochran_q,
    contrasts,
    dispersion,
    known_kld,
    least_dispersion,
    residual_heterogeneity,
    ridged,
    shape_values,
)

KLD = np.array([0.004, 0.006, 0.009, 0.013, 0.018, 0.025, 0.03, 0.04])
SE = 0.0025 * (KLD / 0.01) ** 0.25
COVARIANCE = np.outer(SE, SE) * (0.35 + 0.65 * np.eye(8))
GOLDEN_P = {
    (0.0, -0.001, -0.003, -0.002, -0.005, -0.006, -0.007, -0.011): 0.0349,
    (0.006, -0.009, 0.008, -0.007, 0.002, 0.009, -0.008, 0.004): 0.0,
    (0.001, -0.002, 0.002, 0.0, -0.003, 0.001, -0.002, -0.001): 0.6633,
    (0.0, -0.001, 0.001, -0.03, -0.001, -0.002, 0.001, -0.002): 0.0,
}


def literal_q(net, covariance, design, tau2):
    """Q(τ²) by generalised least squares, written out."""
    inverse = np.linalg.inv(covariance + tau2 * np.eye(net.size))
    beta = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ net)
    return (net - design @ beta) @ inverse @ (net - design @ beta)


@pytest.mark.parametrize(("net", "p"), GOLDEN_P.items())
def test_golden_cochran_p(net, p):
    assert cochran_q(noise_of(net, COVARIANCE)).p == pytest.approx(p, abs=5e-5)


@pytest.mark.parametrize("tau2", [0.0, 1e-6, 1e-4])
@pytest.mark.parametrize("predictor", [None, KLD, np.log(KLD)])
def test_q_is_that_of_generalised_least_squares(rng, predictor, tau2):
    net = rng.normal(0, 0.005, 8)
    columns = [np.ones(8)] if predictor is None else [np.ones(8), predictor]
    left = contrasts(noise_of(net, COVARIANCE), predictor)
    assert left.q(tau2) == pytest.approx(literal_q(net, ridged(COVARIANCE), np.stack(columns, axis=1), tau2), rel=1e-9)
    assert left.df == 8 - len(columns)
    assert left.p == pytest.approx(stats.chi2.sf(left.q(), left.df), rel=1e-12)


def test_q_and_tau_are_those_of_a_meta_analysis_without_shared_items(rng):
    net, variances = rng.normal(0, 0.01, 9), rng.uniform(1e-6, 1e-5, 9)
    left = cochran_q(noise_of(net, np.diag(variances)))
    known = combine_effects(net, variances, method_re="iterated")
    assert left.q() == pytest.approx(known.q, rel=1e-6)
    assert dispersion(left, 0.95).estimate ** 2 == pytest.approx(known.tau2, rel=1e-3)


def test_q_agrees_with_cochrans_test_of_answers(rng):
    correct = draw_cohort("WN", 28, 6, rng=rng).answers(4000, rng=rng)[:, 1:].astype(int)
    own = cochran_q(noise_of(correct.mean(axis=0), item_covariance(correct), 4000))
    assert own.p == pytest.approx(cochrans_q(correct).pvalue, abs=0.06)


def test_dispersion_solves_its_equations(rng):
    left = cochran_q(noise_of(rng.normal(0, 0.02, 8), COVARIANCE))
    tau = dispersion(left, 0.95)
    assert left.q(tau.estimate**2) == pytest.approx(7, rel=1e-6)
    assert stats.chi2.sf(left.q(tau.low**2), 7) == pytest.approx(0.025, rel=1e-6)
    assert stats.chi2.cdf(left.q(tau.high**2), 7) == pytest.approx(0.025, rel=1e-6)
    assert tau.low < tau.estimate < tau.high


def test_dispersion_covers_the_true_one(rng):
    held, root = 0, np.linalg.cholesky(COVARIANCE)
    for _ in range(400):
        net = rng.normal(0, 0.004, 8) + root @ rng.normal(size=8)
        tau = dispersion(cochran_q(noise_of(net, COVARIANCE)), 0.9)
        held += tau.low <= 0.004 <= tau.high
    assert 0.86 <= held / 400 <= 0.94


def test_quants_closer_than_noise_have_no_dispersion():
    tau = dispersion(cochran_q(noise_of(np.zeros(8), COVARIANCE)), 0.95)
    assert (tau.estimate, tau.low, tau.high) == (0.0, 0.0, 0.0)


def test_a_curve_in_kld_leaves_nothing():
    noise = noise_of(-0.3 * np.sqrt(KLD) + 0.1, COVARIANCE)
    left = residual_heterogeneity(noise, KLD)
    assert left["sqrt"].q() == pytest.approx(0, abs=1e-9)
    assert left["linear"].q() > left["sqrt"].q()
    assert set(left) == {"linear", "sqrt", "log"}


def test_a_kld_of_zero_has_no_logarithm_and_is_counted():
    kld = np.where(np.arange(8) < 2, 0.0, KLD)
    assert set(residual_heterogeneity(noise_of(np.zeros(8), COVARIANCE), kld)) == {"linear", "sqrt"}
    assert shape_values("sqrt", kld)[0] == 0
    with pytest.raises(StatisticsError, match="2 of 8 at 0"):
        shape_values("log", kld)


@pytest.mark.parametrize(("quants", "factor", "points"), [(12, 1.40, 0.55), (16, 1.22, 0.47)])
def test_least_dispersion_of_independent_noise(quants, factor, points):
    se = np.sqrt(0.03 / 2000)
    found = least_dispersion(noise_of(np.zeros(quants), se**2 * np.eye(quants)))
    assert found / se == pytest.approx(factor, abs=0.006)
    assert 100 * found == pytest.approx(points, abs=0.01)


def test_least_dispersion_is_found_with_its_power(rng):
    noise = noise_of(np.zeros(12), 4e-6 * (0.3 + 0.7 * np.eye(12)))
    tau, root, x = least_dispersion(noise), np.linalg.cholesky(noise.covariance), np.arange(12.0)
    nets = tau * rng.normal(size=(3000, 12)) + rng.normal(size=(3000, 12)) @ root.T
    power = np.mean([contrasts(noise_of(net, noise.covariance), x).p < 0.05 for net in nets])
    assert power == pytest.approx(0.8, abs=0.03)


def test_two_quants_that_answer_alike_are_no_obstacle(rng):
    answers = rng.integers(0, 2, (200, 5))
    answers[:, 4] = answers[:, 3]
    left = cochran_q(noise_of(answers.mean(axis=0), item_covariance(answers), 200))
    assert np.isfinite(left.q())
    assert RIDGE == 1e-9


def test_bad_input_is_named():
    with pytest.raises(StatisticsError, match="at least 3 quants"):
        contrasts(noise_of([0.0, 0.1], np.eye(2)), [0.1, 0.2])
    with pytest.raises(StatisticsError, match="metric is constant"):
        contrasts(noise_of(np.zeros(8), COVARIANCE), np.ones(8))
    with pytest.raises(StatisticsError, match="no item noise"):
        cochran_q(noise_of(np.zeros(8), np.zeros((8, 8))))
    with pytest.raises(StatisticsError, match="1 missing"):
        known_kld([0.1, np.nan])
    with pytest.raises(StatisticsError, match="negative"):
        known_kld([0.1, -0.2])
    assert known_kld([0.1, -1e-9])[1] == 0
    with pytest.raises(StatisticsError, match="at least 3 quants"):
        least_dispersion(noise_of([0.0, 0.1], np.eye(2)))
