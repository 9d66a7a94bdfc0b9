"""Intervals of a correlation over quants: percentile (the paper's), BCa, on the z scale, and exact for few quants.

The interval of arXiv:2606.19558 is the percentile bootstrap over quants, B = 10,000. `zmax_interval` is the headline
where quants are exchangeable; where a claim is about other items too, `qkld.statistics.correlation.twoway` is.
Resampling quants needs some: below `LEAST_FOR_INTERVAL`, and where all quants are in order, there is the exact interval
alone.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import LEAST_QUANTS, paired_columns
from qkld.statistics.core.correlations_of_resamples import (
    Method,
    correlation,
    correlation_columns,
    correlations_of_counts,
    resample_counts,
)

MOST_UNDEFINED = 0.05
"""Share of resamples with a constant column above which no bootstrap interval is given."""

LEAST_FOR_INTERVAL = 8
"""Quants from which the coverage of intervals that resample quants was simulated; at 5 they hold a ρ of .9 in .73."""

IN_ORDER = 1e-9
"""Distance of |ρ| from 1 at which all quants are in order but for rounding."""

_EXACT_DRAWS = 10_000
"""Simulated cohorts of an exact interval's end; at a tail of .025 their error is .0016."""

_FARTHEST_Z = 9.0
"""z of normal columns beyond which no end is looked for: 1 − ρ is 3e-8 there."""


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


def bootstrap_ends(
    draws: np.ndarray, confidence: float, quants: int, names: tuple[str, str] = ("low", "high")
) -> dict[str, float | str]:
    """`percentile_interval` of draws that resample so many quants, by name; `few_quants_note` instead of too few's.

    Raises
    ------
    StatisticsError
        As `percentile_interval`.
    """
    few = few_quants_note(quants)
    return {"note": few} if few else dict(zip(names, percentile_interval(draws, confidence), strict=True))


def few_quants_note(quants: int) -> str:
    """Why a row has no interval that resamples quants; empty from `LEAST_FOR_INTERVAL` on."""
    few = quants < LEAST_FOR_INTERVAL
    return f"{quants} quants: intervals that resample quants are calibrated from {LEAST_FOR_INTERVAL}" if few else ""


def check_enough(quants: int) -> None:
    """Refuse an interval that resamples fewer than `LEAST_FOR_INTERVAL` quants.

    Raises
    ------
    StatisticsError
        With the number there is.
    """
    if quants < LEAST_FOR_INTERVAL:
        raise StatisticsError(
            "Too few quants for a bootstrap interval.",
            expected=f"at least {LEAST_FOR_INTERVAL} quants, from which its coverage was simulated",
            found=quants,
            do="use the exact interval, or measure more quants",
        )


