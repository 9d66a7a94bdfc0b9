"""Bounds and their exact binomial test."""

import numpy as np
import pytest
from scipy import stats

from validation.calibration.table import verdict_text, worst_place
from validation.calibration.targets import LEAST_RUNS, Bound


def test_a_bound_is_broken_only_beyond_chance():
    bound = Bound("size", "at most", 0.05)
    assert bound.check("here", 110, 2000).passed
    broken = bound.check("here", 130, 2000)
    assert not broken.passed
    assert broken.p == pytest.approx(stats.binom.sf(129, 2000, 0.05))
    assert (broken.rate, broken.wanted, broken.runs) == (0.065, "at most 0.05", 2000)
    assert broken.low < 0.065 < broken.high
    assert broken.error == pytest.approx(np.sqrt(0.065 * 0.935 / 2000))


def test_the_other_side_never_breaks_a_bound():
    assert Bound("size", "at most", 0.05).check("here", 0, 2000).passed
    assert Bound("coverage", "at least", 0.94).check("here", 2000, 2000).passed
    assert not Bound("coverage", "at least", 0.94).check("here", 1850, 2000).passed


def test_nothing_run_is_nothing_checked():
    assert Bound("size", "at most", 0.05).check("here", 0, 0) is None


def test_few_cohorts_test_nothing():
    """.200 ± .179 of 5 runs stood as met."""
    bound = Bound("size", "at most", 0.05)
    few, none, enough = bound.check("few", 1, 5), bound.check("none", 39, 39), bound.check("enough", 2, LEAST_RUNS)
    assert [b.passed for b in (few, none, enough)] == [None, None, True]
    assert not none.missed
    assert verdict_text([few]) == "not tested"
    assert verdict_text([few, enough]) == "met; 1 not tested"
    assert verdict_text([few, bound.check("far", 200, 2000)]) == "**not met**; 1 not tested"
    assert worst_place([few, none, enough]) is enough
    assert worst_place([few, none]) is none


def test_a_row_says_how_many_places_break_it_alone_and_for_their_number():
    bound = Bound("size", "at most", 0.05)
    kept, near, far = (bound.check("here", hits, 2000) for hits in (100, 118, 200))
    assert 0.03 < near.p < 0.05
    assert verdict_text([kept] * 3) == "met"
    assert verdict_text([far]) == "**not met**"
    assert verdict_text([kept, kept, near]) == "**not met** in 1 of 3, after Holm in none"
    assert verdict_text([far, kept, near]) == "**not met** in 2 of 3, after Holm in 1"
