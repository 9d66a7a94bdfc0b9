"""The rows of correlation tables: an estimate with its intervals, permutation p, sizes, ties and range restriction.

A correlation never stands alone. ``low`` to ``high`` is the interval of arXiv:2606.19558, the percentile bootstrap over
quants; ``zmax`` is the headline for exchangeable quants, ``twoway`` where a claim goes beyond these items.

Operations of a row for n quants, B resamples and P permutations: 4·B·n² for both columns' ranks, about 20·B·n for sums,
2·P·n a permutation test. Drawing, n·(B + 2·P), is done once for all rows of the same quants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.statistics.checks import (
    Missing,
    checked_kld,
    complete_quants,
    is_divergence,
    joined,
    noted,
    quants_of,
    score_column,
)
from qkld.statistics.estimates import (
    Method,
    correlation,
    correlation_columns,
    correlation_of_columns,
    correlations_of_counts,
)
from qkld.statistics.families import without_each_family
from qkld.statistics.intervals import (
    bca_interval,
    bootstrap_correlations,
    jackknife_correlations,
    percentile_interval,
    zmax_interval,
)
from qkld.statistics.permutation import check_exchangeable, p_of_orders, permutation_p
from qkld.statistics.resampling import Resampling
from qkld.statistics.twoway import ItemDraws, TwoWay

__all__ = [
    "EMPTY",
    "Method",
    "Resampling",
    "bootstrap_correlations",
    "correlate",
    "correlation",
    "correlation_table",
    "percentile_interval",
    "permutation_p",
    "range_ratio",
    "without_each_family",
    "zmax_interval",
]

EMPTY: dict[str, Any] = {
    "n": 0,
    "estimate": np.nan,
    "low": np.nan,
    "high": np.nan,
    "zmax_low": np.nan,
    "zmax_high": np.nan,
    "bca_low": np.nan,
    "bca_high": np.nan,
    "twoway_low": np.nan,
    "twoway_high": np.nan,
    "p": np.nan,
    "p_within_families": np.nan,
    "without_family_low": np.nan,
    "without_family_high": np.nan,
    "distinct_metric": 0,
    "distinct_score": 0,
    "zeros": 0,
    "range_metric": np.nan,
    "range_score": np.nan,
    "undefined_resamples": 0,
}
"""The columns of a correlation in a result table, before anything is known."""


@dataclass(frozen=True)
class _Pair:
    """One metric and one score; each method gives a part of their row, or says why it can not."""

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

    def estimate(self) -> dict[str, Any]:
        return {"estimate": correlation_of_columns(*self.columns, self.method)}

    def percentile(self) -> dict[str, Any]:
        low, high = percentile_interval(self.draws, self.resampling.confidence)
        return {"low": low, "high": high, "undefined_resamples": int(np.isnan(self.draws).sum())}

    def zmax(self) -> dict[str, Any]:
        low, high = zmax_interval(self.x, self.y, self.resampling.confidence)
        return {"zmax_low": low, "zmax_high": high}

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
    """One row: the correlation with all that goes with it. What can not be computed is NaN, and ``note`` says why.

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
    zero = x == 0
    if method == "pearson_log" and zero.any():
        return _without_zeros(x, y, ~zero, resampling, families, names, whole, items)
    row = {"method": method, **EMPTY, **_sizes(x, y), **_ranges(x, y, names, whole)}
    pair = _Pair(x, y, method, names, resampling)
    return _filled(row, [pair.estimate, *_parts(pair, families, items)])


def _parts(pair: _Pair, families: Any, items: Any) -> list[Callable[[], dict[str, Any]]]:
    parts = [pair.percentile, pair.bca, lambda: pair.p(None)]
    if pair.method == "spearman":
        parts.append(pair.zmax)
    if families is not None:
        parts += [lambda: pair.p(families), lambda: pair.without_family(families)]
    if items is not None:
        parts.append(lambda: pair.twoway(_two_way(items, pair)))
    return parts


