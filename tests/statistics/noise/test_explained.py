"""R²_true against its forms written out with matrices, golden values, unbiasedness and coverage."""

import numpy as np
import pytest
from simulated_answers import noise_of

from qkld.errors import StatisticsError
from qkld.statistics.noise.explained import explained
from qkld.statistics.noise.heterogeneity import ridged
from validation.calibration.verdicts import simulated_noise
from validation.calibration.worlds import draw_cohort, true_r2

KLD = np.array([0.004, 0.006, 0.009, 0.013, 0.018, 0.025, 0.03, 0.04])
SE = 0.0025 * (KLD / 0.01) ** 0.25
COVARIANCE = np.outer(SE, SE) * (0.35 + 0.65 * np.eye(8))
CARRIED = (0.0, -0.001, -0.003, -0.002, -0.005, -0.006, -0.007, -0.011)
MISSING = (0.006, -0.009, 0.008, -0.007, 0.002, 0.009, -0.008, 0.004)
LIMITED = (0.001, -0.002, 0.002, 0.0, -0.003, 0.001, -0.002, -0.001)
BROKEN = (0.0, -0.001, 0.001, -0.03, -0.001, -0.002, 0.001, -0.002)
GRID_STEP = 0.005
"""The golden interval's ends are points of a grid this wide, inside the interval."""

GOLDEN = [
    (CARRIED, 2.5577, 1.0, (0.935, 1.0)),
    (MISSING, -4.3023, 0.0, (0.0, 0.020)),
    (LIMITED, 0.3334, np.nan, (0.0, 1.0)),
    (BROKEN, -6.3440, 0.0, (0.0, 0.015)),
]


def literal_z(net, covariance, kld, c):
    """T_c / √var T_c with every matrix written out."""
    n, g = len(net), np.sqrt(kld)
    x = (g - g.mean()) / np.linalg.norm(g - g.mean())
    a = np.outer(x, x) - c * (np.eye(n) - 1 / n)
    av = a @ covariance
    twice = np.trace(av @ av)
    variance = 2 * twice + 4 * max(0.0, net @ a @ covariance @ a @ net - twice)
    return (net @ a @ net - np.trace(av)) / np.sqrt(variance)


@pytest.mark.parametrize(("net", "z", "r2", "interval"), GOLDEN)
def test_golden_values(net, z, r2, interval):
    forms = explained(noise_of(net, COVARIANCE), KLD)
    assert forms.z() == pytest.approx(z, abs=5e-5)
    assert forms.estimate == pytest.approx(r2, abs=5e-5, nan_ok=True)
    low, high = forms.interval(1.645)
    assert 0 <= interval[0] - low < GRID_STEP
    assert 0 <= high - interval[1] < GRID_STEP


@pytest.mark.parametrize("c", [0.0, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("net", [CARRIED, MISSING, LIMITED, BROKEN])
def test_z_is_that_of_the_matrices(net, c):
    forms = explained(noise_of(net, COVARIANCE), KLD)
    assert forms.z(c) == pytest.approx(literal_z(np.array(net), ridged(COVARIANCE), KLD, c), rel=1e-9)


def test_all_c_at_once_are_each_alone():
    forms = explained(noise_of(CARRIED, COVARIANCE), KLD)
    grid = np.linspace(0, 1, 7)
    assert forms.z(grid) == pytest.approx([float(forms.z(c)) for c in grid], rel=1e-12)


@pytest.mark.parametrize("net", [CARRIED, MISSING, LIMITED, BROKEN])
def test_interval_ends_at_the_limit_or_at_the_end(net):
    forms = explained(noise_of(net, COVARIANCE), KLD)
    low, high = forms.interval(1.645)
    assert low <= high
    for end, limit in ((low, 0.0), (high, 1.0)):
        assert end == limit or abs(float(forms.z(end))) == pytest.approx(1.645, abs=1e-6)


def test_noise_is_subtracted_without_bias(rng):
    truth = np.array(CARRIED)
    root = np.linalg.cholesky(COVARIANCE)
    nets = truth + rng.normal(size=(20_000, 8)) @ root.T
    forms = [explained(noise_of(net, COVARIANCE), KLD) for net in nets[:4000]]
    exact = explained(noise_of(truth, COVARIANCE), KLD)
    centred = truth - truth.mean()
    assert np.mean([f.along for f in forms]) == pytest.approx(exact.slope**2, rel=0.03)
    assert np.mean([f.total for f in forms]) == pytest.approx(centred @ centred, rel=0.03)


def test_slope_is_measured_in_its_standard_error(rng):
    root = np.linalg.cholesky(COVARIANCE)
    slopes = [explained(noise_of(root @ rng.normal(size=8), COVARIANCE), KLD).slope_z for _ in range(3000)]
    assert np.mean(slopes) == pytest.approx(0, abs=0.06)
    assert np.std(slopes) == pytest.approx(1, abs=0.05)


def test_a_shift_of_all_scores_and_a_common_error_change_nothing():
    plain = explained(noise_of(CARRIED, COVARIANCE), KLD)
    shifted = explained(noise_of(np.array(CARRIED) - 0.1, COVARIANCE + 1e-5), KLD)
    assert shifted.z() == pytest.approx(float(plain.z()), rel=1e-6)
    assert shifted.estimate == plain.estimate


def test_much_data_finds_the_true_share(rng):
    cohort = draw_cohort("W3:.08", 41, 16, rng=rng)
    forms = explained(simulated_noise(cohort, cohort.net, 10**8, rng=rng), cohort.kld)
    share, sign = true_r2(cohort.net, cohort.kld)
    assert forms.estimate == pytest.approx(share, abs=0.02)
    assert np.sign(forms.slope) == sign
    low, high = forms.interval(1.645)
    assert high - low < 0.05


def test_interval_covers_the_true_share(rng):
    held = 0
    for _ in range(200):
        cohort = draw_cohort("W1", 41, 16, rng=rng)
        low, high = explained(simulated_noise(cohort, cohort.net, 4000, rng=rng), cohort.kld).interval(1.645)
        held += low <= true_r2(cohort.net, cohort.kld)[0] <= high
    assert 0.84 <= held / 200 <= 0.99


def test_a_kld_of_zero_is_fine_and_a_constant_one_is_not():
    assert np.isfinite(explained(noise_of(CARRIED, COVARIANCE), np.append(0.0, KLD[1:])).z())
    with pytest.raises(StatisticsError, match="at least 2 distinct values among 8 quants"):
        explained(noise_of(CARRIED, COVARIANCE), np.full(8, 0.01))
    with pytest.raises(StatisticsError, match="missing"):
        explained(noise_of(CARRIED, COVARIANCE), np.append(np.nan, KLD[1:]))
