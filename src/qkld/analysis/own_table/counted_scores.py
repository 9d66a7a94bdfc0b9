"""Scores of a table of one's own, counted again from the answers behind them."""

from __future__ import annotations

import pandas as pd

from qkld.analysis.own_table.answers_by_item import OwnItems
from qkld.analysis.own_table.checked_table import OwnTable
from qkld.errors import StatisticsError
from qkld.statistics.core.checks import composite_score, score_column
from qkld.statistics.items.scores import benchmark_scores


def cohort_with_counted_scores(own: OwnTable, items: OwnItems) -> pd.DataFrame:
    """The table's rows that have items, with the shares of right answers in place of its scores.

    Raises
    ------
    StatisticsError
        If the table's scores are not those of the items, to the table's last decimal.
    """
    counted = benchmark_scores(items.items).pivot(index="label", columns="benchmark", values="score")
    cohort = own.cohort[own.cohort["label"].isin(items.models)].reset_index(drop=True)
    benchmarks = [s for s in own.scores if s in items.benchmarks]
    shares = pd.DataFrame({score_column(b): cohort["label"].map(counted[b]) for b in benchmarks})
    _check_same_scores(cohort, shares, own.rounding)
    return cohort.assign(**shares, composite=composite_score(shares))


def _check_same_scores(cohort: pd.DataFrame, shares: pd.DataFrame, rounding: float) -> None:
    gap = (cohort[shares.columns] - shares).abs()
    cells = [
        f"{c.removeprefix('score_')} of {cohort.at[i, 'label']}: {cohort.at[i, c]:.4f} and {shares.at[i, c]:.4f}"
        for c in shares
        for i in gap.index[gap[c] > 0.51 * rounding + 1e-9]
    ]
    if cells:
        raise StatisticsError(
            "The table and the items give different scores.",
            expected=f"the share of right answers, to the table's last decimal ({rounding:g})",
            found="; ".join(cells[:3]) + (f" and {len(cells) - 3} more" if len(cells) > 3 else ""),
            do="use scores and items of one run and one metric",
        )
