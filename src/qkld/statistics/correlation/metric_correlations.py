"""Tables of correlations of fidelity metrics with scores. A correlation never stands alone.

``low`` to ``high`` is the interval of arXiv:2606.19558, the percentile bootstrap over quants; ``zmax`` is the headline
for exchangeable quants, ``twoway`` where a claim goes beyond these items.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from qkld.statistics.core.checks import Missing, complete_quants, joined, quants_of, score_column
from qkld.statistics.core.correlations_of_resamples import Method
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.single import correlate
from qkld.statistics.correlation.twoway import ItemDraws, TwoWay
from qkld.study.registry import registered


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
    return registered("correlation").frame(rows)


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
