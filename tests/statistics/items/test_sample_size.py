"""Numbers of items against a published formula's table, and against the power that they promise."""

import numpy as np
import pytest
from scipy import stats

from qkld.statistics.items.sample_size import items_for_difference, items_for_equivalence, items_for_score
from qkld.statistics.items.score_differences import difference_p, equivalence_p, score_z


@pytest.mark.parametrize(
    ("points", "flip_rates", "items"),
    [(0.25, (0.01, 0.02, 0.05), (12556, 25115, 62789)), (0.5, (0.01, 0.1), (3138, 31394)), (1, (0.05,), (3923,))],
)
def test_connor_s_formula(points, flip_rates, items):
    np.testing.assert_array_equal(items_for_difference(flip_rates, points / 100, confidence=0.95), items)


def test_a_difference_larger_than_the_flip_rate_can_not_be():
    assert np.isnan(items_for_difference(0.004, 0.005, confidence=0.95))
    assert np.isnan(items_for_difference(0.01, 0.0, confidence=0.95))
    assert items_for_difference(0.02, -0.01, confidence=0.95) == items_for_difference(0.02, 0.01, confidence=0.95)


def test_items_give_the_power_they_promise(rng):
    n = int(items_for_difference(0.05, 0.01, confidence=0.95))
    up, down, _ = rng.multinomial(n, [0.02, 0.03, 0.95], size=4000).T[:, :, None]
    assert (difference_p(up, down, n) <= 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_items_for_a_score_give_the_power_they_promise(rng):
    """One-sided at 5 % for a true difference of 1 point, planned from the expected counts of 500 items."""
    n = int(items_for_score(score_z(15, 10, 500, 0.0), 500, level=0.05))
    assert n > 500
    up, down, _ = rng.multinomial(n, [0.03, 0.02, 0.95], size=4000).T[:, :, None]
    assert (score_z(up, down, n, 0.0) >= stats.norm.ppf(0.95)).mean() == pytest.approx(0.8, abs=0.03)


def test_a_score_that_points_the_other_way_is_never_reached():
    assert np.isnan(items_for_score([-1.0, 0.0], 100, level=0.05)).all()
    assert items_for_score(1.0, 100, level=0.05) == 619  # (1.6449 + 0.8416)² = 6.183


def for_equivalence(counts: tuple[int, int, int], margin: float, level: float) -> int:
    """Items that equivalence needs, from the leapfrogs, drops and items seen."""
    inside = score_z(*counts, -margin), -score_z(*counts, margin)
    return int(items_for_equivalence(*inside, counts[2], level=level))


@pytest.mark.parametrize(
    ("counts", "margin", "level", "most"),
    [
        ((5, 5, 500), 0.01, 0.05, 0.86),
        ((5, 5, 500), 0.01, 0.0025, 0.86),
        ((10, 10, 400), 0.05, 0.0025, 0.92),
        ((8, 10, 500), 0.01, 0.05, 0.86),
        ((3, 2, 90), 0.03, 0.01, 0.92),
    ],
)
def test_items_for_equivalence_give_the_power_they_promise(rng, counts, margin, level, most):
    """At no difference seen both one-sided tests can fail: items for one of them alone had a power of .67.

    Where the margin is about the flip rate the score's variance at the margin is above the true one, and so the power.
    """
    up, down, total = counts
    n = for_equivalence(counts, margin, level)
    drawn = rng.multinomial(n, [up / total, down / total, 1 - (up + down) / total], size=20_000)
    found = equivalence_p(drawn[:, [0]], drawn[:, [1]], n, margin) <= level
    assert 0.785 <= found.mean() <= most


def test_items_for_equivalence_at_no_difference_follow_the_formula_of_two_tests():
    """(z₁₋α + z₁₋β/₂)², Chow, Shao and Wang; 1.39 times one test's at 5 %, as for each test alone far from an end."""
    z = stats.norm.ppf([0.95, 0.9, 0.8])
    assert items_for_equivalence(1.0, 1.0, 100, level=0.05) == np.ceil(100 * (z[0] + z[1]) ** 2)
    assert items_for_equivalence(1.0, 9.0, 100, level=0.05) == items_for_score(1.0, 100, level=0.05)
    assert ((z[0] + z[1]) / (z[0] + z[2])) ** 2 == pytest.approx(1.39, abs=0.01)


def test_equivalence_of_a_difference_beyond_the_margin_is_never_reached():
    assert np.isnan(items_for_equivalence([-1.0, 2.0, 0.0], [2.0, -1.0, 2.0], 100, level=0.05)).all()
