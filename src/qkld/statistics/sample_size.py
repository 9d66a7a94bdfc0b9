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


def items_for_equivalence(
    flip_rate: ArrayLike, margin: float, *, level: float = 0.05, power: float = POWER
) -> np.ndarray:
    """Items on which two truly equal scores are shown to differ by less than ``margin`` with ``power``.

    Both one-sided tests at ``level`` must succeed: N = f ((z₁₋α + z₍₁₊power₎/₂)/δ)², f the flip rate. At least
    z²₁₋α (1 − δ)/δ, which Tango's test needs where no answer changes at all. Rounded up.
    """
    f = np.asarray(flip_rate, dtype=float)
    z_level, z_power = stats.norm.ppf([1 - level, (1 + power) / 2])
    least = z_level**2 * (1 - margin) / margin
    return np.ceil(np.maximum(f * ((z_level + z_power) / margin) ** 2, least))
