"""Whether KLD grows along the text: the later half of the scored positions beside the earlier one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qkld.statistics.tokens.clusters import Floats, Interval, clustered_mean, few_clusters_note

HALF, KL_RATIO = "half", "kl_ratio"
"""In the result table ``fidelity_breakdown``: what the row of the ratio is split by, and its metric."""


def later_over_earlier(kl: Floats, later: NDArray[np.bool_], clusters: NDArray, confidence: float) -> Interval:
    """Mean KL of the later tokens over that of the earlier ones, (tokens,) → 1 where the position makes no difference.

    Both means are of the same windows, which the interval takes into account: CR1 of the ratio's logarithm, linearised
    (Binder 1983, Int Stat Rev 51:279). NaN where a half has no token or no KL.
    """
    if later.all() or not later.any() or min(kl[later].mean(), kl[~later].mean()) <= 0:
        return Interval(np.nan)
    late, early = (np.where(half, kl / kl[half].mean() - 1, 0.0) / half.mean() for half in (later, ~later))
    logarithm = np.log(kl[later].mean() / kl[~later].mean())
    return clustered_mean(logarithm + late - early, clusters, confidence).mapped(np.exp)


def half_row(tokens: pd.DataFrame, confidence: float) -> dict[str, Any]:
    """`later_over_earlier` of one quant's finite tokens of one corpus and context, as a row of the breakdown."""
    position, clusters = tokens["position"].to_numpy(float), tokens["cluster"].to_numpy()
    split, groups = np.quantile(position, 0.5, method="higher"), len(np.unique(clusters))
    ratio = later_over_earlier(tokens["kl"].to_numpy(float), position >= split, clusters, confidence)
    note = "a half without KLD: no ratio" if np.isnan(ratio.estimate) else few_clusters_note(groups)
    where = {"by": HALF, "bucket": 1, "bucket_from": split, "bucket_to": position.max(), "metric": KL_RATIO}
    return {**where, **asdict(ratio), "tokens": len(tokens), "clusters": groups, "note": note}


def half_ratios(breakdown: pd.DataFrame) -> pd.DataFrame:
    """The ratios of a breakdown of one corpus and context: label → split (tokens), estimate, low and high.

    A table made before it had them gives them by its buckets of positions, without an interval.
    """
    made = breakdown[breakdown["metric"] == KL_RATIO].set_index("label")
    rows = made.rename(columns={"bucket_from": "split"})[["split", "estimate", "low", "high"]]
    buckets = breakdown[(breakdown["by"] == "position") & (breakdown["metric"] == "kl_mean")]
    older = {label: own for label, own in buckets.groupby("label", sort=False) if label not in made.index}
    if not older:
        return rows
    return pd.concat([rows, pd.DataFrame([_of_buckets(own) for own in older.values()], index=list(older))])


def _of_buckets(buckets: pd.DataFrame) -> dict[str, float]:
    middle = len(buckets) // 2
    early, late = (_mean(half) for half in (buckets.iloc[:middle], buckets.iloc[middle:]))
    ratio = late / early if early > 0 else np.nan
    return {"split": buckets["bucket_from"].iloc[middle], "estimate": ratio, "low": np.nan, "high": np.nan}


def _mean(buckets: pd.DataFrame) -> float:
    return float(np.average(buckets["estimate"], weights=buckets["tokens"])) if len(buckets) else np.nan
