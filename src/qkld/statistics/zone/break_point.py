"""Where scores start to bend with ln KLD: a hinge with an unknown break, and whether there is one at all.

A zone cut at the break is chosen by the scores, so it is for comparison only. Nor is a break evidence for a silent
zone: a loss that is simply linear in KLD also looks like a hinge in ln KLD, so the two are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import (
    Missing,
    checked_kld,
    complete_quants,
    joined,
    noted,
    paired_columns,
    score_column,
)
from qkld.statistics.core.resampling import Resampling
from qkld.study.registry import registered

LEAST_ON_A_SIDE = 5
"""Quants that a straight piece needs on either side of a break."""

_AT_ONCE = 2000
"""Wild resamples that are fitted at once."""


@dataclass(frozen=True)
class BreakPoint:
    """The best hinge: score = a + b·ln KLD, with another slope above ``cut``.

    ``slope_below`` and ``slope_above`` are fractions of 1 for an e-fold of KLD. ``p_break``: of one straight line in
    ln KLD. ``hinge_gain``: AICc of a score linear in KLD itself less AICc of the hinge; at 0 or below the hinge says
    nothing that a steady loss does not.
    """

    n: int
    zeros: int
    cut: float
    slope_below: float
    slope_above: float
    p_break: float
    hinge_gain: float


class _Hinges:
    """All hinges over a column x (n,): unit directions, orthogonal to a straight line, one for each candidate break."""

    def __init__(self, x: np.ndarray, least: int) -> None:
        self.line, _ = np.linalg.qr(np.column_stack([np.ones(x.size), x]))
        self.leverage = (self.line**2).sum(axis=1)
        values = np.unique(x)
        below, above = (values[:, None] >= x).sum(axis=1), (values[:, None] < x).sum(axis=1)
        self.breaks = values[(below >= least) & (above >= least)]
        if not self.breaks.size:
            raise StatisticsError(
                "Too few quants for a break point.",
                expected=f"at least {2 * least} quants with a KLD above 0, {least} on each side",
                found=f"{x.size} quants, {values.size} different KLDs",
                do="measure more quants, or fix the zone's cut beforehand",
            )
        bends = np.maximum(0, x[:, None] - self.breaks)
        bends = bends - self.line @ (self.line.T @ bends)
        self.bends = bends / np.sqrt((bends**2).sum(axis=0))

    def residuals(self, scores: np.ndarray) -> np.ndarray:
        """What a straight line leaves of rows of scores (rows, n)."""
        return scores - (scores @ self.line) @ self.line.T

    def best(self, scores: np.ndarray) -> np.ndarray:
        """Index of the break with the least residual sum of squares for each row of scores (rows, n)."""
        return ((self.residuals(scores) @ self.bends) ** 2).argmax(axis=1)

    def largest_score(self, scores: np.ndarray) -> np.ndarray:
        """The largest heteroscedasticity-robust score statistic (h'e)²/Σh²e²/(1−leverage)² over all breaks, (rows,)."""
        left = self.residuals(scores)
        variance = (left / (1 - self.leverage)) ** 2 @ self.bends**2
        squared = (left @ self.bends) ** 2
        return np.divide(squared, variance, out=np.zeros_like(squared), where=variance > 0).max(axis=1)


def break_cuts(kld: ArrayLike, scores: ArrayLike, *, least: int = LEAST_ON_A_SIDE) -> np.ndarray:
    """KLD (nats) at the best break for each row of ``scores`` (rows, n), shape (rows,); all KLD (n,) above 0."""
    x = np.log(np.asarray(kld, dtype=float))
    hinges = _Hinges(x, least)
    return np.exp(hinges.breaks[hinges.best(np.atleast_2d(np.asarray(scores, dtype=float)))])


def break_point(
    kld: ArrayLike,
    scores: ArrayLike,
    *,
    resamples: int,
    rng: np.random.Generator,
    least: int = LEAST_ON_A_SIDE,
    names: tuple[str, str] = ("KLD", "score"),
) -> BreakPoint:
    """The best hinge of scores in ln KLD and the p of none.

    The test is the largest robust score statistic over all breaks with at least ``least`` quants on either side, its
    distribution from a wild bootstrap of the straight line's residuals, e/(1 − leverage) with random signs. Comparing
    the largest F with an F distribution refuses a straight line in .16 to .47 of cohorts at a nominal .05, and the same
    wild bootstrap of the largest F in up to .09; this one in .04 to .06 (simulated, 28 and 41 quants, spread constant
    or growing up to 14-fold over the range of KLD).

    Quants with a KLD of 0 have no logarithm: they are left out and counted.

    Raises
    ------
    StatisticsError
        If a column is short, incomplete or constant, a KLD negative, or there are too few quants on either side.
    """
    kld = checked_kld(kld, name=names[0])
    kld, scores = paired_columns(kld, scores, names=names)
    zeros, above = int((kld == 0).sum()), kld > 0
    kld, scores = kld[above], scores[above]
    x = np.log(kld)
    hinges = _Hinges(x, least)
    best = int(hinges.best(scores[None])[0])
    design = np.column_stack([np.ones(x.size), x, np.maximum(0, x - hinges.breaks[best])])
    slopes = np.linalg.lstsq(design, scores, rcond=None)[0]
    loss = np.column_stack([np.ones(x.size), kld])
    return BreakPoint(
        n=x.size,
        zeros=zeros,
        cut=float(np.exp(hinges.breaks[best])),
        slope_below=float(slopes[1]),
        slope_above=float(slopes[1] + slopes[2]),
        p_break=_wild_p(hinges, scores, resamples, rng),
        hinge_gain=_aicc(scores, loss, 3) - _aicc(scores, design, 5),
    )


def _wild_p(hinges: _Hinges, scores: np.ndarray, resamples: int, rng: np.random.Generator) -> float:
    left = hinges.residuals(scores[None])[0]
    fitted, scaled = scores - left, left / (1 - hinges.leverage)
    observed = hinges.largest_score(scores[None])[0]
    reached = 0
    for start in range(0, resamples, _AT_ONCE):
        signs = rng.choice([-1.0, 1.0], size=(min(_AT_ONCE, resamples - start), scores.size))
        reached += int((hinges.largest_score(fitted + scaled * signs) >= observed * (1 - 1e-12)).sum())
    return (1 + reached) / (1 + resamples)


def _aicc(scores: np.ndarray, design: np.ndarray, parameters: int) -> float:
    """Akaike's criterion corrected for few quants, of a least-squares fit; the variance is one of ``parameters``."""
    n = scores.size
    if n <= parameters + 1:
        return np.nan
    left = scores - design @ np.linalg.lstsq(design, scores, rcond=None)[0]
    return float(n * np.log((left @ left) / n) + 2 * parameters * n / (n - parameters - 1))


def break_table(
    cohort: pd.DataFrame,
    benchmarks: Sequence[str],
    *,
    resampling: Resampling,
    metric: str = "kl_mean",
    least: int = LEAST_ON_A_SIDE,
    missing: Missing = "refuse",
) -> pd.DataFrame:
    """The break of each benchmark's score with a KLD: ``metric``, ``benchmark``, `BreakPoint`'s columns and ``note``.

    Raises
    ------
    StatisticsError
        As `complete_quants`.
    """
    table, rows = registered("zone_break"), []
    for benchmark in benchmarks:
        score = score_column(benchmark)
        quants, left_out = complete_quants(cohort, [metric, score], missing=missing)
        columns = (quants[metric], quants[score])
        settings = {"resamples": resampling.resamples, "least": least, "names": (metric, score)}
        row = noted(lambda c=columns, s=settings: _point(c, s, resampling), table.empty() | {"n": len(quants)})
        steady = "a loss linear in KLD fits as well as the break" if row["hinge_gain"] <= 0 else ""
        rows.append({"metric": metric, "benchmark": benchmark, **row, "note": joined(left_out, row["note"], steady)})
    return table.frame(rows)


def _point(columns: tuple[pd.Series, pd.Series], settings: dict, resampling: Resampling) -> dict[str, Any]:
    return asdict(break_point(*columns, rng=resampling.rng("break"), **settings))
