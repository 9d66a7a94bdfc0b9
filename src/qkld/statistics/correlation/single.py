"""One correlation with all that goes with it: intervals, permutation p, sizes, ties and range restriction.

Operations for n quants, B resamples and P permutations: 4·B·n² for both columns' ranks, about 20·B·n for sums, 2·P·n a
permutation test. Drawing, n·(B + 2·P), is done once for all rows of the same quants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import LEAST_QUANTS, checked_kld, is_divergence, joined, noted
from qkld.statistics.core.correlations_of_resamples import (
    Method,
    correlation,
    correlation_columns,
    correlation_of_columns,
    correlations_of_counts,
)
from qkld.statistics.core.intervals import (
    LEAST_FOR_INTERVAL,
    bca_interval,
    few_quants_note,
    jackknife_correlations,
    needs_exact,
    percentile_interval,
    zmax_interval,
)
from qkld.statistics.core.permutation import check_exchangeable, p_of_orders
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.twoway import TwoWay
from qkld.study.registry import registered

EXACT = "the z-max interval is the exact one of columns that are normal after a monotone transform"
"""Note of a row with too few quants for a standard error, or with all of them in order."""


@dataclass(frozen=True)
class _Pair:
    """One metric and one score; each method gives a part of their row, or says why it cannot."""

    x: np.ndarray
    y: np.ndarray
    method: Method
    names: tuple[str, str]
    resampling: Resampling

    @cached_property
    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        return correlation_columns(self.x, self.y, self.method, self.names)

    @cached_property
    def draws(self) -> np.ndarray:
        return correlations_of_counts(self.resampling.counts(self.x.size), *self.columns, self.method)

    def sizes(self) -> dict[str, int]:
        metric, score = (np.unique(v[np.isfinite(v)]).size for v in (self.x, self.y))
        return {"n": self.x.size, "distinct_metric": metric, "distinct_score": score}

    def estimate(self) -> dict[str, Any]:
        return {"estimate": correlation_of_columns(*self.columns, self.method)}

    def few(self) -> dict[str, Any]:
        return {"note": few_quants_note(self.x.size)}

    def percentile(self) -> dict[str, Any]:
        low, high = percentile_interval(self.draws, self.resampling.confidence)
        undefined = int(np.isnan(self.draws).sum())
        if low == high:
            return {"undefined_resamples": undefined, "note": "no bootstrap interval: all resamples have one value"}
        return {"low": low, "high": high, "undefined_resamples": undefined}

    def zmax(self) -> dict[str, Any]:
        low, high = zmax_interval(self.x, self.y, self.resampling.confidence)
        exact = needs_exact(correlation_of_columns(*self.columns, self.method), self.x.size)
        return {"zmax_low": low, "zmax_high": high, "note": EXACT if exact else ""}

    def bca(self) -> dict[str, Any]:
        left_out = jackknife_correlations(self.x, self.y, self.method)
        estimate = correlation_of_columns(*self.columns, self.method)
        low, high = bca_interval(estimate, self.draws, left_out, self.resampling.confidence)
        return {"bca_low": low, "bca_high": high}

    def twoway(self, scores: TwoWay) -> dict[str, Any]:
        draws = scores.correlations(self.columns[0], self.method)
        low, high = percentile_interval(draws, self.resampling.confidence)
        return {"twoway_low": low, "twoway_high": high}

    def p(self, families: Sequence[str] | None) -> dict[str, Any]:
        groups = ["all"] * self.x.size if families is None else families
        check_exchangeable(*self.columns, np.asarray(groups))
        orders = self.resampling.orders(groups)
        p = p_of_orders(*self.columns, orders, centred=families is not None, method=self.method)
        return {"p": p} if families is None else {"p_within_families": p}

    def without_family(self, families: Sequence[str]) -> dict[str, Any]:
        estimates = without_each_family(self.x, self.y, families, self.method)["estimate"]
        return {"without_family_low": estimates.min(), "without_family_high": estimates.max()}


def correlate(
    x: ArrayLike,
    y: ArrayLike,
    *,
    resampling: Resampling,
    families: Sequence[str] | np.ndarray | None = None,
    method: Method = "spearman",
    names: tuple[str, str] = ("x", "y"),
    whole: tuple[ArrayLike, ArrayLike] | None = None,
    items: np.ndarray | TwoWay | None = None,
) -> dict[str, Any]:
    """One row: the correlation with all that goes with it. What cannot be computed is NaN, and ``note`` says why.

    Bootstrap and permutation start from ``resampling.seed`` in every row, so a row does not depend on the others.

    Parameters
    ----------
    x, y : shape (n,)
        Metric and score, one value a quant. Zeros of the metric are counted; they enter ranks and no logarithm.
    families
        Quantizer families, for the permutation within them and the range with one of them left out.
    names
        Columns, for messages. A metric named ``kl…`` is checked to be no negative number.
    whole
        Both columns over the whole cohort, where x and y are a subset: says how much the range is restricted.
    items : shape (resamples, n)
        Scores in resamples of the items, or a prepared `TwoWay`: gives the two-way interval.

    Raises
    ------
    StatisticsError
        If the metric is a KL divergence and negative beyond rounding.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    x = checked_kld(x, name=names[0]) if is_divergence(names[0]) else x
    kept = x != 0 if method == "pearson_log" else np.ones(x.size, dtype=bool)
    pair = _Pair(x[kept], y[kept], method, names, resampling)
    groups = None if families is None else np.asarray(families)[kept]
    counted = {**pair.sizes(), "zeros": int((x == 0).sum())}
    row = {"method": method, **registered("correlation").empty(), **counted, **_ranges(pair, whole)}
    row = _filled(row, [pair.estimate, *_parts(pair, groups, _two_way(items, kept, resampling))])
    left_out = "" if kept.all() else f"{int((~kept).sum())} at {names[0]} = 0 left out of the logarithm"
    return row | {"note": joined(left_out, row["note"])}


