"""Score noise without item-level data: what the number of items alone says, and what it can not say.

A score p on N items has standard error √(p(1−p)/N), that is known. Two quants share their items, so the error of
their difference is smaller by an amount that only the items can tell: Var(p_a − p_b) = (v_a + v_b)(1 − r), r the
correlation of right and wrong answers between quants over items. Everything about differences is therefore a range
over r.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError, explain
from qkld.statistics.checks import noted, quants_of, score_column
from qkld.statistics.covariance import Floats
from qkld.statistics.reliability import LEAST_QUANTS, attainable

SHARED_LEAST = 0.0
"""r of quants that share nothing: the most noise a difference can have."""

SHARED_MOST = 0.95
"""r of near-baseline quants: a flip rate of 2 % between two quants that are right on 72 % of the items."""

NEEDS_ITEMS = (
    "needs item-level answers: volume, direction, equivalence with the reference, reliability as a number, "
    "heterogeneity beyond noise, the zone's edge, and the verdict"
)
"""What can not be said from a cohort table, with or without the number of items."""


def binomial_variance(scores: ArrayLike, items: int) -> Floats:
    """Variance of each score (a fraction of 1) over draws of other items: p(1−p)/N.

    Raises
    ------
    StatisticsError
        If a score is not within 0 and 1, or there is no item.
    """
    p = np.asarray(scores, dtype=float)
    if items < 1 or not ((p >= 0) & (p <= 1)).all():
        raise StatisticsError(
            explain(
                "Score noise needs scores and a number of items.",
                expected="scores within 0 and 1, and at least 1 item",
                found=f"{items} items, {int((~((p >= 0) & (p <= 1))).sum())} of {p.size} scores outside",
                do="give scores as fractions or percent, and --n-items as BENCHMARK=NUMBER",
            )
        )
    return p * (1 - p) / items


def correlation_from_flips(flip_rate: float, score: float) -> float:
    """Correlation r of answers of two quants with one score, from their flip rate: 1 − f/(2p(1−p))."""
    return 1 - flip_rate / (2 * score * (1 - score))


@dataclass(frozen=True)
class ReliabilityRange:
    """Reliability at both ends of the range of r; below 0 counts as 0. ``least``: answers that share nothing."""

    least: float
    most: float

    @property
    def attainable(self) -> tuple[float, float]:
        """Largest |ρ| that a perfect predictor is expected to show, at both ends."""
        return attainable(self.least), attainable(self.most)


def reliability_range(
    scores: ArrayLike, variances: ArrayLike, *, shared: tuple[float, float] = (SHARED_LEAST, SHARED_MOST)
) -> ReliabilityRange:
    """α = 1 − (1−r)·mean variance / variance of scores over quants, at r = ``shared``, not below 0.

    Raises
    ------
    StatisticsError
        With too few quants, or constant scores.
    """
    p, v = np.asarray(scores, dtype=float), np.asarray(variances, dtype=float)
    if p.size < LEAST_QUANTS or np.ptp(p) == 0:
        raise StatisticsError(
            explain(
                "The scores have no reliability.",
                expected=f"at least {LEAST_QUANTS} quants and 2 distinct scores",
                found=f"{p.size} quants, {np.unique(p).size} distinct scores",
                do="measure more quants, or use a benchmark that tells them apart",
            )
        )
    alphas = [max(0.0, float(1 - (1 - r) * v.mean() / p.var(ddof=1))) for r in shared]
    return ReliabilityRange(*alphas)


def counts_noise_table(
    cohort: pd.DataFrame,
    members: pd.Series,
    benchmarks: Sequence[str],
    n_items: Mapping[str, int],
    *,
    shared: tuple[float, float] = (SHARED_LEAST, SHARED_MOST),
) -> pd.DataFrame:
    """What the numbers of items say about each score, full cohort and zone: standard error and attainable |ρ| range.

    The composite is the unweighted mean of the benchmarks in ``n_items`` and is given where all of them have a number.
    Columns: ``benchmark``, ``subset``, ``n``, ``items``, ``mean_se``, ``attainable_low``, ``attainable_high``,
    ``note``.
    """
    rows = []
    parts = [b for b in benchmarks if b != "composite"]
    for benchmark in benchmarks:
        own = parts if benchmark == "composite" else [benchmark]
        for subset, table in (("full", quants_of(cohort)), ("zone", quants_of(cohort[members]))):
            key = {"benchmark": benchmark, "subset": subset, "n": len(table)}
            empty = {"items": np.nan, "mean_se": np.nan, "attainable_low": np.nan, "attainable_high": np.nan}
            rows.append({**key, **noted(lambda t=table, o=own: _counts_row(t, o, n_items, shared), empty)})
    return pd.DataFrame(rows)


def _counts_row(
    table: pd.DataFrame, benchmarks: Sequence[str], n_items: Mapping[str, int], shared: tuple[float, float]
) -> dict[str, float]:
    missing = [b for b in benchmarks if b not in n_items]
    if missing:
        raise StatisticsError(
            explain(
                "The number of items is not known.",
                expected=f"a number for {', '.join(benchmarks)}",
                found=f"none for {', '.join(missing)}",
                do="give --n-items",
            )
        )
    scores = np.stack([table[score_column(b)].to_numpy(float) for b in benchmarks])
    parts = [binomial_variance(row, n_items[b]) for row, b in zip(scores, benchmarks, strict=True)]
    variances = np.sum(parts, axis=0) / len(benchmarks) ** 2
    row = {"items": sum(n_items[b] for b in benchmarks), "mean_se": float(np.sqrt(variances.mean()))}
    low, high = reliability_range(scores.mean(axis=0), variances, shared=shared).attainable
    return {**row, "attainable_low": low, "attainable_high": high}
