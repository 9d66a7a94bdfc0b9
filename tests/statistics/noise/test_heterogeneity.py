"""Heterogeneity against generalised least squares written out, published numbers, and its own promises."""

import numpy as np
import pytest
from scipy import stats
from simulated_answers import labels_of, noise_of
from statsmodels.stats.contingency_tables import cochrans_q
from statsmodels.stats.meta_analysis import combine_effects

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import noise_of_differences
from qkld.statistics.noise.heterogeneity import cochran_q, contrasts, known_kld, residual_heterogeneity, shape_values
from validation.calibration.worlds import draw_cohort

KLD = np.array([0.004, 0.006, 0.009, 0.013, 0.018, 0.025, 0.03, 0.04])
SE = 0.0025 * (KLD / 0.01) ** 0.25
COVARIANCE = np.outer(SE, SE) * (0.35 + 0.65 * np.eye(8))
GOLDEN_P = {
    (0.0, -0.001, -0.003, -0.002, -0.005, -0.006, -0.007, -0.011): 0.0349,
    (0.006, -0.009, 0.008, -0.007, 0.002, 0.009, -0.008, 0.004): 0.0,
    (0.001, -0.002, 0.002, 0.0, -0.003, 0.001, -0.002, -0.001): 0.6633,
    (0.0, -0.001, 0.001, -0.03, -0.001, -0.002, 0.001, -0.002): 0.0,
}


def literal_q(net, covariance, design):
    """Q by generalised least squares, written out."""
    inverse = np.linalg.inv(covariance)
    beta = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ net)
    return (net - design @ beta) @ inverse @ (net - design @ beta)


@pytest.mark.parametrize(("net", "p"), GOLDEN_P.items())
def test_golden_cochran_p(net, p):
    assert cochran_q(noise_of(net, COVARIANCE)).p == pytest.approx(p, abs=5e-5)


@pytest.mark.parametrize("predictor", [None, KLD, np.log(KLD)])
def test_q_is_that_of_generalised_least_squares(rng, predictor):
    net = rng.normal(0, 0.005, 8)
    columns = [np.ones(8)] if predictor is None else [np.ones(8), predictor]
    left = contrasts(noise_of(net, COVARIANCE), predictor)
    assert left.q() == pytest.approx(literal_q(net, COVARIANCE, np.stack(columns, axis=1)), rel=1e-9)
    assert left.count == 8 - len(columns)
    assert left.test == "chi-square"
    assert left.p == pytest.approx(stats.chi2.sf(left.q(), left.count), rel=1e-12)


def test_q_is_that_of_a_meta_analysis_without_shared_items(rng):
    net, variances = rng.normal(0, 0.01, 9), rng.uniform(1e-6, 1e-5, 9)
    known = combine_effects(net, variances)
    assert cochran_q(noise_of(net, np.diag(variances))).q() == pytest.approx(known.q, rel=1e-9)


def test_q_agrees_with_cochrans_test_of_answers(rng):
    correct = draw_cohort("WN", 28, 6, rng=rng).answers(4000, rng=rng)[:, 1:].astype(int)
    own = cochran_q(noise_of_differences("task", correct, labels_of(6), has_reference=False))
    assert own.test == "hotelling"
    assert own.p == pytest.approx(cochrans_q(correct).pvalue, abs=0.06)


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


def test_two_quants_that_answer_alike_count_once(rng):
    answers = rng.integers(0, 2, (200, 5))
    alike = np.column_stack([answers, answers[:, 3]])
    found, once = (cochran_q(noise_of_differences("task", a, labels_of(a.shape[1]))) for a in (alike, answers))
    assert (found.count, once.count) == (5, 4)
    assert found.q() == pytest.approx(once.q(), rel=1e-9)
    assert found.p == pytest.approx(once.p, rel=1e-9)


def test_bad_input_is_named():
    with pytest.raises(StatisticsError, match="at least 3 quants"):
        contrasts(noise_of([0.0, 0.1], np.eye(2)), [0.1, 0.2])
    with pytest.raises(StatisticsError, match="metric is constant"):
        contrasts(noise_of(np.zeros(8), COVARIANCE), np.ones(8))
    with pytest.raises(StatisticsError, match="no item noise between the quants"):
        _ = cochran_q(noise_of(np.zeros(8), np.zeros((8, 8)))).p
    shared = noise_of_differences("task", np.tile([[1], [0], [-1], [0]], (9, 8)), labels_of(8))
    with pytest.raises(StatisticsError, match="some of these quants answer right and others wrong"):
        _ = cochran_q(shared).tested
    with pytest.raises(StatisticsError, match="1 missing"):
        known_kld([0.1, np.nan])
    with pytest.raises(StatisticsError, match="negative"):
        known_kld([0.1, -0.2])
    assert known_kld([0.1, -1e-9])[1] == 0
