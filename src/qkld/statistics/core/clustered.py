"""The error of an estimate whose rows come in clusters: several models on one prompt, several questions on one passage.

An estimate that is smooth in its rows has an influence value for each: what the row adds to it, to first order. Rows of
one cluster are not independent of each other, sums over clusters are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from qkld.errors import StatisticsError


def clustered_error(influence: ArrayLike, clusters: ArrayLike) -> tuple[float, int]:
    """Standard error of an estimate and the number of clusters K: SE² = K/(K−1) Σ_g (Σ_{i in g} ψ_i)².

    ``influence`` (rows,) sums to 0; ``clusters`` (rows,) names each row's. One row a cluster gives the usual error.
    For AUROC this is the variance of Obuchowski (1997, Biometrics 53:567).

    Raises
    ------
    StatisticsError
        With fewer than two clusters.
    """
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    k = int(index.max()) + 1 if index.size else 0
    if k < 2:
        raise StatisticsError(
            "One prompt is too few for an interval.", expected="at least 2 prompts", found=k, do="use more items"
        )
    return float(np.sqrt(k / (k - 1) * (np.bincount(index, np.asarray(influence, dtype=float)) ** 2).sum())), k


def half_width(influence: ArrayLike, clusters: ArrayLike, confidence: float) -> float:
    """Half the width of a two-sided interval from `clustered_error`, by Student's t with K − 1 degrees of freedom."""
    error, k = clustered_error(influence, clusters)
    return float(stats.t.ppf(0.5 + confidence / 2, k - 1) * error)


def clustered_share(
    hits: np.ndarray, entered: np.ndarray, clusters: np.ndarray, confidence: float
) -> tuple[float, float, float]:
    """Σhits/Σentered with its interval: what each row adds is (hits − share · entered)/Σentered, clustered, t_{K−1}.

    Rows with nothing entered are left out.

    Raises
    ------
    StatisticsError
        If nothing entered, or only one cluster has.
    """
    used = entered > 0
    if not used.any():
        raise StatisticsError(
            "Nothing can be compared.",
            expected="items on which models differ",
            found="none",
            do="use more items or models that differ more",
        )
    share = hits.sum() / entered.sum()
    half = half_width((hits - share * entered)[used] / entered.sum(), clusters[used], confidence)
    return float(share), float(max(0.0, share - half)), float(min(1.0, share + half))
