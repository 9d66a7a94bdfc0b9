"""Are contrasts of net scores 0? Tests that know from how few items, or clusters of them, their noise was estimated.

With V estimated from U units, T² = r'V⁻¹r of p contrasts is Hotelling's and not χ²: taken for χ² it finds differences
between 20 equal quants in 15 % of cohorts at 98 items, and always at ten clusters. Where there are too few units for
its law, the signs of whole units are flipped, which inverts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.items.units import Floats, Part

TestName = Literal["chi-square", "hotelling", "satterthwaite", "sign-flip"]

UNITS_A_CONTRAST = 5
"""Degrees of freedom of V for each contrast from which its inverse is used: simulated sizes of F are near 5 % there."""

EVEN = 0.75
"""Effective clusters for each cluster below which they are too unequal for F: its size is .05 at .78, .13 to .44 below
.5 (5 to 12 quants, 30 to 100 clusters)."""

NEXT_TO_NOTHING = 1e-6
"""Share of the largest standard error of a residual that is rounding."""

SURE = 0.05
"""p below which differences are said to be there."""

TIE = 1e-9
"""Relative distance within which two statistics count as equal: flipped sums round differently."""


@dataclass(frozen=True)
class Tested:
    """Which test was taken, its statistic, and P(one as large) if the contrasts are truly 0.

    ``least`` is the smallest p that it could have given.
    """

    test: TestName
    statistic: float
    p: float
    least: float = 0.0

    @property
    def note(self) -> str:
        """That no difference could have been found, where that is so."""
        if self.least < SURE:
            return ""
        return f"sign flips of so few items or clusters that tell quants apart give no p below {self.least:.2g}"


def satterthwaite_df(shares: Sequence[Floats], df: Sequence[float]) -> float:
    """Degrees of freedom ν of V = Σ_b V_b from the matrices V_b V⁻¹, or similar ones, (p, p) each, and those of V_b.

    (p + p²) / Σ_b {[tr((V_b V⁻¹)²) + (tr V_b V⁻¹)²]/df_b} (Nel and van der Merwe 1986; Krishnamoorthy and Yu 2004, Stat
    Probab Lett 66:161). Of a single part it is that part's.
    """
    p = len(shares[0])
    used = sum((float((a * a.T).sum()) + float(np.trace(a)) ** 2) / d for a, d in zip(shares, df, strict=True))
    return (p + p**2) / used


def hotelling_p(t2: float, contrasts: int, df: float) -> float:
    """P(T² ≥ the one seen): T² (ν − p + 1)/(ν p) is F on p and ν − p + 1 degrees of freedom (Hotelling 1931).

    ``df`` ν of V: units less 1, or `satterthwaite_df`. NaN where ν < p: V has no inverse then.
    """
    free = df - contrasts + 1
    return float(stats.f.sf(t2 * free / (df * contrasts), contrasts, free)) if free > 0 else np.nan


def sign_flip(noise: NetNoise, projection: Floats) -> Tested:
    """Σ_q e_q²/(s_q s̄) under random signs of whole units, the observed ones counted.

    e = projection @ net, (quants, quants) onto the contrasts; s_q² = Σ_u e_uq², which no sign changes, and s̄ the mean
    of s. Exact for units whose residuals are symmetric about 0, and close to that for many units of any law; of a
    composite it errs towards few rejections where true contrasts of single benchmarks cancel. With U units p is not
    below 2^(1 − U).

    A quant that flips much more than the others would drown their differences unweighted; weights 1/s² in place of 1/s
    find a little more and reject up to .064 where nothing is, of few clusters of very different sums.
    """
    moment = sum(part.moment for part in noise.parts)
    spread = np.sqrt(np.maximum(np.einsum("qi,ij,jq->q", projection, moment, projection), 0.0))
    varies = spread > NEXT_TO_NOTHING * spread.max()
    weight = np.divide(1.0, spread * spread[varies].mean(), out=np.zeros_like(spread), where=varies)
    statistic = float((projection @ noise.net) ** 2 @ weight)
    drawn = (sum(part.flipped for part in noise.parts) @ projection) ** 2 @ weight
    reached = int((drawn >= statistic * (1 - TIE)).sum())
    least = 2.0 ** (1 - sum(part.telling for part in noise.parts))
    return Tested("sign-flip", statistic, (1 + reached) / (1 + len(drawn)), least)


def invertible(parts: Sequence[Part], shares: Sequence[Floats], contrasts: int) -> bool:
    """Whether V may be inverted: units that tell quants apart are many for the contrasts, and near equal in size."""
    if any(part.units.effective < EVEN * part.count for part in parts):
        return False
    telling = [max(1.0, part.telling - 1) for part in parts]
    return satterthwaite_df(shares, telling) >= UNITS_A_CONTRAST * contrasts
