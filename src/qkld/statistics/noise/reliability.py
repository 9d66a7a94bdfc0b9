"""Reliability: how much of the spread of scores between quants is not item noise.

A correlation with scores of reliability α is bounded: not even a perfect predictor of the true scores is expected to
show more than √α.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import NetNoise

LEAST_QUANTS = 3
"""Quants that a reliability needs."""

ESTIMABLE_FROM = 0.3
"""Lower end of the reliability's interval above which a correlation is corrected for noise."""


@dataclass(frozen=True)
class MeanSquares:
    """Two-way analysis of variance quants × items without replication: mean squares and their degrees of freedom."""

    quants: float
    residual: float
    df_quants: float
    df_residual: float


@dataclass(frozen=True)
class Reliability:
    """Reliability of scores over quants with Feldt's interval and the F test of its being 0.

    ``estimate`` = 1 − 1/F is below 0 where quants differ less than their noise would make them.
    """

    estimate: float
    low: float
    high: float
    f: float
    p: float


def noise_mean_squares(noise: NetNoise) -> MeanSquares:
    """Mean squares from net scores and their item noise, so that they serve composites and clustered items too.

    Residual mean square: tr(CV)/(n − 1), the noise variance of the mean contrast (C centres); of quants: d'Cd/(n − 1).
    For one benchmark of single items both are exactly Hoyt's (1941) of the N answers of each quant, / N.
    """
    n = len(noise.labels)
    if n < LEAST_QUANTS:
        raise _too_few(n)
    residual = float(np.trace(noise.covariance) - noise.covariance.sum() / n) / (n - 1)
    return MeanSquares(float(noise.net.var(ddof=1)), residual, n - 1, (n - 1) * (noise.units - 1))


def reliability(squares: MeanSquares, confidence: float) -> Reliability:
    """α = 1 − MS_residual/MS_quants (KR-20 in Hoyt's form) with Feldt's (1965) interval.

    Of one benchmark it is KR-20, equal to Cronbach's α of pingouin; of a composite the stratified α.
    1 − (1 − α) F with quantiles of F on (n − 1, (n − 1)(N − 1)) degrees of freedom.

    Raises
    ------
    StatisticsError
        If all quants have the same score and no item tells them apart.
    """
    if squares.quants <= 0:
        raise StatisticsError(
            "The reliability of constant scores is not defined.",
            expected="at least 2 distinct scores",
            found="the same score for every quant",
            do="use more items or other quants",
        )
    f = squares.quants / squares.residual if squares.residual > 0 else np.inf
    law = stats.f(squares.df_quants, squares.df_residual)
    tail = (1 - confidence) / 2
    low, high = (1 - law.ppf(q) / f for q in (1 - tail, tail))
    return Reliability(1 - 1 / f, float(low), float(high), f, float(law.sf(f)))


def attainable(alpha: float) -> float:
    """Largest |correlation| that a perfect predictor of the true scores is expected to show: √α, and 0 for α ≤ 0."""
    return float(np.sqrt(max(0.0, alpha)))


def spearman_brown(alpha: float, factor: float) -> float:
    """Reliability with ``factor`` times as many items of the same kind (Spearman 1910, Brown 1910)."""
    return factor * alpha / (1 + (factor - 1) * alpha)


def items_for_reliability(items: int, alpha: float, wanted: float) -> float:
    """Items of the same kind that give reliability ``wanted``, by Spearman–Brown; NaN where α ≤ 0, as none is known."""
    if not 0 < alpha < 1:
        return np.nan if alpha <= 0 else 1.0
    return float(np.ceil(items * wanted * (1 - alpha) / (alpha * (1 - wanted))))


def disattenuated(rho: float, alpha: Reliability, metric_reliability: float = 1.0) -> float:
    """A correlation corrected for the scores' noise (Spearman 1904): ρ/√(α · reliability of the metric), within ±1.

    Raises
    ------
    StatisticsError
        If α's interval reaches down to `ESTIMABLE_FROM`: the corrected value would be anything then.
    """
    if not alpha.low > ESTIMABLE_FROM:
        raise StatisticsError(
            "The correlation without noise is not estimable.",
            expected=f"a reliability whose interval lies above {ESTIMABLE_FROM:g}",
            found=f"{alpha.estimate:.2f} [{alpha.low:.2f}, {alpha.high:.2f}]",
            do="use more items",
        )
    return float(np.clip(rho / np.sqrt(alpha.estimate * metric_reliability), -1, 1))


def _too_few(quants: int) -> StatisticsError:
    return StatisticsError(
        "Too few quants or items for a reliability.",
        expected=f"at least {LEAST_QUANTS} quants and 2 items",
        found=f"{quants} quants",
        do="measure more quants, or widen the subset",
    )
