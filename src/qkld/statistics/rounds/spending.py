"""How an error rate is spent over rounds: Lan and DeMets' (1983, Biometrika 70:659) spending functions.

After each round a one-sided test is looked at; its scores over the rounds are those of a Brownian motion at the shares
of all items seen so far. A spending function says how much of the error may be used up by each share. Its boundaries
follow by recursive integration (Armitage, McPherson and Rowe 1969, J R Stat Soc A 132:235), as in R's ldbounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qkld.errors import StatisticsError

Floats = NDArray[np.float64]
Spending = Callable[[float, Floats], Floats]
"""Share of items seen, whole error rates → errors spent by then; rising in both."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)
_LOWEST = -9.0
"""Score below which a path is given up: its probability is below 1e-18."""

_HALVINGS = 60
_LEVELS = np.geomspace(1e-10, 0.5, 70)
"""Error rates at which boundaries are tabled; between them rates are interpolated, logarithm by logarithm."""


def obrien_fleming(share: float, level: Floats) -> Floats:
    """Spent as by O'Brien and Fleming's boundaries: 2 − 2Φ(z₁₋level/₂ / √share), nearly all at the end."""
    return 2 * special.ndtr(special.ndtri(level / 2) / np.sqrt(share))


def pocock(share: float, level: Floats) -> Floats:
    """Spent as by Pocock's boundaries: level · ln(1 + (e − 1) share); about as much in every round."""
    return level * np.log1p((np.e - 1) * share)


@dataclass(frozen=True)
class _Paths:
    """Brownian motions that have not stopped: nodes of an integral over their places and masses, (levels, nodes)."""

    place: Floats
    mass: Floats

    def passing(self, limit: Floats, step: float) -> Floats:
        """Probability of being above ``limit`` (levels,) one step of standard deviation ``step`` later."""
        return (self.mass * special.ndtr((self.place - limit[:, None]) / step)).sum(axis=1)

    def going_on(self, limit: Floats, lowest: float, step: float) -> _Paths:
        """Those that are between ``lowest`` and ``limit`` one step later."""
        half = (limit - lowest)[:, None] / 2
        place = lowest + half * (_NODES + 1)
        apart = (place[:, :, None] - self.place[:, None, :]) / step
        density = np.einsum("lij,lj->li", np.exp(-(apart**2) / 2), self.mass) / (np.sqrt(2 * np.pi) * step)
        return _Paths(place, density * half * _WEIGHTS)


def _steps(shares: Sequence[float]) -> Floats:
    """Standard deviation of the motion between looks."""
    return np.sqrt(np.diff(shares, prepend=0.0))


def boundaries(shares: Sequence[float], spent: Floats) -> Floats:
    """Scores at which one-sided tests stop, (levels, rounds), of the errors ``spent`` by the end of each round.

    ``spent`` (levels, rounds) rises along the rounds.
    """
    fresh, limits = np.diff(spent, axis=1, prepend=0.0), np.empty_like(spent)
    paths = _Paths(np.zeros((len(spent), 1)), np.ones((len(spent), 1)))
    for number, (share, step) in enumerate(zip(shares, _steps(shares), strict=True)):
        root = np.sqrt(share)
        limits[:, number] = _limit(paths, fresh[:, number], root, step)
        paths = paths.going_on(limits[:, number] * root, _LOWEST * root, step)
    return limits


def _limit(paths: _Paths, fresh: Floats, root: float, step: float) -> Floats:
    """Scores that are passed with the probabilities ``fresh``, by bisection: (levels,)."""
    low, high = np.full(len(fresh), _LOWEST), np.full(len(fresh), 60.0)
    for _ in range(_HALVINGS):
        tried = (low + high) / 2
        more = paths.passing(tried * root, step) > fresh
        low, high = np.where(more, tried, low), np.where(more, high, tried)
    return (low + high) / 2


def stopping_probabilities(shares: Sequence[float], limits: Sequence[float], drift: float = 0.0) -> Floats:
    """Probability that a one-sided test stops in each round at these scores, (rounds,).

    ``drift`` is the mean of its score at a share of 1.
    """
    paths, found, before = _Paths(np.zeros((1, 1)), np.ones((1, 1))), [], 0.0
    for share, step, limit in zip(shares, _steps(shares), limits, strict=True):
        moved = _Paths(paths.place + drift * (share - before), paths.mass)
        end, before = np.array([limit * np.sqrt(share)]), share
        found.append(moved.passing(end, step)[0])
        paths = moved.going_on(end, _LOWEST * np.sqrt(share) + drift * share, step)
    return np.array(found)


@dataclass(frozen=True)
class SpendingRule:
    """Looks after fixed shares of the items; each test's error is spent by one function.

    ``shares`` rise to at most 1. They, and the number of items that is 1, are fixed before items are seen.
    """

    name: str
    shares: tuple[float, ...]
    spending: Spending

    def __post_init__(self) -> None:
        ends = (0.0, *self.shares)
        if not self.shares or not all(a < b for a, b in zip(ends, self.shares, strict=False)) or ends[-1] > 1:
            raise StatisticsError(
                "The rounds must grow.",
                expected="increasing shares of all items, above 0 and at most 1",
                found=list(self.shares),
                do="give each round more items than the one before",
            )

    def sequential_p(self, p: Floats) -> Floats:
        """Smallest error rate at which a test would have stopped by the last round: p (rounds, …) → (…).

        ``p`` are one-sided p of the rounds so far, NaN where a test was not looked at. Liu and Anderson's (2008, J Am
        Stat Assoc 103:1621) sequential p-value: under the hypothesis it is at most γ with probability γ at most,
        however many rounds there were and whatever ended them. So it goes into Holm's method as any p does (Maurer and
        Bretz 2013, Stat Biopharm Res 5:311).
        """
        table = _nominal(self.shares, self.spending)
        each = [_rate(own, values) for own, values in zip(table, np.asarray(p, dtype=float), strict=False)]
        return np.fmin(np.fmin.reduce(each, axis=0), 1.0)


@cache
def _nominal(shares: tuple[float, ...], spending: Spending) -> Floats:
    """Logarithm of the p at which each round stops, (rounds, levels), at the error rates `_LEVELS`."""
    spent = np.stack([spending(share, _LEVELS) for share in shares], axis=1)
    return special.log_ndtr(-boundaries(shares, spent)).T


def _rate(nominal: Floats, p: Floats) -> Floats:
    """Error rate at which a round stops at ``p``: 1 above the table, its lowest rate below it, NaN where p is."""
    at = np.log(np.maximum(p, 1e-300))
    return np.where(at > nominal[-1], 1.0, np.exp(np.interp(at, nominal, np.log(_LEVELS))))
