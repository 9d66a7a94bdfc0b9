"""Whether one correlation is stronger than another over the same quants: the difference of |ρ| by paired bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import Missing, complete_quants, joined, noted, score_column
from qkld.statistics.core.correlations_of_resamples import (
    correlation_columns,
    correlation_of_columns,
    correlations_of_counts,
)
from qkld.statistics.core.intervals import bootstrap_ends, defined_draws
from qkld.statistics.core.resampling import Resampling
from qkld.study.registry import registered

Columns = tuple[ArrayLike, ArrayLike]


def difference_of_strengths(
    first: Columns, second: Columns, *, resampling: Resampling, names: Sequence[str] = ("first", "second")
) -> dict[str, Any]:
    """|ρ| of the first two columns less |ρ| of the second two, Spearman, with the percentile interval over quants.

    Both pairs are of the same quants in the same order, and each resample draws the same quants for both, so what the
    two share cancels. Near ρ = 0 of either the absolute value bends, and the interval leans away from 0.

    Returns
    -------
    dict
        ``n``, ``estimate``, ``estimate_baseline``, ``stronger_by`` with its interval ``stronger_low`` to
        ``stronger_high``, and ``share_stronger``: resamples in which the first is stronger.

    Raises
    ------
    StatisticsError
        As `paired_columns`; if the pairs differ in length; or if too many resamples are undefined.
    """
    pairs = [correlation_columns(*p, "spearman", (n, "score")) for p, n in zip((first, second), names, strict=True)]
    n = pairs[0][0].size
    if pairs[1][0].size != n:
        raise StatisticsError(
            "Two correlations of different quants cannot be compared.",
            expected=f"{n} quants in both",
            found=pairs[1][0].size,
            do="use the quants that have both",
        )
    rho = [correlation_of_columns(*pair, "spearman") for pair in pairs]
    draws = [correlations_of_counts(resampling.counts(n), *pair, "spearman") for pair in pairs]
    differences = np.abs(draws[0]) - np.abs(draws[1])
    ends = bootstrap_ends(differences, resampling.confidence, n, ("stronger_low", "stronger_high"))
    return {
        "n": n,
        "estimate": rho[0],
        "estimate_baseline": rho[1],
        "stronger_by": abs(rho[0]) - abs(rho[1]),
        **ends,
        "share_stronger": float((defined_draws(differences) > 0).mean()),
    }


def differences_table(
    cohort: pd.DataFrame,
    members: pd.Series,
    metrics: Sequence[str],
    *,
    resampling: Resampling,
    baseline: str = "kl_mean",
    benchmark: str = "composite",
    missing: Missing = "refuse",
) -> pd.DataFrame:
    """Each metric's |ρ| with a score less the baseline's, full cohort and zone.

    Columns: ``metric``, ``baseline``, ``benchmark``, ``subset``, those of `difference_of_strengths`, ``note``.

    Intervals are one by one: among many metrics some one passes by chance.

    Raises
    ------
    StatisticsError
        As `complete_quants`.
    """
    score = score_column(benchmark)
    rows = []
    for subset, part in (("full", cohort), ("zone", cohort[members])):
        for metric in (m for m in metrics if m != baseline):
            quants, left_out = complete_quants(part, [metric, baseline, score], missing=missing)
            columns = [(quants[m], quants[score]) for m in (metric, baseline)]
            settings = {"resampling": resampling, "names": (metric, baseline)}
            row = noted(lambda c=columns, s=settings: difference_of_strengths(*c, **s), {"n": len(quants)})
            key = {"metric": metric, "baseline": baseline, "benchmark": benchmark, "subset": subset}
            rows.append({**key, **row, "note": joined(left_out, row["note"])})
    return registered("differences").frame(rows)
