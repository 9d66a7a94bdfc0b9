"""Permutation tests of no association, over all quants or within quantizer families only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations as permutations_of

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.correlations_of_resamples import Method, correlation_columns

TIE = 1e-12
"""Two correlations closer than this count as equal: permuted sums round differently."""


MOST_ENUMERATED = 5040
"""Rearrangements up to which every one is taken once instead of a random draw: those of seven quants."""


def permuted_orders(families: np.ndarray, permutations: int, *, rng: np.random.Generator) -> np.ndarray:
    """Rearrangements of quants within their families, the last one no change.

    All of them, each once, where there are at most `MOST_ENUMERATED`: a share of these is an exact p. Otherwise
    ``permutations`` random ones and no change, shape (permutations + 1, n).
    """
    sizes = np.unique(families, return_counts=True)[1]
    if math.prod(math.factorial(size) for size in sizes.tolist()) <= MOST_ENUMERATED:
        return _every_order(families)
    keys = rng.random((permutations, families.size))
    orders = np.tile(np.arange(families.size), (permutations + 1, 1))
    for family in np.unique(families):
        members = np.flatnonzero(families == family)
        orders[:-1, members] = members[np.argsort(keys[:, members], axis=1)]
    return orders


def _every_order(families: np.ndarray) -> np.ndarray:
    """Each rearrangement within families once, (rearrangements, n), no change last."""
    orders = np.arange(families.size)[None]
    for family in np.unique(families):
        members = np.flatnonzero(families == family)
        moved = np.array(list(permutations_of(members)))
        orders = np.repeat(orders, len(moved), axis=0)
        orders[:, members] = np.tile(moved, (len(orders) // len(moved), 1))
    return orders[::-1]


def permuted_correlations(x: np.ndarray, y: np.ndarray, orders: np.ndarray, method: Method) -> np.ndarray:
    """The correlation of x with y rearranged by each row of ``orders``, shape (len(orders),)."""
    if method == "kendall":
        first, second = np.triu_indices(x.size, 1)
        sign_x, sign_y = np.sign(x[first] - x[second]), np.sign(y[:, None] - y[None, :])
        norm = np.sqrt((sign_x**2).sum() * (sign_y[first, second] ** 2).sum())
        chunks = np.array_split(orders, -(-len(orders) // 1000))
        return np.concatenate([sign_y[o[:, first], o[:, second]] @ sign_x for o in chunks]) / norm
    if method == "spearman":
        x, y = stats.rankdata(x), stats.rankdata(y)
    x, y = x - x.mean(), y - y.mean()
    return (y[orders] @ x) / np.sqrt((x @ x) * (y @ y))


def p_of_orders(
    x: np.ndarray, y: np.ndarray, orders: np.ndarray, *, centred: bool, method: Method = "spearman"
) -> float:
    """Two-sided p of the last of ``orders`` among all; ``centred``: distances from the mean, which within families
    is not 0."""
    draws = permuted_correlations(x, y, orders, method)
    centre = draws.mean() if centred else 0.0
    return float((np.abs(draws - centre) >= abs(draws[-1] - centre) - TIE).mean())


def check_exchangeable(x: np.ndarray, y: np.ndarray, families: np.ndarray) -> None:
    """Refuse families in none of which two quants differ in metric and in score: no p can come of them.

    Raises
    ------
    StatisticsError
        With the number of families and quants.
    """
    if not any(len(set(y[families == g])) > 1 and len(set(x[families == g])) > 1 for g in np.unique(families)):
        raise StatisticsError(
            "No two quants can be permuted within a family.",
            expected="a family with at least 2 quants that differ in metric and score",
            found=f"{np.unique(families).size} families of {x.size} quants",
            do="use the permutation over all quants, or measure more quants per family",
        )


def permutation_p(
    x: ArrayLike,
    y: ArrayLike,
    *,
    permutations: int,
    rng: np.random.Generator,
    families: Sequence[str] | np.ndarray | None = None,
    method: Method = "spearman",
) -> float:
    """Two-sided permutation p of no association, counting the observed arrangement as one of them (add-one).

    Exact where `permuted_orders` has every arrangement; otherwise of ``permutations`` random ones.
    With ``families``, scores change places within a quantizer family only, which holds its size where families share
    a recipe; the distance is then taken from the mean over permutations, which is not 0.

    Raises
    ------
    StatisticsError
        As `paired_columns` and `check_exchangeable`.
    """
    x, y = correlation_columns(x, y, method)
    groups = np.zeros(x.size) if families is None else np.asarray(families)
    check_exchangeable(x, y, groups)
    orders = permuted_orders(groups, permutations, rng=rng)
    return p_of_orders(x, y, orders, centred=families is not None, method=method)
