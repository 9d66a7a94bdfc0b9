"""How many benchmark items a question needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

POWER = 0.8
"""Probability of the answer that is asked for, in every number of items."""


def items_for_difference(
    flip_rate: ArrayLike, difference: ArrayLike, *, confidence: float, power: float = POWER
) -> np.ndarray:
    """Items on which a true score difference is found at two-sided level 1 − ``confidence`` with ``power``.

    N = ((z₁₋α/₂ √f + z_power √(f − Δ²))/Δ)², rounded up (Miettinen 1968; Connor 1987, Biometrics 43:207), with f the
    flip rate and Δ the difference, both fractions of 1. NaN where f < |Δ|: no such difference can be, and where Δ = 0.
    """
    f, delta = np.broadcast_arrays(np.asarray(flip_rate, dtype=float), np.abs(np.asarray(difference, dtype=float)))
    z_level, z_power = stats.norm.ppf([0.5 + confidence / 2, power])
    possible = (f >= delta) & (delta > 0)
    root = z_level * np.sqrt(f) + z_power * np.sqrt(np.maximum(f - delta**2, 0))
    needed = np.divide(root, delta, out=np.full(f.shape, np.nan), where=possible) ** 2
    return np.ceil(needed)


def items_for_score(z: ArrayLike, items: ArrayLike, *, level: float, power: float = POWER) -> np.ndarray:
    """Items on which a one-sided score test at ``level`` succeeds with ``power``, were the shares seen the true ones.

    A score z of N items grows as √N: N ((z₁₋α + z_power)/z)², rounded up. NaN where z is not above 0: then more items
    of this kind lead away.
    """
    z, items = np.broadcast_arrays(np.asarray(z, dtype=float), np.asarray(items, dtype=float))
    wanted = stats.norm.ppf([1 - level, power]).sum()
    ratio = np.divide(wanted, z, out=np.full(z.shape, np.nan), where=z > 0)
    return np.ceil(items * ratio**2)
