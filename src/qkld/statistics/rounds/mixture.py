"""A confidence sequence over rounds: a test that may be looked at after every item, with no last one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MixtureRule:
    """Robbins' (1970, Ann Math Stat 41:1397) mixture of normal distributions, with estimated variances.

    The one-sided form of Waudby-Smith et al. (2024, Ann Stat 52:2613, Prop. B.1). ``best_at`` is the share of items
    at which the sequence for ``level`` is narrowest; both are fixed before items are seen.
    """

    name: str
    shares: tuple[float, ...]
    best_at: float = 0.25
    level: float = 0.025

    @property
    def _information(self) -> Floats:
        """Variance of the mixture in units of a round's own, (rounds,)."""
        both = -2 * np.log(2 * self.level)
        return np.array(self.shares) / self.best_at * (both + np.log(both + 1))

    def sequential_p(self, p: Floats) -> Floats:
        """Smallest error rate at which a test would have stopped by the last round: p (rounds, …) → (…).

        As `qkld.statistics.rounds.spending.SpendingRule.sequential_p`, and valid for any number of rounds.
        """
        each = [_rate(n, np.asarray(own)) for n, own in zip(self._information, p, strict=False)]
        return np.fmin(np.fmin.reduce(each, axis=0), 1.0)


def _rate(information: float, p: Floats) -> Floats:
    """Error rate whose sequence just leaves out the hypothesis at a one-sided ``p``; 1 where its score is below 0."""
    z, spread = special.ndtri(1 - p), information + 1
    z = np.where(p < 1e-3, -special.ndtri(np.maximum(p, 1e-300)), z)
    above = np.expm1(np.minimum(z**2 * information / (2 * spread), 700.0))
    rate = np.sqrt(spread) / (2 * np.maximum(above, 1e-300))
    return np.where(z > 0, np.minimum(rate, 1.0), np.where(np.isnan(p), np.nan, 1.0))
