"""What a fidelity metric says about scores beyond the size of a quant: correlation at equal bits per weight.

A score that depends on bits per weight alone makes nearly every fidelity metric correlate with it, so ρ by itself says
nothing beyond a quant's size. Where metric and size rank quants almost alike the data cannot tell the two apart, and a
partial correlation near 0 says nothing either: the variance inflation stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import pingouin
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.outliers_influence import variance_inflation_factor

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import Missing, complete_quants, joined, noted, paired_columns, score_column
from qkld.statistics.core.correlations_of_resamples import correlation
from qkld.study.registry import registered

LEAST_PARTIAL = 5
"""Quants that a partial correlation needs: one more than a correlation, for the column held equal."""

INFORMATIVE_INFLATION = 5.0
"""Variance inflation above which a partial correlation near 0 is no finding."""

_ALIKE = 1 - 1e-9


@dataclass(frozen=True)
class Partial:
    """Spearman's ρ at an equal third column.

    ``p_partial`` is the larger of the p on ranks, ``p_ranks``, and the p on normal scores. Under a score that depends
    on the third column alone the first rejects .06 to .08 at a nominal .05 and the second up to .08, since neither
    transform makes every monotone relation straight; both together .04 to .05 (simulated, 16 to 41 quants, ρ with the
    third column .8 to .97).
    """

    n: int
    estimate: float
    partial: float
    p_partial: float
    p_ranks: float
    rho_metric_control: float
    rho_score_control: float
    inflation: float


def partial_correlation(
    x: ArrayLike, y: ArrayLike, control: ArrayLike, *, names: tuple[str, str, str] = ("x", "y", "control")
) -> Partial:
    """Spearman's ρ of x and y given ``control``: (ρ_xy − ρ_xc ρ_yc)/√((1 − ρ_xc²)(1 − ρ_yc²)), with t on n − 3 degrees.

    Raises
    ------
    StatisticsError
        If a column is short, incomplete or constant, or one ranks the quants exactly as ``control`` does.
    """
    x, y = paired_columns(x, y, names=names[:2], least=LEAST_PARTIAL)
    _, z = paired_columns(x, control, names=(names[0], names[2]), least=LEAST_PARTIAL)
    with_control = {name: correlation(v, z) for name, v in zip(names, (x, y), strict=False)}
    for name, rho in with_control.items():
        if abs(rho) > _ALIKE:
            raise StatisticsError(
                f"'{name}' and '{names[2]}' rank the quants identically, so nothing is left at equal {names[2]}.",
                expected="|ρ| below 1",
                found=f"ρ = {rho:.6f} over {x.size} quants",
                do="use quants of equal size from different quantizers",
            )
    ranks = pd.DataFrame({"x": stats.rankdata(x), "y": stats.rankdata(y), "control": stats.rankdata(z)})
    on_ranks = _pearson_given(ranks)
    on_scores = _pearson_given(pd.DataFrame(stats.norm.ppf(ranks / (x.size + 1)), columns=ranks.columns))
    return Partial(
        n=x.size,
        estimate=correlation(x, y),
        partial=on_ranks[0],
        p_partial=max(on_ranks[1], on_scores[1]),
        p_ranks=on_ranks[1],
        rho_metric_control=with_control[names[0]],
        rho_score_control=with_control[names[1]],
        inflation=variance_inflation(ranks["x"], ranks["control"]),
    )


def _pearson_given(columns: pd.DataFrame) -> tuple[float, float]:
    """Partial Pearson's r of x and y given control, and its p."""
    row = pingouin.partial_corr(columns, x="x", y="y", covar="control").iloc[0]
    return float(row["r"]), float(row["p_val"])


def variance_inflation(x: ArrayLike, control: ArrayLike) -> float:
    """Variance inflation of x beside ``control``: 1/(1 − r²); 1 where the two are unrelated."""
    x, control = np.asarray(x, dtype=float), np.asarray(control, dtype=float)
    return float(variance_inflation_factor(np.column_stack([np.ones(x.size), x, control]), 1))


def partial_table(
    cohort: pd.DataFrame,
    metrics: Sequence[str],
    benchmarks: Sequence[str],
    *,
    control: str = "bits_per_weight",
    subset: str = "full",
    missing: Missing = "refuse",
) -> pd.DataFrame:
    """Each metric against each benchmark's score over the quants at equal ``control``, with `Partial`'s columns.

    ``note`` says where the variance inflation is above `INFORMATIVE_INFLATION` and nothing was found.

    Raises
    ------
    StatisticsError
        As `complete_quants`.
    """
    table, rows = registered("partial"), []
    for metric in metrics:
        for benchmark in benchmarks:
            score = score_column(benchmark)
            quants, left_out = complete_quants(cohort, [metric, score, control], missing=missing)
            columns = [quants[c] for c in (metric, score, control)]
            names = (metric, score, control)
            unknown = {**table.empty(), "n": len(quants)}
            row = noted(lambda c=columns, n=names: asdict(partial_correlation(*c, names=n)), unknown)
            note = joined(left_out, row.pop("note"), _uninformative(row, control))
            key = {"metric": metric, "benchmark": benchmark, "subset": subset, "control": control}
            rows.append({**row, **key, "note": note})
    return table.frame(rows)


def _uninformative(row: dict[str, Any], control: str) -> str:
    """A note where metric and control are too much alike to conclude anything from a p above .05."""
    if not (row["inflation"] > INFORMATIVE_INFLATION and row["p_partial"] > 0.05):
        return ""
    return f"uninformative: {control} ranks the quants much like the metric"
