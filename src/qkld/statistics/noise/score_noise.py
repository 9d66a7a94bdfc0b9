"""What a table of scores alone says about their noise, once the number of items behind each score is known.

Scores of quants share their items, and how much noise they share is in the items only. From the scores themselves it
can be bounded: two scores p and q of N items differ on at least |p − q| N of them, and quants of one model do not
answer more differently than independently. So there is a range where items would give a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import noted, quants_of, score_column
from qkld.statistics.noise.reliability import attainable
from qkld.study.registry import registered

LEAST_QUANTS = 2
"""Quants that a variance between quants needs."""


def noise_bounds(scores: ArrayLike, items: int) -> tuple[float, float]:
    """Least and largest noise variance between quants' scores (quants,) on one benchmark, squared fractions.

    The noise between quants is half the mean over pairs of Var(score − other score). The variance of a difference d of
    means over N items is (f − d²)/N with f the share of items on which the two differ: f is at least |d|, and the whole
    at most p(1 − p)/N + q(1 − q)/N, where the two are independent.
    """
    p = np.asarray(scores, dtype=float)
    first, second = np.triu_indices(p.size, 1)
    gap = np.abs(p[first] - p[second])
    least = 0.5 * np.mean(gap - gap**2) / items
    return float(least), float(np.mean(p * (1 - p)) / items)


def reliability_range(columns: Sequence[ArrayLike], items: Sequence[int]) -> tuple[float, float]:
    """Range of the reliability of the unweighted mean of scores, one column of quants and one number of items a task.

    Raises
    ------
    StatisticsError
        With fewer than two quants or a constant mean.
    """
    scores = np.array([np.asarray(c, dtype=float) for c in columns])
    mean = scores.mean(axis=0)
    spread = mean.var(ddof=1) if mean.size >= LEAST_QUANTS else 0.0
    if spread <= 1e-20:
        raise StatisticsError(
            "The reliability of these scores is not defined.",
            expected=f"at least {LEAST_QUANTS} quants with different scores",
            found=f"{np.unique(mean).size} distinct among {mean.size} quants",
            do="use more items or other quants",
        )
    bounds = np.array([noise_bounds(s, n) for s, n in zip(scores, items, strict=True)])
    least, most = bounds.sum(axis=0) / len(scores) ** 2
    return max(0.0, float(1 - most / spread)), max(0.0, float(1 - least / spread))


def score_noise_table(
    cohort: pd.DataFrame, members: pd.Series, items: Mapping[str, int], benchmarks: Sequence[str]
) -> pd.DataFrame:
    """Standard error of scores and the range of their reliability and of the attainable |ρ|, full cohort and zone.

    ``items``: benchmark → items behind each score. Rows are the ``benchmarks`` among them, and ``composite`` where
    every benchmark has a number. ``score_se`` is √(mean p(1 − p)/N), a fraction of 1: of a score, not of a difference.
    """
    known = {b: [b] for b in benchmarks if b in items}
    if len(benchmarks) > 1 and len(known) == len(benchmarks):
        known["composite"] = list(benchmarks)
    rows = []
    for benchmark, parts in known.items():
        sizes = [items[p] for p in parts]
        for subset, part in (("full", quants_of(cohort)), ("zone", quants_of(cohort[members]))):
            columns = [part[score_column(p)].to_numpy(dtype=float) for p in parts]
            key = {"benchmark": benchmark, "subset": subset, "n": len(part), "items": sum(sizes)}
            rows.append({**key, "score_se": _standard_error(columns, sizes), **noted(_range(columns, sizes), {})})
    return registered("score_noise").frame(rows)


def _standard_error(columns: Sequence[np.ndarray], items: Sequence[int]) -> float:
    if not columns[0].size:
        return np.nan
    return float(np.sqrt(sum(np.mean(p * (1 - p)) / n for p, n in zip(columns, items, strict=True)))) / len(columns)


def _range(columns: Sequence[np.ndarray], items: Sequence[int]):
    def compute() -> dict[str, float]:
        low, high = reliability_range(columns, items)
        ends = {"attainable_low": attainable(low), "attainable_high": attainable(high)}
        return {"reliability_low": low, "reliability_high": high, **ends}

    return compute


def not_whole(scores: ArrayLike, items: int, unit: float) -> bool:
    """Whether some score (a fraction, rounded to ``unit``) is no whole number of right answers out of ``items``.

    False where rounding is too coarse to tell: half a unit is a quarter of an item or more.
    """
    right = np.asarray(scores, dtype=float) * items
    slack = items * unit / 2
    return bool(slack < 0.25 and (np.abs(right - np.round(right)) > slack * 1.01 + 1e-9).any())