def _two_way(items: np.ndarray | TwoWay, pair: _Pair) -> TwoWay:
    return items if isinstance(items, TwoWay) else TwoWay(pair.resampling.counts(pair.x.size), items)


def _filled(row: dict[str, Any], parts: Sequence[Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    """The row with each part or the reason why it is missing; without the first part nothing else is asked."""
    row = {**row, "note": ""}
    for i, part in enumerate(parts):
        found = noted(part, {})
        row.update(found, note=joined(row["note"], found["note"]))
        if i == 0 and row["note"]:
            break
    return row


def _without_zeros(x, y, kept, resampling, families, names, whole, items) -> dict[str, Any]:
    """The row of Pearson's r of (ln x, y) without the quants at 0, which it counts."""
    scores = None if items is None else (items.scores if isinstance(items, TwoWay) else items)[:, kept]
    families = None if families is None else np.asarray(families)[kept]
    fixed = {"resampling": resampling, "method": "pearson_log", "names": names, "whole": whole}
    row = correlate(x[kept], y[kept], families=families, items=scores, **fixed)
    zeros = int((~kept).sum())
    return row | {"zeros": zeros, "note": joined(f"{zeros} at {names[0]} = 0 left out of the logarithm", row["note"])}


def _sizes(x: np.ndarray, y: np.ndarray) -> dict[str, int]:
    distinct = [np.unique(v[np.isfinite(v)]).size for v in (x, y)]
    return {"n": x.size, "distinct_metric": distinct[0], "distinct_score": distinct[1], "zeros": int((x == 0).sum())}


def _ranges(
    x: np.ndarray, y: np.ndarray, names: tuple[str, str], whole: tuple[ArrayLike, ArrayLike] | None
) -> dict[str, float]:
    if whole is None:
        return {}
    log = is_divergence(names[0])
    return {"range_metric": range_ratio(x, whole[0], log=log), "range_score": range_ratio(y, whole[1])}


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


def correlation_table(
    cohort: pd.DataFrame,
    metrics: Sequence[str],
    benchmarks: Sequence[str],
    *,
    resampling: Resampling,
    method: Method = "spearman",
    subset: str = "full",
    missing: Missing = "refuse",
    whole: pd.DataFrame | None = None,
    items: ItemDraws | None = None,
) -> pd.DataFrame:
    """Each metric against each benchmark's score over the quants of ``cohort``; ``composite`` is a benchmark too.

    Without a column ``family`` nothing is computed within families. ``whole`` is the cohort that this one is a subset
    of, by default itself. With ``items``, drawn ``resampling.resamples`` times, rows have the two-way interval.

    Raises
    ------
    StatisticsError
        As `complete_quants`, and if ``items`` give other scores than the cohort has.
    """
    whole = quants_of(cohort if whole is None else whole)
    prepared: dict[tuple, TwoWay] = {}
    rows = []
    for metric in metrics:
        for benchmark in benchmarks:
            score = score_column(benchmark)
            quants, left_out = complete_quants(cohort, [metric, score], missing=missing)
            row = correlate(
                quants[metric],
                quants[score],
                resampling=resampling,
                families=quants.get("family"),
                method=method,
                names=(metric, score),
                whole=(whole[metric], whole[score]),
                items=_redrawn(items, benchmark, quants, score, resampling, prepared),
            )
            row["note"] = joined(left_out, row["note"])
            rows.append({"metric": metric, "benchmark": benchmark, "subset": subset, **row})
    return pd.DataFrame(rows)


def _redrawn(
    items: ItemDraws | None,
    benchmark: str,
    quants: pd.DataFrame,
    score: str,
    resampling: Resampling,
    prepared: dict[tuple, TwoWay],
) -> TwoWay | None:
    """The quants' scores in resamples of the items, ranked once for all metrics; None without items."""
    if items is None or benchmark not in items.redrawn or quants.empty or quants[score].isna().any():
        return None
    key = (benchmark, *quants["label"])
    if key not in prepared:
        scores = items.of(benchmark, quants["label"], quants[score])
        prepared[key] = TwoWay(resampling.counts(len(quants)), scores)
    return prepared[key]
