"""Paired differences against published tables, statsmodels, their definitions, and what they must not depend on."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from qkld.errors import StatisticsError
from qkld.statistics.items.score_differences import (
    difference_interval,
    difference_p,
    equivalence_p,
    mcnemar_exact,
    mcnemar_midp,
    score_z,
)

BENTUR, CAVO = (1, 7, 21), (6, 16, 161)
"""The two examples of Fagerland, Lydersen and Laake 2013: leapfrogs, drops, items."""


def test_mcnemar_of_published_examples():
    assert mcnemar_exact(*BENTUR[:2]) == pytest.approx(0.070, abs=5e-4)
    assert mcnemar_midp(*BENTUR[:2]) == pytest.approx(0.039, abs=5e-4)
    assert mcnemar_exact(*CAVO[:2]) == pytest.approx(0.052, abs=5e-4)
    assert mcnemar_midp(*CAVO[:2]) == pytest.approx(0.035, abs=5e-4)


def test_mcnemar_of_three_and_nine():
    assert mcnemar_exact(3, 9) == pytest.approx(0.14599609, abs=5e-9)
    assert mcnemar_midp(3, 9) == pytest.approx(0.09228516, abs=5e-9)
    assert difference_p(3, 9, 100) == pytest.approx(0.0832645, abs=5e-8)
    corrected = mcnemar([[0, 3], [9, 0]], exact=False, correction=True).pvalue
    assert corrected == pytest.approx(0.1489147, abs=5e-8)  # as conservative as the exact test, so it is not used


@pytest.mark.parametrize(("up", "down"), [(0, 0), (0, 1), (4, 4), (3, 9), (17, 2), (60, 41)])
def test_mcnemar_is_statsmodels_exact_and_midp_is_doubled_one_sided(up, down):
    assert mcnemar_exact(up, down) == pytest.approx(mcnemar([[0, up], [down, 0]], exact=True).pvalue)
    tail = stats.binom.cdf(min(up, down) - 1, up + down, 0.5) + 0.5 * stats.binom.pmf(min(up, down), up + down, 0.5)
    if up != down:
        assert mcnemar_midp(up, down) == pytest.approx(2 * tail)
    assert 0 < mcnemar_midp(up, down) <= mcnemar_exact(up, down)


def test_no_flip_is_no_evidence():
    assert mcnemar_midp(0, 0) == mcnemar_exact(0, 0) == difference_p(0, 0, 50) == 1


def interval(up, down, n, confidence=0.95):
    return [float(end) for end in difference_interval(up, down, n, confidence)]


def test_tango_s_own_example():
    """Tango 1998: two disinfections of contact lenses, 43 pairs alike and one apart."""
    assert interval(0, 1, 44, 0.90) == pytest.approx([-0.096, 0.037], abs=6e-4)


def test_tango_s_interval_of_published_examples():
    assert interval(*BENTUR) == pytest.approx([-0.517, -0.026], abs=5e-4)
    assert interval(40, 20, 160) == pytest.approx([0.030865, 0.218064], abs=5e-7)
    assert interval(0, 0, 100) == pytest.approx([-0.0369935, 0.0369935], abs=5e-8)


def newcombe_interval(
    both_right: int, leapfrogs: int, drops: int, both_wrong: int, confidence: float
) -> tuple[float, float]:
    """Interval of the score difference on one task by squaring and adding (Newcombe 1998, Stat Med 17:2635, method 10).

    Built from the Wilson intervals of both scores and the continuity-corrected φ of the table: another road to the
    same interval as `difference_interval`, to check it by. Its coverage is higher at few flips.
    """
    n = both_right + leapfrogs + drops + both_wrong
    sums = ((both_right + leapfrogs), (both_right + drops))
    model, reference = (k / n for k in sums)
    (low_m, high_m), (low_r, high_r) = (proportion_confint(k, n, alpha=1 - confidence, method="wilson") for k in sums)
    phi = corrected_phi(both_right, leapfrogs, drops, both_wrong)
    down, up = model - low_m, high_r - reference
    low = model - reference - np.sqrt(down**2 - 2 * phi * down * up + up**2)
    down, up = reference - low_r, high_m - model
    high = model - reference + np.sqrt(down**2 - 2 * phi * down * up + up**2)
    return float(low), float(high)


def corrected_phi(both_right: int, leapfrogs: int, drops: int, both_wrong: int) -> float:
    """φ of the two-by-two table; a positive numerator is brought n/2 nearer to 0, and 0 where a margin is empty."""
    n = both_right + leapfrogs + drops + both_wrong
    margins = (both_right + leapfrogs, drops + both_wrong, both_right + drops, leapfrogs + both_wrong)
    numerator = both_right * both_wrong - leapfrogs * drops
    if numerator > 0:
        numerator = max(numerator - n / 2, 0)
    return float(numerator / np.sqrt(np.prod(np.array(margins, dtype=float)))) if all(margins) else 0.0


def test_newcombe_s_interval_of_published_examples():
    assert newcombe_interval(59, 6, 16, 80, 0.95) == pytest.approx((-0.1186, -0.0046), abs=5e-5)
    assert newcombe_interval(14, 5, 0, 22, 0.95) == pytest.approx((0.01148, 0.22649), abs=5e-6)


def test_interval_ends_solve_the_score_equation_and_newcombe_is_near():
    low, high = difference_interval(30, 70, 4000, 0.95)
    z = stats.norm.ppf(0.975)
    assert score_z(30, 70, 4000, low) == pytest.approx(z, abs=1e-9)
    assert score_z(30, 70, 4000, high) == pytest.approx(-z, abs=1e-9)
    assert newcombe_interval(2900, 30, 70, 1000, 0.95) == pytest.approx((float(low), float(high)), abs=2e-4)


def constrained_likelihood_z(up, down, n, delta):
    """Tango's score by its definition: the most probable drop rate at this difference, searched on a fine grid."""
    grid = np.linspace(max(0, -delta) + 1e-9, (1 - delta) / 2 - 1e-9, 400_001)
    log_likelihood = up * np.log(grid + delta) + down * np.log(grid) + (n - up - down) * np.log(1 - 2 * grid - delta)
    q = grid[np.argmax(log_likelihood)]
    return (up - down - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta)))


