"""How many items would settle the verdict, and how many would make the scores reliable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.noise.explained import Explained, explained
from qkld.statistics.noise.verdict import RULE, Rule


@dataclass(frozen=True)
class ItemsToSettle:
    """Items, of the same kind and mix, after which a verdict is expected with the given power.

    ``estimate`` takes the estimated true scores as true; NaN where no true difference is seen. ``at_least`` takes
    R²_true as far from ½ as the data allow: fewer items than that can not be expected to do.
    ``toward`` is the verdict that the estimate points to.
    """

    estimate: float
    at_least: float
    toward: str


def _factor(contrast: float, forms: Explained, half: float, reach: float) -> float:
    """Times as many items m with |T_c| = reach · √(2 tr/m² + 4 s/m): item noise falls as 1/m. inf at T_c = 0."""
    noise, signal = (float(v) for v in forms.variance_terms(half))
    if contrast == 0:
        return np.inf
    b, c = signal * reach**2, noise * reach**2
    return float((b + np.sqrt(b**2 + 4 * contrast**2 * c)) / (2 * contrast**2))


def items_to_settle(noise: NetNoise, kld: ArrayLike, *, power: float = 0.8, rule: Rule = RULE) -> ItemsToSettle:
    """Items with which |z_½| passes its limit with the given power, from the variance of T_½ at m times the items.

    Normal approximation, unequal mixes and quants set aside left out: an order of magnitude to plan with.
    """
    forms = explained(noise, np.asarray(kld))
    reach = rule.limit + float(stats.norm.ppf(power))
    seen = float(forms.contrast(rule.half))
    error = float(np.sqrt(np.sum(forms.variance_terms(rule.half))))
    farthest = abs(seen) + rule.limit * error
    at_least = np.ceil(noise.items * _factor(farthest, forms, rule.half, reach))
    if not forms.total > 0:
        return ItemsToSettle(np.nan, float(at_least), "")
    toward = "direction missing" if seen < 0 else "carried" if forms.slope < 0 else "reversed"
    return ItemsToSettle(float(np.ceil(noise.items * _factor(seen, forms, rule.half, reach))), float(at_least), toward)
