"""Permutation p against all arrangements counted one by one, within families and without."""

import math
from itertools import permutations

import numpy as np
import pytest
from correlation_columns import METHODS, scipy_correlation, tied_columns

from qkld.errors import StatisticsError
from qkld.statistics.core.permutation import permutation_p, permuted_orders


@pytest.mark.parametrize("method", METHODS)
def test_permutation_p_is_the_share_of_all_arrangements(method, rng):
    x, y = np.exp(rng.normal(size=6)), rng.normal(size=6)
    observed = abs(scipy_correlation(x, y, method))
    every = [abs(scipy_correlation(x, np.array(p), method)) for p in permutations(y)]
    exact = np.mean(np.array(every) >= observed - 1e-9)
    assert permutation_p(x, y, permutations=9, rng=rng, method=method) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("y", "exact"), [([1, 2, 3, 4, 5], 2 / 120), ([1, 1, 2, 2, 3], 8 / 120)])
def test_five_quants_have_exact_p(y, exact):
    """A whole order, and the order of one study's scores: 1,999 random orders gave .018 and .073."""
    found = permutation_p(np.arange(5.0), y, permutations=1999, rng=np.random.default_rng(0))
    assert found == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("families", ["abacba", "aaaaaaa", "aabbccdd", "abcdefghijkl"])
def test_few_rearrangements_are_each_taken_once(families):
    families = np.array(list(families))
    orders = permuted_orders(families, 10, rng=np.random.default_rng(0))
    sizes = np.unique(families, return_counts=True)[1]
    assert len(orders) == len(np.unique(orders, axis=0)) == np.prod([math.factorial(s) for s in sizes])
    assert (families[orders] == families).all()
    assert (orders[-1] == np.arange(families.size)).all()


def test_an_exact_p_within_families_is_the_share_of_their_rearrangements():
    x, y, families = np.array([1.0, 2, 3, 4, 5, 6]), np.array([2.0, 1, 3, 5, 6, 4]), np.array(list("aaabbb"))
    every = [[*a, *b] for a in permutations(y[:3]) for b in permutations(y[3:])]
    rho = np.array([scipy_correlation(x, np.array(order), "spearman") for order in every])
    distance = np.abs(rho - rho.mean())
    exact = np.mean(distance >= abs(scipy_correlation(x, y, "spearman") - rho.mean()) - 1e-9)
    found = permutation_p(x, y, permutations=99, rng=np.random.default_rng(0), families=families)
    assert found == pytest.approx(exact, abs=1e-12)


def test_orders_rearrange_within_families_and_end_with_no_change(rng):
    families = np.array(list("abacba" * 3))
    orders = permuted_orders(families, 500, rng=rng)
    assert orders.shape == (501, 18)
    assert (families[orders] == families).all()
    assert (np.sort(orders, axis=1) == np.arange(18)).all()
    assert (orders[-1] == np.arange(18)).all()


def test_permutation_p_within_families_moves_scores_inside_only(rng):
    families = np.array(["a"] * 10 + ["b"] * 10)
    x = np.concatenate([rng.normal(0, 1, 10), rng.normal(50, 1, 10)])
    y = np.concatenate([rng.normal(0, 1, 10), rng.normal(-50, 1, 10)])
    free = permutation_p(x, y, permutations=1999, rng=rng)
    within = permutation_p(x, y, permutations=1999, rng=rng, families=families)
    assert free < 0.01
    assert within > 0.05


def test_permutation_p_within_one_family_agrees_with_the_free_one(rng):
    x, y = tied_columns(rng, 15)
    free = permutation_p(x, y, permutations=4000, rng=rng)
    assert permutation_p(x, y, permutations=4000, rng=rng, families=["a"] * 15) == pytest.approx(free, abs=0.03)


def test_permutation_p_is_never_zero_and_needs_somebody_to_swap():
    x = np.arange(30.0)
    assert permutation_p(x, x, permutations=99, rng=np.random.default_rng(0)) == pytest.approx(0.01)
    with pytest.raises(StatisticsError, match="at least 2 quants"):
        permutation_p(x, x, permutations=99, rng=np.random.default_rng(0), families=[str(i) for i in range(30)])


def test_permutation_p_is_uniform_without_association(rng):
    p = [permutation_p(rng.normal(size=12), rng.normal(size=12), permutations=199, rng=rng) for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)