def _parts(pair: _Pair, families: np.ndarray | None, scores: TwoWay | None) -> list[Callable[[], dict[str, Any]]]:
    parts = [lambda: pair.p(None)]
    if pair.method == "spearman":
        parts.append(pair.zmax)
    if families is not None:
        parts += [lambda: pair.p(families), lambda: pair.without_family(families)]
    if pair.x.size < LEAST_FOR_INTERVAL:
        return [pair.few, *parts]
    parts = [pair.percentile, pair.bca, *parts]
    return parts if scores is None else [*parts, lambda: pair.twoway(scores)]


def _two_way(items: np.ndarray | TwoWay | None, kept: np.ndarray, resampling: Resampling) -> TwoWay | None:
    """The quants that are kept, drawn anew with their redrawn scores."""
    if items is None or not kept.any():
        return None
    if isinstance(items, TwoWay) and kept.all():
        return items
    scores = items.scores if isinstance(items, TwoWay) else items
    return TwoWay(resampling.counts(int(kept.sum())), scores[:, kept])


def _filled(row: dict[str, Any], parts: Sequence[Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    """The row with each part or the reason why it is missing; without the first part nothing else is asked."""
    row = {**row, "note": ""}
    for i, part in enumerate(parts):
        found = noted(part, {})
        row.update(found, note=joined(row["note"], found["note"]))
        if i == 0 and row["note"]:
            break
    return row


def _ranges(pair: _Pair, whole: tuple[ArrayLike, ArrayLike] | None) -> dict[str, float]:
    if whole is None:
        return {}
    log = is_divergence(pair.names[0])
    return {"range_metric": range_ratio(pair.x, whole[0], log=log), "range_score": range_ratio(pair.y, whole[1])}


def range_ratio(part: ArrayLike, whole: ArrayLike, *, log: bool = False) -> float:
    """Standard deviation within a subset / within the whole cohort: 1 where nothing is restricted, 0 at one value.

    ``log`` takes natural logarithms of the positive values, as the range of a KLD is read. NaN where the cohort has no
    spread, or the subset no value.
    """
    spread = []
    for values in (part, whole):
        known = np.asarray(values, dtype=float)
        known = known[np.isfinite(known) & ((known > 0) | (not log))]
        spread.append(np.std(np.log(known) if log else known) if known.size else np.nan)
    return float(spread[0] / spread[1]) if spread[1] > 0 else np.nan


# --- what it owes to one quantizer family -----------------------------------------------------------------------------


def without_each_family(
    x: ArrayLike, y: ArrayLike, families: Sequence[str] | np.ndarray, method: Method = "spearman"
) -> pd.DataFrame:
    """The correlation with one quantizer family left out at a time: ``family``, ``n``, ``estimate``.

    Whole families are not resampled: an interval from few families misses far too often.

    Raises
    ------
    StatisticsError
        If there is one family only, or the rest without one of them has no correlation.
    """
    x, y = (np.asarray(c) for c in (x, y))
    correlation_columns(x, y, method)
    families = np.asarray(families)
    names = np.unique(families)
    if names.size < 2:
        raise StatisticsError(
            "Only one family is present.",
            expected="at least 2 families",
            found=f"only {', '.join(map(str, names))}",
            do="add quants of another quantizer",
        )
    for family in names:
        left = int((families != family).sum())
        if left < LEAST_QUANTS:
            raise StatisticsError(
                f"Without family '{family}' too few quants are left.",
                expected=f"at least {LEAST_QUANTS} quants of other families",
                found=left,
                do="measure more quants of other quantizers",
            )
    kept = families != names[:, None]
    estimates = correlations_of_counts(kept.astype(float), *correlation_columns(x, y, method), method)
    for family in np.flatnonzero(np.isnan(estimates)):
        correlation(x[kept[family]], y[kept[family]], method)  # says which column is constant without it
    return pd.DataFrame({"family": names, "n": kept.sum(axis=1), "estimate": estimates})
