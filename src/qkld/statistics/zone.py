"""The silent zone: which quants are in it, the correlation inside it, and the correlation for every cut.

arXiv:2606.19558 does not say how its zone was chosen. The primary rule here is a cut of KLD fixed before scores are
seen: it restricts the range of the metric and nothing else. The score margin is for comparison only: it selects on the
score itself, which pulls every correlation inside toward 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError, explain
from qkld.statistics.checks import noted, paired_columns, quants_of, score_column
from qkld.statistics.correlation import (
    Resampling,
    bootstrap_correlations,
    correlation,
    correlation_table,
    percentile_interval,
)

Rule = Literal["kld_cut", "score_margin"]

SELECTION_EFFECT = {
    "kld_cut": "chosen by the metric alone: the range of KLD is restricted, the scores are not selected",
    "score_margin": "chosen by the score itself: this pulls the correlation inside toward 0; for comparison only",
}
"""What each rule does to the correlation inside the zone."""


def zone_members(
    cohort: pd.DataFrame,
    *,
    rule: Rule,
    cut: float,
    metric: str = "kl_mean",
    score: str = "composite",
) -> pd.Series:
    """Which rows of the cohort are quants in the zone: bool, index of ``cohort``.

    ``kld_cut``: ``metric`` ≤ ``cut`` (nats). ``score_margin``: ``score`` at most ``cut`` (a fraction of 1) below the
    reference's. Reference and floor rows are never members.

    Raises
    ------
    StatisticsError
        If the column that the rule reads has missing values among the quants, or the reference has no score.
    """
    is_quant = cohort["role"] == "quant"
    column = metric if rule == "kld_cut" else score
    _refuse_missing(cohort.loc[is_quant, column], rule)
    if rule == "kld_cut":
        return is_quant & (cohort[metric] <= cut)
    reference = cohort.loc[cohort["role"] == "reference", score]
    if len(reference) != 1 or reference.isna().any():
        raise StatisticsError(
            explain(
                "The score margin has nothing to measure from.",
                expected=f"one reference row with a {score}",
                found=f"{len(reference)} rows, {int(reference.isna().sum())} without a value",
                do="run notebook 03_benchmark_scores for the reference, or use rule kld_cut",
            )
        )
    return is_quant & (cohort[score] >= reference.iloc[0] - cut)


def _refuse_missing(column: pd.Series, rule: str) -> None:
    if column.isna().any():
        raise StatisticsError(
            explain(
                f"The zone by rule {rule} needs '{column.name}' for every quant.",
                expected=f"{len(column)} values",
                found=f"{int(column.isna().sum())} missing",
                do="measure those quants, or use the other rule",
            )
        )


def members_table(
    cohort: pd.DataFrame, members: pd.Series, *, rule: Rule, cut: float, metric: str = "kl_mean"
) -> pd.DataFrame:
    """Every quant with its metric, its composite and whether it is in the zone, by rising metric."""
    table = cohort.assign(in_zone=members, rule=rule, cut=cut)[cohort["role"] == "quant"]
    columns = ["label", "family", metric, "composite", "in_zone", "rule", "cut"]
    return table[columns].sort_values([metric, "label"]).reset_index(drop=True)


def full_and_zone(
    cohort: pd.DataFrame,
    members: pd.Series,
    metrics: Sequence[str],
    benchmarks: Sequence[str],
    *,
    resampling: Resampling,
) -> pd.DataFrame:
    """Spearman of each metric with each benchmark over all quants and over those in the zone, one below the other."""
    parts = [
        correlation_table(rows, metrics, benchmarks, resampling=resampling, subset=subset)
        for subset, rows in (("full", cohort), ("zone", cohort[members]))
    ]
    return pd.concat(parts, ignore_index=True)


def zone_table(
    cohort: pd.DataFrame,
    members: pd.Series,
    benchmarks: Sequence[str],
    *,
    rule: Rule,
    cut: float,
    resampling: Resampling,
    metric: str = "kl_mean",
) -> pd.DataFrame:
    """The headline metric over the full cohort and in the zone, with rule, cut, selection effect and sizes."""
    table = full_and_zone(cohort, members, [metric], benchmarks, resampling=resampling)
    facts = {
        "rule": rule,
        "cut": cut,
        "selection": SELECTION_EFFECT[rule],
        "n_full": len(quants_of(cohort)),
        "n_zone": int(members.sum()),
    }
    return pd.concat([pd.DataFrame([facts] * len(table)), table], axis=1)


def zone_curve(
    cohort: pd.DataFrame,
    *,
    least: int,
    resampling: Resampling,
    metric: str = "kl_mean",
    benchmark: str = "composite",
) -> pd.DataFrame:
    """Spearman of ``metric`` with a score for every cut with at least ``least`` quants at or below it.

    Nothing is selected: each value of the metric is a cut. Intervals are pointwise percentile intervals, so a curve of
    many cuts leaves them somewhere more often than one cut would.
    Columns: ``metric``, ``benchmark``, ``cut``, ``n``, ``estimate``, ``low``, ``high``, ``note``.
    """
    quants = quants_of(cohort)
    score = score_column(benchmark)
    empty = {"estimate": np.nan, "low": np.nan, "high": np.nan}
    rows = []
    for cut in np.unique(quants[metric].dropna()):
        below = quants[quants[metric] <= cut]
        if len(below) >= least:
            columns = (below[metric], below[score])
            point = noted(lambda c=columns: _point(*c, least, resampling, (metric, score)), empty)
            rows.append({"metric": metric, "benchmark": benchmark, "cut": cut, "n": len(below), **point})
    if not rows:
        note = f"no cut has {least} quants at or below it; the cohort has {len(quants)}"
        rows.append({"metric": metric, "benchmark": benchmark, "cut": np.nan, "n": len(quants), **empty, "note": note})
    return pd.DataFrame(rows)


def _point(x: pd.Series, y: pd.Series, least: int, resampling: Resampling, names: tuple[str, str]) -> dict:
    paired_columns(x, y, names=names, least=least)
    rng = np.random.default_rng(resampling.seed)
    low, high = percentile_interval(
        bootstrap_correlations(x, y, resamples=resampling.resamples, rng=rng), resampling.confidence
    )
    return {"estimate": correlation(x, y), "low": low, "high": high}
