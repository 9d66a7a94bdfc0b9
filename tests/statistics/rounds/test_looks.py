"""One look: p that keep their size far out in their tails, where early rounds are decided."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from qkld.statistics.items.score_differences import difference_p, equivalence_p
from qkld.statistics.rounds.looks import accuracy_look, mean_look, mean_skewness, rare_change_p, unskewed

MARGIN = 0.01


def test_accuracys_p_are_those_of_the_fixed_plan():
    counts = np.array([[3.0, 40.0], [25.0, 10.0]]), np.array([[9.0, 20.0], [2.0, 31.0]]), np.array([500.0, 900.0])
    look = accuracy_look(*counts, 0.02)
    assert 2 * np.minimum(look.worse, look.better) == pytest.approx(difference_p(*counts))
    assert np.maximum(look.above, look.under) == pytest.approx(equivalence_p(*counts, 0.02))
    assert look.net == pytest.approx([(-6 / 500 + 20 / 900) / 2, (23 / 500 - 21 / 900) / 2])
    assert (look.worse < look.better).tolist() == [False, False]


def test_of_even_changes_the_p_are_students(rng):
    changes = rng.standard_normal((400, 3)) * 0.1
    changes = np.vstack([changes, -changes]) + np.array([0.0, -0.004, 0.02])
    look = mean_look({"task": changes}, MARGIN)
    t = stats.ttest_1samp(changes, 0.0, alternative="less")
    assert look.worse == pytest.approx(t.pvalue, rel=1e-6)
    assert look.above == pytest.approx(
        np.maximum(stats.ttest_1samp(changes, -MARGIN, alternative="greater").pvalue, 0.99**800), rel=1e-6
    )


def test_skewness_of_a_mean_is_scipys_and_that_of_tasks_is_of_their_sum(rng):
    changes = rng.gamma(0.3, size=(300, 2))
    assert mean_skewness({"a": changes}) == pytest.approx(stats.skew(changes) / np.sqrt(300))
    twice = mean_skewness({"a": changes, "b": changes})
    assert twice == pytest.approx(stats.skew(changes) / np.sqrt(600))
    assert mean_skewness({"a": np.zeros((9, 2))}).tolist() == [0.0, 0.0]


def test_the_transformation_is_halls_up_to_its_turning_point():
    t, g = np.linspace(-3, 6, 50), -0.4
    halls = t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6
    found = unskewed(t, np.full(50, g))
    before = t <= 3 / 0.4
    assert found[before] == pytest.approx(halls[before])
    assert unskewed(np.array([50.0]), np.array([g])) == pytest.approx(1 / 0.4 + g / 6)
    assert (np.diff(found) > 0).all()
    assert unskewed(np.array([2.0, np.inf]), np.zeros(2)).tolist() == [2.0, np.inf]


@pytest.mark.parametrize("items", [200, 400, 800, 3200])
def test_a_loss_by_rare_large_changes_is_not_called_equivalent(items, rng):
    """Student's t alone is wrong here in a tenth of the draws, whatever the level."""
    files = 3000
    changes = 0.02 * rng.standard_normal((items, files)) - (rng.random((items, files)) < MARGIN)
    look = mean_look({"task": changes}, MARGIN)
    students = special.stdtr(items - 1, -(changes.mean(axis=0) + MARGIN) * np.sqrt(items) / changes.std(axis=0, ddof=1))
    for level in (0.05, 0.0025, 0.0005):
        allowed = level + 4 * np.sqrt(level / files)
        assert (look.above <= level).mean() <= allowed
        if level < 0.01 and items <= 800:
            assert (students <= level).mean() > allowed


def test_without_any_change_the_items_are_what_speaks():
    look = mean_look({"a": np.zeros((300, 1)), "b": np.zeros((600, 1))}, MARGIN)
    assert look.above == pytest.approx([rare_change_p([300, 600], MARGIN)])
    assert rare_change_p([300, 600], MARGIN) == pytest.approx(0.98**300)
    assert look.worse == pytest.approx([0.5])
    assert rare_change_p([50] * 200, MARGIN) == 0.0
