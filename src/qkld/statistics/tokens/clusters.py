"""Estimates whose observations come in clusters: tokens of one document or window share context.

Every mean has two intervals: a t interval with the cluster-robust standard error CR1, and the percentile interval of a
cluster bootstrap. A quantile has the second only. Below `FEW_CLUSTERS` clusters both tend to be too short, the
bootstrap more so (its spread lacks CR1's factor √(G/(G−1)) and t's wider tails).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qkld.errors import StatisticsError

Floats = NDArray[np.float64]

FEW_CLUSTERS = 40
"""Clusters below which an interval is marked. Cameron & Miller (2015, section VI) let "few" begin between 20 and 50."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its intervals; ends are NaN where clusters are too few to give one.

    ``low`` and ``high`` are those of CR1 for a mean and of the bootstrap for a quantile; ``bootstrap_low`` and
    ``bootstrap_high`` are the bootstrap's for both.
    """

    estimate: float
    low: float = np.nan
    high: float = np.nan
    bootstrap_low: float = np.nan
    bootstrap_high: float = np.nan

    def mapped(self, rising: Callable[[float], float]) -> Interval:
        """A rising function of the estimate and of every end."""
        return Interval(*(float(rising(getattr(self, f.name))) for f in fields(self)))

    def absolute(self) -> Interval:
        """|estimate| with the values that the intervals' magnitudes cover: from 0 where one holds 0."""
        ends = _magnitudes(self.low, self.high), _magnitudes(self.bootstrap_low, self.bootstrap_high)
        return Interval(abs(self.estimate), *ends[0], *ends[1])


def _magnitudes(low: float, high: float) -> tuple[float, float]:
    if np.isnan(low) or np.isnan(high):
        return np.nan, np.nan
    ends = sorted((abs(low), abs(high)))
    return (0.0 if low <= 0.0 <= high else ends[0]), ends[1]


def few_clusters_note(clusters: int) -> str:
    """What a table says of intervals that rest on this many clusters; empty from `FEW_CLUSTERS` on."""
    if clusters < 2:
        return "one cluster: no interval"
    return "" if clusters >= FEW_CLUSTERS else f"{clusters} clusters: intervals are rough below {FEW_CLUSTERS}"


def cluster_index(clusters: NDArray) -> NDArray[np.int64]:
    """Cluster labels of any kind as 0 … G − 1, shape (n,)."""
    return np.unique(np.asarray(clusters), return_inverse=True)[1].reshape(-1)


def cr1_error(values: Floats, index: NDArray[np.int64]) -> float:
    """Standard error CR1 of a mean; NaN for one cluster.

    G/(G−1) · Σ_g (Σ_{i∈g} (x_i − x̄))² / n², rooted: Liang & Zeger (1986) for an intercept, equal to statsmodels' OLS
    with ``cov_type='cluster'``.
    """
    sums = np.bincount(index, weights=values - values.mean())
    groups = len(sums)
    if groups < 2:
        return np.nan
    return float(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / len(values))


def clustered_mean(values: Floats, clusters: NDArray, confidence: float) -> Interval:
    """Mean with the interval of CR1 and t on G − 1 degrees of freedom.

    Raises
    ------
    StatisticsError
        If there is no value, or one is not finite.
    """
    _check(values)
    mean, index = float(values.mean()), cluster_index(clusters)
    groups = int(index.max()) + 1
    if groups < 2:
        return Interval(mean)
    reach = float(special.stdtrit(groups - 1, 0.5 + confidence / 2)) * cr1_error(values, index)
    return Interval(mean, mean - reach, mean + reach)


class ClusterBootstrap:
    """Resamples of whole clusters, drawn once, so that every statistic of a table rests on the same ones.

    Parameters
    ----------
    clusters : array, shape (n,)
        What shares context, one label an observation.
    confidence : float
        Of every interval.
    bootstrap : int
        Resamples; each draws G clusters of G with replacement.
    rng : np.random.Generator
        The only source of randomness.
    """

    def __init__(self, clusters: NDArray, confidence: float, *, bootstrap: int, rng: np.random.Generator) -> None:
        self.confidence, self.index = confidence, cluster_index(clusters)
        self.groups = int(self.index.max()) + 1 if len(self.index) else 0
        self.sizes = np.bincount(self.index, minlength=self.groups)
        drawn = bootstrap if self.groups > 1 else 0
        self.counts = np.empty((drawn, self.groups), dtype=np.uint16 if self.groups < 2**16 else np.uint32)
        for b in range(drawn):
            self.counts[b] = np.bincount(rng.integers(self.groups, size=self.groups), minlength=self.groups)
        self.totals = self.counts @ self.sizes

    def mean(self, values: Floats) -> Interval:
        """Mean with both intervals; a resample's mean is over its tokens, so large clusters weigh more."""
        whole = clustered_mean(values, self.index, self.confidence)
        if self.groups < 2:
            return whole
        sums = np.bincount(self.index, weights=values, minlength=self.groups)
        draws = (self.counts @ sums) / self.totals
        return Interval(whole.estimate, whole.low, whole.high, *self._ends(draws))

    def quantiles(self, values: Floats, probabilities: tuple[float, ...]) -> list[Interval]:
        """Quantiles, linear between order statistics (numpy's default), with percentile intervals.

        A resample's quantile is that of its tokens laid end to end, by the same definition.
        """
        _check(values)
        estimates = np.quantile(values, probabilities)
        if self.groups < 2:
            return [Interval(float(e)) for e in estimates]
        order = np.argsort(values, kind="stable")
        ordered, members = values[order], self.index[order]
        draws = np.empty((len(self.counts), len(probabilities)))
        for b, counts in enumerate(self.counts):
            cumulated = np.cumsum(counts[members], dtype=np.int64)
            draws[b] = _quantiles_of_repeated(ordered, cumulated, np.asarray(probabilities))
        ends = [self._ends(column) for column in draws.T]
        return [Interval(float(e), *both, *both) for e, both in zip(estimates, ends, strict=True)]

    def _ends(self, draws: Floats) -> tuple[float, float]:
        """Percentile interval (Efron 1979) of a statistic's resampled values, shape (bootstrap,)."""
        low, high = np.quantile(draws, [0.5 - self.confidence / 2, 0.5 + self.confidence / 2])
        return float(low), float(high)


def _quantiles_of_repeated(ordered: Floats, cumulated: NDArray[np.int64], probabilities: Floats) -> Floats:
    """Quantiles of rising values that each stand as often as ``cumulated`` grows there; they are not written out."""
    rank = probabilities * (cumulated[-1] - 1)
    below = np.floor(rank).astype(np.int64)
    above = np.minimum(below + 1, cumulated[-1] - 1)
    low, high = (ordered[np.searchsorted(cumulated, place, side="right")] for place in (below, above))
    return low + (rank - below) * (high - low)


def _check(values: Floats) -> None:
    if len(values) == 0 or not np.isfinite(values).all():
        raise StatisticsError(
            "A mean or quantile needs finite values.",
            expected="at least one value, all finite",
            found=f"{len(values)} values, {int((~np.isfinite(values)).sum())} not finite",
            do="leave out the non-finite tokens first; if all are non-finite, the model does not run in this dtype",
        )
