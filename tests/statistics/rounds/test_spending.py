"""Boundaries against published tables, and that a sequential p is as rare as it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from qkld.errors import StatisticsError
from qkld.statistics.rounds.mixture import MixtureRule
from qkld.statistics.rounds.spending import SpendingRule, boundaries, obrien_fleming, pocock, stopping_probabilities

ROUNDS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)

LDBOUNDS = {
    (obrien_fleming, 2): (2.9626, 1.9686),
    (obrien_fleming, 3): (3.7103, 2.5114, 1.9930),
    (obrien_fleming, 4): (4.3326, 2.9631, 2.3590, 2.0141),
    (obrien_fleming, 5): (4.8769, 3.3569, 2.6803, 2.2898, 2.0310),
    (pocock, 5): (2.4380, 2.4268, 2.4101, 2.3966, 2.3859),
}
"""Two-sided .05, equal steps: Reboussin et al. (2000, Control Clin Trials 21:190), as R's ldbounds prints them."""


@pytest.mark.parametrize(("spending", "rounds"), LDBOUNDS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_boundaries_are_those_of_lan_and_demets_program(spending, rounds):
    shares = np.arange(1, rounds + 1) / rounds
    spent = np.array([[float(spending(share, np.array(0.025))) for share in shares]])
    assert boundaries(shares, spent)[0] == pytest.approx(LDBOUNDS[spending, rounds], abs=2e-4)


@pytest.mark.parametrize(("constant", "rounds"), [(2.178, 2), (2.289, 3), (2.361, 4), (2.413, 5), (2.555, 10)])
def test_pococks_constants_keep_the_error(constant, rounds):
    """Jennison and Turnbull (2000), Table 2.1, two-sided .05."""
    shares = np.arange(1, rounds + 1) / rounds
    assert 2 * stopping_probabilities(shares, [constant] * rounds).sum() == pytest.approx(0.05, abs=2e-4)


@pytest.mark.parametrize(("constant", "rounds"), [(1.977, 2), (2.004, 3), (2.024, 4), (2.040, 5), (2.087, 10)])
def test_obrien_and_flemings_constants_keep_the_error(constant, rounds):
    """Jennison and Turnbull (2000), Table 2.3, two-sided .05."""
    number = np.arange(1, rounds + 1)
    found = stopping_probabilities(number / rounds, constant * np.sqrt(rounds / number))
    assert 2 * found.sum() == pytest.approx(0.05, abs=2e-4)


@pytest.mark.parametrize(
    ("limits", "inflation"), [((2.413,) * 5, 1.207), (2.040 * np.sqrt(5 / np.arange(1, 6)), 1.026)]
)
def test_power_is_that_of_the_published_inflation_factors(limits, inflation):
    """Jennison and Turnbull (2000), Tables 2.2 and 2.4: power .9, five looks."""
    drift = (special.ndtri(0.975) + special.ndtri(0.9)) * np.sqrt(inflation)
    assert stopping_probabilities(np.arange(1, 6) / 5, limits, drift=drift).sum() == pytest.approx(0.9, abs=1e-3)


RULES = (
    SpendingRule("O'Brien–Fleming", ROUNDS, obrien_fleming),
    SpendingRule("Pocock", ROUNDS, pocock),
    SpendingRule("unequal rounds", (0.1, 0.15, 0.7), pocock),
    MixtureRule("confidence sequence", ROUNDS),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_sequential_p_is_as_rare_as_it_says_whatever_the_last_round(rule, rng):
    steps = np.sqrt(np.diff(rule.shares, prepend=0.0))[:, None]
    scores = np.cumsum(rng.standard_normal((len(rule.shares), 40_000)) * steps, axis=0)
    p = special.ndtr(-scores / np.sqrt(rule.shares)[:, None])
    whole, begun = rule.sequential_p(p), rule.sequential_p(p[:2])
    assert (whole <= begun).all()
    for level in (0.2, 0.05, 0.01, 0.05 / 12):
        rare = (whole <= level).mean()
        assert rare <= level + 4 * np.sqrt(level / 40_000)
        if isinstance(rule, SpendingRule) and rule.shares[-1] == 1:
            assert rare >= level - 4 * np.sqrt(level / 40_000)


def test_one_round_of_all_items_is_the_fixed_plan(rng):
    p = rng.uniform(1e-6, 0.4, (1, 50))
    assert SpendingRule("fixed", (1.0,), obrien_fleming).sequential_p(p) == pytest.approx(p[0], rel=2e-3)


def test_a_round_that_was_not_looked_at_says_nothing():
    rule = SpendingRule("Pocock", ROUNDS, pocock)
    seen = rule.sequential_p(np.array([[0.3, 0.3], [0.001, 0.001]]))
    more = rule.sequential_p(np.array([[0.3, 0.3], [0.001, 0.001], [np.nan, 0.9]]))
    assert more.tolist() == seen.tolist()
    assert rule.sequential_p(np.array([[0.0, 1.0]])) == pytest.approx([1e-10, 1.0])


@pytest.mark.parametrize("shares", [(), (0.5, 0.5), (0.0, 1.0), (0.5, 1.2)])
def test_rounds_that_do_not_rise_are_refused(shares):
    with pytest.raises(StatisticsError, match="rounds must grow"):
        SpendingRule("none", shares, pocock)
