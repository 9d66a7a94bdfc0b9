"""AUROC with an interval that holds where several models answer the same prompts: DeLong's, clustered by prompt.

AUROC = P(value of a positive row > value of a negative one) + ½ P(equal). Over several strata, such as quants, only
rows of one stratum are compared, so what shifts a whole quant does not count. Cliff's δ is 2 · AUROC − 1.

DeLong's interval takes rows as independent and covers too little where a prompt has several; Obuchowski's does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.core.clustered import clustered_error, half_width

NO_SPREAD = 1e-12
"""A standard error at or below this is none: the two outcomes are apart in every pair, or tied in all."""


@dataclass(frozen=True)
class Auroc:
    """An AUROC, what each row adds to it (rows,), and the pairs of a positive and a negative row behind it."""

    estimate: float
    influence: np.ndarray
    pairs: int

    def interval(self, clusters: ArrayLike, confidence: float) -> tuple[float, float]:
        """Interval clustered by prompt, within 0 and 1; NaN where every pair goes one way or is tied (`NO_SPREAD`)."""
        error, _ = clustered_error(self.influence, clusters)
        if error <= NO_SPREAD:
            return np.nan, np.nan
        half = half_width(self.influence, clusters, confidence)
        return max(0.0, self.estimate - half), min(1.0, self.estimate + half)


def auroc(values: ArrayLike, positive: ArrayLike, strata: ArrayLike | None = None, *, minimum: int = 1) -> Auroc:
    """AUROC of ``values`` (rows,) for ``positive`` rows, comparing rows of one stratum only: Σ_s U_s / Σ_s m_s n_s.

    Influence of a row: n_s (V − AUROC) / Σ m n for a positive one, m_s (V − AUROC) / Σ m n for a negative one, V the
    share of its stratum's other rows that it is on the right side of (DeLong et al. 1988, Biometrics 44:837).

    Raises
    ------
    StatisticsError
        If columns differ in length, a value is not finite, there are fewer than ``minimum`` positive or negative rows,
        or no stratum has both.
    """
    values, positive = _checked(values, positive, minimum)
    groups = np.zeros(values.size, dtype=np.intp) if strata is None else np.unique(strata, return_inverse=True)[1]
    wins, others = np.zeros(values.size), np.zeros(values.size)
    for rows in _strata(groups, positive):
        wins[rows], others[rows] = _placements(values[rows], positive[rows])
    pairs = others[positive].sum()
    if not pairs:
        raise StatisticsError(
            "No rows can be compared.",
            expected="a quant with rows of both outcomes",
            found=f"{int(positive.sum())} and {int((~positive).sum())} rows, never both of the same quant",
            do="use more items",
        )
    estimate = float((others * wins)[positive].sum() / pairs)
    return Auroc(estimate, others * (wins - estimate) / pairs, int(pairs))


def _checked(values: ArrayLike, positive: ArrayLike, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    values, positive = np.asarray(values, dtype=float), np.asarray(positive, dtype=bool)
    if values.ndim != 1 or values.shape != positive.shape or not np.isfinite(values).all():
        raise StatisticsError(
            "An AUROC needs one finite value and one outcome per row.",
            expected="two equally long columns of finite values and outcomes",
            found=f"shapes {values.shape} and {positive.shape}, {int((~np.isfinite(values)).sum())} not finite",
            do="leave out the rows without a value",
        )
    if min(positive.sum(), (~positive).sum()) < minimum:
        raise StatisticsError(
            "Too few items of one outcome.",
            expected=f"at least {minimum} of each",
            found=f"{int(positive.sum())} and {int((~positive).sum())}",
            do="use more items, or a benchmark of different difficulty",
        )
    return values, positive


def _strata(groups: np.ndarray, positive: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of each stratum that has both outcomes."""
    order = np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if 0 < positive[rows].sum() < rows.size:
            yield rows


def _placements(values: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the rows of the other outcome that each row is on the right side of, and how many those are."""
    up, down = np.sort(values[positive]), np.sort(values[~positive])
    share = np.empty(values.size)
    share[positive] = _below(down, values[positive])
    share[~positive] = 1 - _below(up, values[~positive])
    return share, np.where(positive, down.size, up.size).astype(float)


def _below(others: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Share of sorted ``others`` below each value, equal ones counting one half."""
    return (np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")) / (2 * others.size)
