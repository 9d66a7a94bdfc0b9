"""Intervals of a correlation over quants: percentile (the paper's), BCa, and on the z scale.

The interval of arXiv:2606.19558 is the percentile bootstrap over quants, B = 10,000. `zmax_interval` is the headline
where quants are exchangeable; where a claim is about other items too, `qkld.statistics.twoway` is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from qkld.errors import StatisticsError, explain
from qkld.statistics.checks import LEAST_QUANTS, paired_columns
from qkld.statistics.estimates import (
    Method,
    correlation,
    correlation_columns,
    correlations_of_counts,
    resample_counts,
)

MOST_UNDEFINED = 0.05
"""Share of resamples with a constant column above which no bootstrap interval is given."""

_NEAR_ONE = 0.9999
"""|ρ| is held at this on the z scale, where 1 is infinite."""


# --- bootstrap over quants --------------------------------------------------------------------------------------------


def bootstrap_correlations(
    x: ArrayLike, y: ArrayLike, *, resamples: int, rng: np.random.Generator, method: Method = "spearman"
) -> np.ndarray:
    """The correlation in resamples of whole quants, re-ranked in each; NaN where a resample has a constant column."""
    x, y = correlation_columns(x, y, method)
    return correlations_of_counts(resample_counts(x.size, resamples, rng=rng), x, y, method)


def percentile_interval(draws: np.ndarray, confidence: float) -> tuple[float, float]:
    """The percentile interval of bootstrap draws.

    Undefined draws are left out. arXiv:2606.19558 does not say what it does with them.

    Raises
    ------
    StatisticsError
        If more than `MOST_UNDEFINED` of the draws are undefined.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined_draws(draws), [tail, 1 - tail])
    return float(low), float(high)


def defined_draws(draws: np.ndarray) -> np.ndarray:
    """The draws that are numbers; refused where more than `MOST_UNDEFINED` of them are not."""
    undefined = np.isnan(draws)
    if undefined.mean() > MOST_UNDEFINED:
        raise StatisticsError(
            explain(
                "Too many bootstrap resamples have a constant column.",
                expected=f"at most {MOST_UNDEFINED:.0%} of resamples undefined",
                found=f"{undefined.mean():.1%}",
                do="use quants with more distinct values",
            )
        )
    return draws[~undefined]


def jackknife_correlations(x: ArrayLike, y: ArrayLike, method: Method = "spearman") -> np.ndarray:
    """The correlation with each quant left out once, the rest ranked anew, shape (n,).

    Raises
    ------
    StatisticsError
        If there are too few quants for that, or the rest is constant without one of them.
    """
    x, y = paired_columns(x, y, least=LEAST_QUANTS + 1)
    x, y = correlation_columns(x, y, method)
    values = correlations_of_counts(1 - np.eye(x.size), x, y, method)
    if np.isnan(values).any():
        raise StatisticsError(
            explain(
                "The jackknife leaves a constant column.",
                expected="at least 2 distinct values whichever quant is left out",
                found="one quant differs from all others",
                do="use quants with more distinct values",
            )
        )
    return values


def bca_interval(estimate: float, draws: np.ndarray, jackknife: np.ndarray, confidence: float) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (Efron 1987, eq. 6.8); `scipy.stats.bootstrap` gives the same.

    ``draws`` are the bootstrap's (resamples,), undefined ones left out; ``jackknife`` (n,) as `jackknife_correlations`.

    Raises
    ------
    StatisticsError
        If too many draws are undefined, the jackknife does not vary, or all draws lie on one side of the estimate.
    """
    draws = defined_draws(draws)
    away = jackknife.mean() - jackknife
    middle = ((draws < estimate).mean() + (draws <= estimate).mean()) / 2
    if not np.ptp(jackknife) or not 0 < middle < 1:
        raise StatisticsError(
            explain(
                "The BCa interval is not defined.",
                expected="draws on both sides of the estimate, and a jackknife that varies",
                found=f"{middle:.0%} of draws below {estimate:g}, jackknife range {np.ptp(jackknife):g}",
                do="use the interval on the z scale",
            )
        )
    bias, acceleration = stats.norm.ppf(middle), (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(draws, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


# --- z scale ----------------------------------------------------------------------------------------------------------


def fisher_z(rho: ArrayLike) -> np.ndarray:
    """atanh ρ, with |ρ| held at 0.9999."""
    return np.arctanh(np.clip(rho, -_NEAR_ONE, _NEAR_ONE))


def bonett_wright_error(rho: float, n: int) -> float:
    """Standard error of atanh ρ of Spearman (Bonett and Wright 2000): √((1 + ρ²/2)/(n − 3))."""
    return float(np.sqrt((1 + rho**2 / 2) / (n - 3)))


def jackknife_error(x: ArrayLike, y: ArrayLike) -> float:
    """Jackknife standard error of atanh ρ of Spearman; refusals as `jackknife_correlations`."""
    z = fisher_z(jackknife_correlations(x, y))
    return float(np.sqrt((z.size - 1) / z.size * ((z - z.mean()) ** 2).sum()))


def zmax_error(x: ArrayLike, y: ArrayLike) -> float:
    """The larger of Bonett–Wright's and the jackknife's standard error of atanh ρ of Spearman."""
    rho = correlation(x, y)
    return max(bonett_wright_error(rho, np.size(x)), jackknife_error(x, y))


def z_interval(rho: float, half_width: float) -> tuple[float, float]:
    """tanh(atanh ρ ± half_width); an end beyond |ρ| = 0.9999 is 1, which atanh can not hold."""
    low, high = np.tanh(fisher_z(rho) + np.array([-half_width, half_width]))
    return (-1.0 if rho <= -_NEAR_ONE else float(low)), (1.0 if rho >= _NEAR_ONE else float(high))


def zmax_interval(x: ArrayLike, y: ArrayLike, confidence: float) -> tuple[float, float]:
    """Interval of Spearman's ρ on the z scale with the larger of Bonett–Wright's and the jackknife's standard error.

    Its coverage holds where the cohort is curved and heteroscedastic, which Bonett–Wright alone loses. Not the paper's.
    """
    half = stats.norm.ppf(0.5 + confidence / 2) * zmax_error(x, y)
    return z_interval(correlation(x, y), half)
