"""What a correlation owes to one quantizer family: the estimate with each family left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import LEAST_QUANTS
from qkld.statistics.core.correlations_of_resamples import (
    Method,
    correlation,
    correlation_columns,
    correlations_of_counts,
)


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
            "There is no second family.",
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
