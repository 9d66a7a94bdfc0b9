"""Estimates whose observations come in clusters: tokens of one document or window share context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from qkld.errors import StatisticsError, explain

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its interval; the ends are NaN where clusters are too few to give one."""

    estimate: float
    low: float
    high: float


def clustered_mean(values: Floats, clusters: NDArray[np.int64], confidence: float) -> Interval:
    """Mean with a cluster-robust interval.

    Standard error CR1 of Liang & Zeger (1986) for an intercept: G/(G−1) · Σ_g (Σ_{i∈g} (x_i − x̄))² / n², with t on
    G − 1 degrees of freedom; equal to statsmodels' OLS with ``cov_type='cluster'``.

    Raises
    ------
    StatisticsError
        If there is no value, or one is not finite.
    """
    _check(values)
    mean = float(values.mean())
    _, index = np.unique(clusters, return_inverse=True)
    sums = np.bincount(index, weights=values - mean)
    groups = len(sums)
    if groups < 2:
        return Interval(mean, np.nan, np.nan)
    error = np.sqrt(groups / (groups - 1) * (sums**2).sum()) / len(values)
    reach = float(stats.t.ppf(0.5 + confidence / 2, groups - 1) * error)
    return Interval(mean, mean - reach, mean + reach)


def clustered_quantiles(
    values: Floats,
    clusters: NDArray[np.int64],
    probabilities: tuple[float, ...],
    confidence: float,
    *,
    bootstrap: int,
    rng: np.random.Generator,
) -> list[Interval]:
    """Quantiles (linear between order statistics) with percentile intervals from resampled clusters.

    A resample's quantile is the smallest value whose cumulated weight reaches the probability.
    """
    _check(values)
    estimates = np.quantile(values, probabilities)
    _, index = np.unique(clusters, return_inverse=True)
    groups = int(index.max()) + 1
    if groups < 2:
        return [Interval(float(e), np.nan, np.nan) for e in estimates]
    order = np.argsort(values, kind="stable")
    ordered, members = values[order], index[order]
    draws = np.empty((bootstrap, len(probabilities)))
    for b in range(bootstrap):
        counts = np.bincount(rng.integers(groups, size=groups), minlength=groups)
        cumulated = np.cumsum(counts[members])
        draws[b] = ordered[np.searchsorted(cumulated, np.asarray(probabilities) * cumulated[-1])]
    tails = np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2], axis=0)
    return [Interval(float(e), float(a), float(z)) for e, a, z in zip(estimates, *tails, strict=True)]


def _check(values: Floats) -> None:
    if len(values) == 0 or not np.isfinite(values).all():
        raise StatisticsError(
            explain(
                "A mean or quantile needs finite values.",
                expected="at least one value, all finite",
                found=f"{len(values)} values, {int((~np.isfinite(values)).sum())} not finite",
                do="count and leave out the non-finite tokens first; if all are, the model does not run in this dtype",
            )
        )