@pytest.mark.parametrize(("up", "down", "n", "delta"), [(5, 2, 60, 0.02), (1, 9, 200, -0.1), (3, 3, 40, 0.05)])
def test_score_is_the_definition(up, down, n, delta):
    assert score_z(up, down, n, delta) == pytest.approx(constrained_likelihood_z(up, down, n, delta), rel=1e-4)


def test_swapping_the_models_flips_signs(rng):
    up, down = rng.integers(0, 40, (2, 25, 3))
    n = np.array([200, 500, 333])
    low, high = difference_interval(up, down, n, 0.9)
    swapped = difference_interval(down, up, n, 0.9)
    np.testing.assert_allclose(swapped, (-high, -low), atol=1e-12)
    np.testing.assert_allclose(equivalence_p(up, down, n, 0.02), equivalence_p(down, up, n, 0.02), atol=1e-12)


def test_several_tasks_are_averaged():
    assert score_z([4, 4], [6, 6], 300, 0.01) == pytest.approx(np.sqrt(2) * score_z(4, 6, 300, 0.01))
    z0 = score_z([4, 9], [6, 2], [300, 100], 0.0)
    assert z0 == pytest.approx((-2 / 300 + 7 / 100) / np.sqrt(10 / 300**2 + 11 / 100**2))


def test_tests_and_intervals_say_the_same(rng):
    up, down = rng.integers(0, 30, (2, 200, 2))
    n = np.array([400, 700])
    low, high = difference_interval(up, down, n, 0.95)
    np.testing.assert_array_equal(difference_p(up, down, n) < 0.05, (low > 0) | (high < 0))
    low, high = difference_interval(up, down, n, 0.90)
    np.testing.assert_array_equal(equivalence_p(up, down, n, 0.015) < 0.05, (low > -0.015) & (high < 0.015))


@pytest.mark.parametrize("sizes", [(164,), (500,), (120, 900)])
def test_interval_covers_and_equivalence_keeps_its_size(rng, sizes):
    """4,000 tables of 3 % flips; at most three Monte-Carlo errors below .95 and above .05."""
    n = np.array(sizes)
    tables = np.stack([rng.multinomial(k, [0.01, 0.02, 0.97], size=4000) for k in sizes], axis=-1)
    up, down = tables[:, 0], tables[:, 1]
    low, high = difference_interval(up, down, n, 0.95)
    assert ((low <= -0.01) & (high >= -0.01)).mean() > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 4000)
    assert (equivalence_p(up, down, n, 0.01) <= 0.05).mean() < 0.05 + 3 * np.sqrt(0.95 * 0.05 / 4000)


def test_interval_covers_the_mean_of_tasks_that_differ(rng):
    """One task gains 3 points and the other loses 4, at 6 % flips each; their mean is − 0.5 points."""
    n, rates = np.array([700, 400]), ([0.045, 0.015, 0.94], [0.01, 0.05, 0.94])
    tables = np.stack([rng.multinomial(k, p, size=4000) for k, p in zip(n, rates, strict=True)], axis=-1)
    low, high = difference_interval(tables[:, 0], tables[:, 1], n, 0.95)
    assert ((low <= -0.005) & (high >= -0.005)).mean() > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 4000)


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0.5, 0, 5), (0, 0, 0), (np.nan, 0, 5)])
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(StatisticsError, match="not valid counts of items"):
        score_z(*counts, 0.0)


@pytest.mark.parametrize("margin", [0, -0.01, 1, np.nan])
def test_a_margin_out_of_range_is_refused(margin):
    with pytest.raises(StatisticsError, match="fraction between 0 and 1"):
        equivalence_p(1, 2, 100, margin)
