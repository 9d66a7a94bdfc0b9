"""τ against meta-analysis, its own equation and law, and how often its interval holds the true one."""

import numpy as np
import pytest
from scipy import stats
from simulated_answers import labels_of, noise_of
from statsmodels.stats.meta_analysis import combine_effects

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import noise_of_differences
from qkld.statistics.noise.dispersion import DRAWS, dispersion, least_dispersion, spread
from qkld.statistics.noise.heterogeneity import cochran_q, contrasts
from validation.calibration.worlds import draw_cohort

KLD = np.array([0.004, 0.006, 0.009, 0.013, 0.018, 0.025, 0.03, 0.04])
SE = 0.0025 * (KLD / 0.01) ** 0.25
COVARIANCE = np.outer(SE, SE) * (0.35 + 0.65 * np.eye(8))


def test_tau_is_that_of_a_meta_analysis_of_equal_variances(rng):
    net = rng.normal(0, 0.01, 9)
    known = combine_effects(net, np.full(9, 4e-6), method_re="iterated")
    assert spread(cochran_q(noise_of(net, 4e-6 * np.eye(9)))) ** 2 == pytest.approx(known.tau2, rel=1e-3)


@pytest.mark.parametrize("predictor", [None, KLD, np.log(KLD)])
def test_tau_solves_its_equation(rng, predictor):
    """The residuals' squares over their variances at τ add up to their number, written out."""
    net = rng.normal(0, 0.02, 8)
    design = np.column_stack([np.ones(8), *([] if predictor is None else [predictor])])
    away = np.eye(8) - design @ np.linalg.pinv(design)
    tau = spread(contrasts(noise_of(net, COVARIANCE), predictor))
    variances = np.diag(away @ (COVARIANCE + tau**2 * np.eye(8)) @ away)
    assert ((away @ net) ** 2 / variances).sum() == pytest.approx(8, rel=1e-6)


def test_an_interval_of_known_noise_is_that_of_its_law(rng):
    """Equal variances: Q(τ²) is n/(n − 1) χ² on n − 1, so the ends solve χ² quantiles."""
    left = cochran_q(noise_of(rng.normal(0, 0.01, 9), 4e-6 * np.eye(9)))
    tau = dispersion(left, 0.95)
    squares = ((left.noise.net - left.noise.net.mean()) ** 2).sum()
    for end, tail in ((tau.low, 0.975), (tau.high, 0.025)):
        share = stats.chi2.cdf(squares / (4e-6 + end**2), 8)
        assert share == pytest.approx(tail, abs=4 * np.sqrt(0.025 * 0.975 / DRAWS))
    assert tau.low < tau.estimate < tau.high


@pytest.mark.parametrize(("items", "tau"), [(None, 0.004), (30, 0.05), (30, 0.0), (90, 0.03)])
def test_the_interval_holds_the_true_one(rng, items, tau):
    """Of known noise, and of noise estimated from few items, on 8 quants whose true scores scatter by τ."""
    held = 0
    for _ in range(150):
        true = tau * rng.standard_normal(8)
        noise = noise_of(true + SE * rng.standard_normal(8), np.diag(SE**2))
        if items is not None:
            answers = rng.random((items, 8)) < 0.6 + true
            noise = noise_of_differences("task", answers.astype(np.int8), labels_of(8), has_reference=False)
        found = dispersion(cochran_q(noise), 0.9)
        held += found.low <= tau <= found.high
    assert held / 150 >= 0.83


def test_quants_closer_than_noise_have_no_dispersion():
    tau = dispersion(cochran_q(noise_of(np.zeros(8), COVARIANCE)), 0.95)
    assert (tau.estimate, tau.low, tau.high) == (0.0, 0.0, 0.0)


def test_a_quant_that_the_design_fits_by_itself_says_nothing(rng):
    """All other quants at one KLD: the last one has no residual, and no part in τ."""
    kld, net = np.array([0.01] * 7 + [3.0]), rng.normal(0, 0.02, 8)
    alone = spread(contrasts(noise_of(net, COVARIANCE), kld))
    other = spread(contrasts(noise_of(net - 0.5 * (kld > 1), COVARIANCE), kld))
    assert alone == pytest.approx(other, rel=1e-9)


def test_fewer_items_than_contrasts_have_an_interval(rng):
    cohort = draw_cohort("W1", 28, 20, rng=rng)
    right = cohort.answers(15, rng=rng).astype(np.int8)
    left = cochran_q(noise_of_differences("task", right[:, 1:] - right[:, :1], labels_of(20)))
    tau = dispersion(left, 0.95)
    assert left.test == "sign-flip"
    assert 0 <= tau.low <= tau.estimate <= tau.high < 1


def test_quants_that_no_item_tells_apart_have_no_dispersion():
    same = noise_of_differences("task", np.tile([[1], [0], [-1], [0]], (9, 8)), labels_of(8))
    with pytest.raises(StatisticsError, match="no item noise between the quants"):
        dispersion(cochran_q(same), 0.95)


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


@pytest.mark.parametrize(("items", "test"), [(300, "hotelling"), (40, "sign-flip")])
def test_least_dispersion_on_few_items_is_found_with_its_power(rng, items, test):
    x, found = np.arange(10.0), []
    for _ in range(150):
        true = rng.standard_normal(10)
        least = least_dispersion(
            noise_of_differences("task", (rng.random((items, 10)) < 0.5).astype(np.int8), labels_of(10))
        )
        right = (rng.random((items, 10)) < 0.5 + least * true).astype(np.int8)
        left = contrasts(noise_of_differences("task", right, labels_of(10)), x)
        assert left.test == test
        found.append(left.p < 0.05)
    assert np.mean(found) == pytest.approx(0.8, abs=0.12)


def test_two_quants_are_too_few():
    with pytest.raises(StatisticsError, match="at least 3 quants"):
        least_dispersion(noise_of([0.0, 0.1], np.eye(2)))