def defined_draws(draws: np.ndarray) -> np.ndarray:
    """The draws that are numbers; refused where more than `MOST_UNDEFINED` of them are not."""
    undefined = np.isnan(draws)
    if undefined.mean() > MOST_UNDEFINED:
        raise StatisticsError(
            "Too many bootstrap resamples have a constant column.",
            expected=f"at most {MOST_UNDEFINED:.0%} of resamples undefined",
            found=f"{undefined.mean():.1%}",
            do="use quants with more distinct values",
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
            "The jackknife leaves a constant column.",
            expected="at least 2 distinct values after leaving out any quant",
            found="one quant differs from all others",
            do="use quants with more distinct values",
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
            "The BCa interval is not defined.",
            expected="draws on both sides of the estimate, and a jackknife that varies",
            found=f"{middle:.0%} of draws below {estimate:g}, jackknife range {np.ptp(jackknife):g}",
            do="use the interval on the z scale",
        )
    bias, acceleration = stats.norm.ppf(middle), (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(draws, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


# --- z scale ----------------------------------------------------------------------------------------------------------


def fisher_z(rho: ArrayLike, n: int) -> np.ndarray:
    """atanh ρ of n quants, |ρ| held a quarter of the step 12/(n(n² − 1)) between attainable values below 1.

    A correction for continuity: in order, n quants show |ρ| = 1 at every ρ near it. No interval is made of an estimate
    that it holds; resamples and jackknife values among others may be held.
    """
    most = 1 - 3 / (n * (n**2 - 1))
    return np.arctanh(np.clip(rho, -most, most))


def bonett_wright_error(rho: float, n: int) -> float:
    """Standard error of atanh ρ of Spearman (Bonett and Wright 2000): √((1 + ρ²/2)/(n − 3))."""
    return float(np.sqrt((1 + rho**2 / 2) / (n - 3)))


def jackknife_error(x: ArrayLike, y: ArrayLike) -> float:
    """Jackknife standard error of atanh ρ of Spearman; refusals as `jackknife_correlations`."""
    values = jackknife_correlations(x, y)
    z = fisher_z(values, values.size - 1)
    return float(np.sqrt((z.size - 1) / z.size * ((z - z.mean()) ** 2).sum()))


def zmax_error(x: ArrayLike, y: ArrayLike) -> float:
    """The larger of Bonett–Wright's and the jackknife's standard error of atanh ρ of Spearman."""
    rho = correlation(x, y)
    return max(bonett_wright_error(rho, np.size(x)), jackknife_error(x, y))


def z_interval(rho: float, n: int, half_width: float) -> tuple[float, float]:
    """tanh(atanh ρ ± half_width) of n quants that are not all in order."""
    low, high = np.tanh(fisher_z(rho, n) + np.array([-half_width, half_width]))
    return float(low), float(high)


def zmax_interval(x: ArrayLike, y: ArrayLike, confidence: float) -> tuple[float, float]:
    """Interval of Spearman's ρ on the z scale with the larger of Bonett–Wright's and the jackknife's standard error.

    Its coverage holds where the cohort is curved and heteroscedastic, which Bonett–Wright alone loses. Not the paper's.
    `exact_interval` where `needs_exact` says so.
    """
    rho, n = correlation(x, y), np.size(x)
    if needs_exact(rho, n):
        return exact_interval(rho, n, confidence, ranks=(_ascending(x), _ascending(y)))
    return z_interval(rho, n, stats.norm.ppf(0.5 + confidence / 2) * zmax_error(x, y))


# --- few quants, or all in order --------------------------------------------------------------------------------------


def needs_exact(rho: float, n: int) -> bool:
    """Whether there are too few quants for any other interval, or all of them are in order."""
    return n < LEAST_FOR_INTERVAL or abs(rho) > 1 - IN_ORDER


Ranks = tuple[float, ...]
"""Midranks of a column in ascending order: 1, 2, 3, … but for ties."""


def _ascending(column: ArrayLike) -> Ranks:
    return tuple(np.sort(stats.rankdata(column)).tolist())


def exact_interval(
    rho: float, n: int, confidence: float, *, ranks: tuple[Ranks, Ranks] | None = None
) -> tuple[float, float]:
    """Interval of ρ from Spearman's ``rho`` of n quants, exact where columns are normal together after some monotone
    transform of each.

    Its ends are the ρ at which so much as was seen, or more, has probability (1 − confidence)/2 on that side (as of
    Clopper and Pearson 1934), the distribution simulated with the ties that ``ranks`` of both columns have, without any
    by default. It holds more often than stated, as few quants show few values of ρ. Of quants that are all in order it
    has one end, the other is 1.
    """
    seen, tail = round(float(rho), 9), round((1 - confidence) / 2, 9)
    of_x, of_y = ranks or (_ascending(np.arange(n)),) * 2
    mirrored = tuple(n + 1 - rank for rank in reversed(of_y))
    return _exact_low(seen, of_x, of_y, tail), -_exact_low(-seen, of_x, mirrored, tail)


@lru_cache(maxsize=1024)
def _exact_low(seen: float, of_x: Ranks, of_y: Ranks, tail: float) -> float:
    """ρ at which P(estimate ≥ seen) = tail; −1 where that is larger at every ρ."""
    n, rng = len(of_x), np.random.default_rng(len(of_x))
    x, own = np.sort(rng.standard_normal((_EXACT_DRAWS, n)), axis=1), rng.standard_normal((_EXACT_DRAWS, n))
    first, second = (np.array(ranks) - (n + 1) / 2 for ranks in (of_x, of_y))
    length = np.sqrt((first @ first) * (second @ second))

    def beyond(z: float) -> float:
        places = np.argsort(np.argsort(np.tanh(z) * x + own / np.cosh(z), axis=1), axis=1)
        return float((second[places] @ first / length >= seen - IN_ORDER).mean()) - tail

    if beyond(-_FARTHEST_Z) > 0:
        return -1.0
    z = optimize.bisect(beyond, -_FARTHEST_Z, _FARTHEST_Z, xtol=1e-4)
    return float(6 / np.pi * np.arcsin(np.tanh(z) / 2))
