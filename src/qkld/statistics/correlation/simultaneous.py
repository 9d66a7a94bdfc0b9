"""Many metrics against one score at once: p adjusted for choosing among them, and a band that holds for all together.

Of 14 variants without any relation to a score, some one passes .05 in 11 to 39 % of cohorts, the more the less alike
they are. The single-step max-T procedure (Westfall and Young 1993) takes the largest |ρ| of all variants in each
permutation, so it uses how alike they are: it holds .05 and finds more than Bonferroni, Holm or Benjamini–Hochberg.

Operations for v metrics: 2·P·n·v for all permuted ρ in one product, and v bootstraps for the band, 4·B·n² each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import paired_columns
from qkld.statistics.core.correlations_of_resamples import correlation, correlations_of_counts
from qkld.statistics.core.intervals import MOST_UNDEFINED, check_enough, fisher_z, needs_exact, z_interval, zmax_error
from qkld.statistics.core.permutation import TIE, check_exchangeable
from qkld.statistics.core.resampling import Resampling


@dataclass(frozen=True)
class MaxT:
    """Adjusted p of each metric, (metrics,), and the |ρ| that one has to reach to be significant among all."""

    p: np.ndarray
    critical: float


def _ranked(metrics: ArrayLike, scores: ArrayLike, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Checked columns as centred midranks of unit length: (n, metrics) and (n,)."""
    columns = np.asarray(metrics, dtype=float)
    if columns.ndim != 2 or columns.shape[1] != len(names) or not names:
        raise StatisticsError(
            "Metrics and their names do not match.",
            expected=f"shape (quants, {len(names)}), at least one metric",
            found=f"shape {columns.shape}",
            do="give a table of quants by metrics",
        )
    for name, column in zip(names, columns.T, strict=True):
        paired_columns(column, scores, names=(name, "score"))
    ranks = stats.rankdata(np.column_stack([columns, scores]), axis=0)
    ranks = ranks - ranks.mean(axis=0)
    ranks = ranks / np.sqrt((ranks**2).sum(axis=0))
    return ranks[:, :-1], ranks[:, -1]


def max_t(
    metrics: ArrayLike,
    scores: ArrayLike,
    *,
    resampling: Resampling,
    families: Sequence[str] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> MaxT:
    """Single-step max-T of Spearman's ρ over metrics (n, metrics) against scores (n,), two-sided.

    An adjusted p is the share of permutations, the observed arrangement counted, in which any metric's |ρ| reaches the
    observed one of this metric. With ``families`` scores change places within families only, and distances are taken
    from each metric's mean over permutations, also in ``critical``.

    Raises
    ------
    StatisticsError
        As `paired_columns` for each metric, and as `check_exchangeable`.
    """
    names = list(names or [f"metric {i}" for i in range(np.shape(metrics)[-1])])
    x, y = _ranked(metrics, scores, names)
    groups = np.zeros(len(y)) if families is None else np.asarray(families)
    for column in x.T:
        check_exchangeable(column, y, groups)
    draws = y[resampling.orders(groups)] @ x
    distance = np.abs(draws - (0.0 if families is None else draws.mean(axis=0)))
    largest = distance.max(axis=1)
    p = (largest[:, None] >= distance[-1] - TIE).mean(axis=0)
    return MaxT(p, float(np.quantile(largest, resampling.confidence, method="higher")))


def simultaneous_band(
    metrics: ArrayLike, scores: ArrayLike, *, resampling: Resampling, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Intervals of Spearman's ρ that hold for all metrics together: ``estimate``, ``low``, ``high``, one row a metric.

    A sup-t band on the z scale (Montiel Olea and Plagborg-Møller 2019, J Appl Econometrics 34:1): each interval is as
    `intervals.zmax_interval`, with the quantile of the largest standardised deviation of all metrics in bootstrap
    resamples of the quants in place of the normal one. NaN for a metric that has all quants in order.

    Raises
    ------
    StatisticsError
        As `zmax_error` and `check_enough`; or if too many resamples have a constant column.
    """
    names = list(names or [f"metric {i}" for i in range(np.shape(metrics)[-1])])
    _ranked(metrics, scores, names)
    check_enough(len(scores))
    columns, scores = np.asarray(metrics, dtype=float), np.asarray(scores, dtype=float)
    counts = resampling.counts(len(scores))
    draws = np.column_stack([correlations_of_counts(counts, x, scores, "spearman") for x in columns.T])
    defined = ~np.isnan(draws).any(axis=1)
    if (~defined).mean() > MOST_UNDEFINED:
        raise StatisticsError(
            "Too many bootstrap resamples have a constant column.",
            expected=f"at most {MOST_UNDEFINED:.0%} of resamples undefined",
            found=f"{(~defined).mean():.1%}",
            do="use quants with more distinct values",
        )
    factor = _largest_deviation(fisher_z(draws[defined], len(scores)), resampling.confidence)
    estimates = [correlation(x, scores) for x in columns.T]
    ends = [_around(rho, x, scores, factor) for rho, x in zip(estimates, columns.T, strict=True)]
    return pd.DataFrame(
        {"estimate": estimates, "low": [low for low, _ in ends], "high": [high for _, high in ends]}, index=names
    )


def _around(rho: float, metric: np.ndarray, scores: np.ndarray, factor: float) -> tuple[float, float]:
    """The band's ends for one metric; none where it has all quants in order, which has no standard error."""
    if needs_exact(rho, len(scores)):
        return np.nan, np.nan
    return z_interval(rho, len(scores), factor * zmax_error(metric, scores))


def _largest_deviation(z: np.ndarray, confidence: float) -> float:
    """Quantile of max |z* − mean|/SD over metrics, (resamples, metrics) → scalar; metrics that do not vary have 0."""
    away, spread = np.abs(z - z.mean(axis=0)), z.std(axis=0)
    standardised = np.divide(away, spread, out=np.zeros_like(away), where=spread > 0)
    return float(np.quantile(standardised.max(axis=1), confidence))
