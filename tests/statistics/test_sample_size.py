"""Numbers of items against a published formula's table, and against the power that they promise."""

import numpy as np
import pytest
from scipy import stats

from qkld.statistics.paired import difference_p, score_z
from qkld.statistics.sample_size import items_for_difference, items_for_score


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
