"""How many benchmark items a question needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

POWER = 0.8
"""Probability of the answer that is asked for, in every number of items."""

_HALVINGS = 60
"""Bisection steps of a number of items: the last one is below 1e-15 of it."""


def items_for_difference(
    flip_rate: ArrayLike,
    difference: ArrayLike,
    *,
    confidence: float,
    power: float = POWER,
    largest: ArrayLike | None = None,
    design_effect: ArrayLike = 1.0,
) -> np.ndarray:
    """Items on which a true score difference is found at two-sided level 1 − ``confidence`` with ``power``.

    N = ((z₁₋α/₂ √f + z_power √(f − Δ²))/Δ)², rounded up (Miettinen 1968; Connor 1987, Biometrics 43:207), with f the
    flip rate and Δ the difference, both fractions of 1. NaN where Δ = 0, and where |Δ| is above the ``largest``
    difference that can be, by default f: of several tasks f is the rate that gives their mean's variance, and the
    largest difference the mean of their flip rates. Where items come in clusters, ``design_effect`` times as many are
    needed.
    """
    f, delta = np.broadcast_arrays(np.asarray(flip_rate, dtype=float), np.abs(np.asarray(difference, dtype=float)))
    z_level, z_power = stats.norm.ppf([0.5 + confidence / 2, power])
    possible = (delta <= (f if largest is None else np.asarray(largest, dtype=float))) & (delta > 0)
    root = z_level * np.sqrt(f) + z_power * np.sqrt(np.maximum(f - delta**2, 0))
    needed = np.divide(root, delta, out=np.full(f.shape, np.nan), where=possible) ** 2
    return np.ceil(needed * design_effect)


def items_for_score(z: ArrayLike, items: ArrayLike, *, level: float, power: float = POWER) -> np.ndarray:
    """Items on which a one-sided score test at ``level`` succeeds with ``power``, were the shares seen the true ones.

    A score z of N items grows as √N: N ((z₁₋α + z_power)/z)², rounded up. NaN where z is not above 0: then more items
    of this kind lead away.
    """
    z, items = np.broadcast_arrays(np.asarray(z, dtype=float), np.asarray(items, dtype=float))
    wanted = stats.norm.ppf([1 - level, power]).sum()
    ratio = np.divide(wanted, z, out=np.full(z.shape, np.nan), where=z > 0)
    return np.ceil(items * ratio**2)


def items_for_equivalence(
    above: ArrayLike, below: ArrayLike, items: ArrayLike, *, level: float, power: float = POWER
) -> np.ndarray:
    """Items on which both one-sided score tests at ``level`` pass with ``power``, were the shares seen the true ones.

    ``above`` and ``below`` are the scores, on ``items`` items, of lying above the margin's lower and below its upper
    end. On m times the items both pass with Φ(above √m − z₁₋α) + Φ(below √m − z₁₋α) − 1 (Phillips 1990,
    J Pharmacokinet Biopharm 18:137), which is solved for m and rounded up; where they are equal, each test needs power
    (1 + power)/2. NaN where a score is not above 0: then more items of this kind lead away.
    """
    above, below, items = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (above, below, items)))
    nearer, z_level = np.fmin(above, below), stats.norm.isf(level)
    one, both = (z_level + stats.norm.ppf(p) for p in (power, (1 + power) / 2))
    low, high = (np.divide(z, nearer, out=np.full(nearer.shape, np.nan), where=nearer > 0) for z in (one, both))
    for _ in range(_HALVINGS):
        root = (low + high) / 2
        enough = stats.norm.cdf(above * root - z_level) + stats.norm.cdf(below * root - z_level) - 1 >= power
        low, high = np.where(enough, low, root), np.where(enough, root, high)
    return np.ceil(items * high**2)


def margin_for_equivalence(error: ArrayLike, *, level: float, power: float = POWER) -> np.ndarray:
    """Smallest margin within which two equal scores are shown equivalent with ``power``, in the unit of ``error``.

    δ = (z₁₋α + z₍₁₊power₎/₂) · SE: both one-sided tests at ``level`` pass at a true difference of 0. ``error`` is the
    standard error of the paired difference. At a power of 0 it is the margin below which no data pass.
    """
    return np.asarray(error, dtype=float) * (stats.norm.isf(level) + stats.norm.ppf((1 + power) / 2))
