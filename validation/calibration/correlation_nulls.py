"""Tests about correlations in worlds where they have nothing to find.

In the random walks scores scatter more the larger KLD is, without leaning either way: ρ is 0, and KLD and score are not
independent. Exchanging scores is exact only under independence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

import numpy as np

from qkld.errors import StatisticsError
from qkld.statistics.core.permutation import permutation_p
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.comparison import difference_of_strengths
from qkld.statistics.correlation.partial import partial_correlation
from qkld.statistics.correlation.simultaneous import max_t
from qkld.statistics.zone.break_point import break_point

PERMUTATIONS = 399
"""Permutations of one test here; 0.05 · (399 + 1) is a whole number, so that the test is exact at 5 %."""

RESAMPLING = Resampling(confidence=0.95, resamples=399, permutations=PERMUTATIONS, seed=2606)
"""Of procedures that draw once for all their rows; the same draws in every run, the data are new in each."""

Draw = Callable[[np.random.Generator], float]
"""One p of a test in a fresh world in which its null hypothesis holds."""


@dataclass(frozen=True)
class Null:
    """One test in one world without an effect; ``known`` says that it is known to exceed its size and why it stays.

    Of a costly one, one in ``every`` of the asked runs is done.
    """

    test: str
    where: str
    draw: Draw
    known: str = ""
    every: int = 1


def _independent(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal(n), rng.standard_normal(n)


def _eight_levels(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal(n), np.round(rng.standard_normal(n) / 0.8)


def _four_levels(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal(n), np.digitize(rng.standard_normal(n), [-0.7, 0.0, 0.7]).astype(float)


def _random_walk(reach: float) -> Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]:
    """KLD over a range of ``reach``, scores of mean 0 whose standard deviation grows as KLD^¼: flips of random sign."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        kld = np.exp(rng.uniform(0.0, np.log(reach), n))
        return kld, kld**0.25 * rng.standard_normal(n)

    return draw


def _log_normal(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = _independent(rng, n)
    return np.exp(x), y


CORRELATION_NULLS: Mapping[str, Callable] = {
    "independent": _independent,
    "scores of 8 levels": _eight_levels,
    "scores of 4 levels": _four_levels,
    "random walk, KLD × 10": _random_walk(10),
    "random walk, KLD × 250": _random_walk(250),
}


def _permutation(columns: Callable, n: int, method: str) -> Draw:
    def draw(rng: np.random.Generator) -> float:
        x, y = columns(rng, n)
        return permutation_p(x, y, permutations=PERMUTATIONS, rng=rng, method=method)

    return draw


def _family_groups(n: int, families: int) -> np.ndarray:
    return np.sort(np.arange(n) % families)


def _shared_in(groups: np.ndarray, shared: float, rng: np.random.Generator) -> np.ndarray:
    """A standard normal column of which families share ``shared`` of the variance."""
    own, common = rng.standard_normal(groups.size), rng.standard_normal(groups.max() + 1)
    return np.sqrt(shared) * common[groups] + np.sqrt(1 - shared) * own


def _in_families(n: int, families: int, shared: float, *, within: bool) -> Draw:
    """Families that share ``shared`` of the variance of KLD and, independently, of the score."""
    groups = _family_groups(n, families)

    def draw(rng: np.random.Generator) -> float:
        x, y = (_shared_in(groups, shared, rng) for _ in range(2))
        return permutation_p(x, y, permutations=PERMUTATIONS, rng=rng, families=groups if within else None)

    return draw


# --- many metrics, and two --------------------------------------------------------------------------------------------

VARIANTS = 14


def _any_variant(n: int, alike: float) -> Draw:
    """The smallest max-T p of 14 variants with correlation ``alike`` among them and none with the score."""

    def draw(rng: np.random.Generator) -> float:
        common, own = rng.standard_normal((n, 1)), rng.standard_normal((n, VARIANTS))
        metrics = np.sqrt(alike) * common + np.sqrt(1 - alike) * own
        return float(max_t(metrics, rng.standard_normal(n), resampling=RESAMPLING).p.min())

    return draw


def _any_variant_in_families(n: int, families: int, shared: float) -> Draw:
    """The smallest max-T p within families of 14 variants, .5 of whose variance is common to all."""
    groups = _family_groups(n, families)

    def draw(rng: np.random.Generator) -> float:
        common, score = (_shared_in(groups, shared, rng) for _ in range(2))
        metrics = np.sqrt(0.5) * (common[:, None] + rng.standard_normal((n, VARIANTS)))
        return float(max_t(metrics, score, resampling=RESAMPLING, families=groups).p.min())

    return draw


def _equal_strengths(n: int, strength: float) -> Draw:
    """0 where the interval of |ρ| − |ρ| leaves 0 out, else 1: two metrics that share the score's cause equally."""

    def draw(rng: np.random.Generator) -> float:
        score = rng.standard_normal(n)
        first, second = (strength * score + np.sqrt(1 - strength**2) * rng.standard_normal(n) for _ in range(2))
        found = difference_of_strengths((first, score), (second, score), resampling=RESAMPLING)
        return float(found["stronger_low"] <= 0 <= found["stronger_high"])

    return draw


# --- beyond size, and breaks ------------------------------------------------------------------------------------------


def _size_only(n: int, alike: float, which: str) -> Draw:
    """Score and metric both follow bits per weight, the metric with correlation ``alike``; nothing else joins them.

    Where metric and bits rank the quants alike there is no p, and so no rejection.
    """

    def draw(rng: np.random.Generator) -> float:
        bits = rng.standard_normal(n)
        metric = alike * bits + np.sqrt(1 - alike**2) * rng.standard_normal(n)
        score = 0.7 * bits + np.sqrt(1 - 0.49) * rng.standard_normal(n)
        with suppress(StatisticsError):
            return float(getattr(partial_correlation(metric, score, bits), which))
        return 1.0

    return draw


def _straight_line(n: int, spread: float) -> Draw:
    """Scores on a straight line in ln KLD whose spread grows as KLD^``spread``."""

    def draw(rng: np.random.Generator) -> float:
        kld = np.exp(rng.uniform(np.log(0.004), 0.0, n))
        score = -0.02 * np.log(kld) + 0.01 * kld**spread * rng.standard_normal(n)
        return break_point(kld, score, resamples=PERMUTATIONS, rng=rng).p_break

    return draw


RANKS_ONLY = "no transform makes every monotone relation straight; `p_partial` replaces it"


SPREAD_IN_LOG = "outer quants weigh more than in ranks, and a spread that grows with KLD is no independence"

FAMILIES_IGNORED = "quants of one recipe do not change places; `p_within_families` is the test then"


def _permutation_nulls() -> list[Null]:
    """Permutation tests, free and within families."""
    free = [
        Null("permutation, Spearman", f"{name}, {n} quants", _permutation(columns, n, "spearman"))
        for (name, columns), n in product(CORRELATION_NULLS.items(), (12, 16, 28, 41))
    ]
    kendall = [
        Null("permutation, Kendall", f"{name}, 16 quants", _permutation(columns, 16, "kendall"))
        for name, columns in CORRELATION_NULLS.items()
    ]
    pearson = [
        Null("permutation, Pearson of ln KLD", f"{name}, {n} quants", _permutation(columns, n, "pearson_log"), known)
        for name, columns, known in (
            ("independent", _log_normal, ""),
            ("random walk, KLD × 10", _random_walk(10), SPREAD_IN_LOG),
            ("random walk, KLD × 250", _random_walk(250), SPREAD_IN_LOG),
        )
        for n in (16, 41)
    ]
    within = [
        Null(
            "permutation within families",
            f"{n} quants in {families} families that share {shared:g} of the variance",
            _in_families(n, families, shared, within=True),
        )
        for (n, families), shared in product(((28, 4), (28, 7), (41, 10)), (0.0, 0.3, 0.6))
    ]
    ignored = [
        Null(
            "permutation, families ignored",
            f"{n} quants in {families} families that share {shared:g} of the variance",
            _in_families(n, families, shared, within=False),
            FAMILIES_IGNORED,
        )
        for (n, families), shared in product(((28, 7), (41, 10)), (0.3, 0.6))
    ]
    return [*free, *kendall, *pearson, *within, *ignored]


def _further_nulls() -> list[Null]:
    """Max-T, the difference of two strengths, the partial correlation, and the break point."""
    variants = [
        Null("max-T over 14 variants", f"{n} quants, variants alike {alike:g}", _any_variant(n, alike))
        for n, alike in product((16, 28), (0.5, 0.9))
    ]
    in_families = [
        Null(
            "max-T over 14 variants within families",
            f"{n} quants in {families} families that share {shared:g} of the variance",
            _any_variant_in_families(n, families, shared),
        )
        for (n, families), shared in product(((28, 7), (41, 10)), (0.0, 0.6))
    ]
    strengths = [
        Null(
            "difference of two strengths of correlation",
            f"{n} quants, both {strength:g}",
            _equal_strengths(n, strength),
        )
        for n, strength in product((16, 28, 41), (0.5, 0.8))
    ]
    partial = [
        Null(test, f"{n} quants, metric with bits {alike:g}", _size_only(n, alike, which), known)
        for test, which, known in (
            ("partial correlation", "p_partial", ""),
            ("partial correlation on ranks", "p_ranks", RANKS_ONLY),
        )
        for n, alike in product((16, 41), (0.8, 0.95))
    ]
    breaks = [
        Null("break point", f"{n} quants, spread ∝ KLD^{spread:g}", _straight_line(n, spread))
        for n, spread in product((28, 41), (0.0, 0.25, 0.5))
    ]
    return [*variants, *in_families, *strengths, *partial, *breaks]


def correlation_nulls() -> list[Null]:
    """Every test about correlations."""
    return [*_permutation_nulls(), *_further_nulls()]
