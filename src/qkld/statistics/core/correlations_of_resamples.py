"""The correlation of a fidelity metric with a score, once and for many resamples of the quants at once.

A resample is held as the counts of how often each quant was drawn; ranks within it follow from the counts by one matrix
product. Resamples are re-ranked: ranking once and resampling the ranks would be another, wrong statistic.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import paired_columns

Method = Literal["spearman", "kendall", "pearson_log"]

_PAIRS_AT_ONCE = 2_000_000
"""Entries of the largest array of pairs of quants that is held at once: 16 MB."""


def correlation_columns(
    x: ArrayLike, y: ArrayLike, method: Method, names: tuple[str, str] = ("x", "y")
) -> tuple[np.ndarray, np.ndarray]:
    """Checked columns; for ``pearson_log`` the first one as its natural logarithm.

    Raises
    ------
    StatisticsError
        As `paired_columns`; or if a logarithm is asked for of a value at or below 0.
    """
    x, y = paired_columns(x, y, names=names)
    if method == "pearson_log":
        if (x <= 0).any():
            raise StatisticsError(
                f"The logarithm of '{names[0]}' is not defined for every quant.",
                expected="values above 0",
                found=f"{int((x <= 0).sum())} of {x.size} at or below 0",
                do="use a rank correlation",
            )
        x = np.log(x)
    return x, y


def correlation(x: ArrayLike, y: ArrayLike, method: Method = "spearman") -> float:
    """Spearman's ρ (midranks), Kendall's τ_b, or Pearson's r of (ln x, y); one value a quant in each column."""
    return correlation_of_columns(*correlation_columns(x, y, method), method)


def correlation_of_columns(x: np.ndarray, y: np.ndarray, method: Method) -> float:
    """The same of columns as `correlation_columns` gives them."""
    if method == "spearman":
        return float(stats.spearmanr(x, y).statistic)
    if method == "kendall":
        return float(stats.kendalltau(x, y, variant="b").statistic)
    return float(stats.pearsonr(x, y).statistic)


def spearman_of_draws(x: ArrayLike, draws: ArrayLike) -> np.ndarray:
    """Spearman's ρ (midranks) of x (n,) with each row of ``draws`` (rows, n); NaN for a constant row."""
    ranks = stats.rankdata(np.asarray(draws), axis=1)
    rank_x = stats.rankdata(x)
    centred, ranks = rank_x - rank_x.mean(), ranks - ranks.mean(axis=1, keepdims=True)
    norms = np.sqrt((centred @ centred) * (ranks**2).sum(axis=1))
    return np.divide(ranks @ centred, norms, out=np.full(len(ranks), np.nan), where=norms > 0)


# --- resamples given by counts ----------------------------------------------------------------------------------------


def resample_counts(n: int, resamples: int, *, rng: np.random.Generator, dtype: DTypeLike = np.float64) -> np.ndarray:
    """How often each of n units was drawn in each resample: ``dtype``, shape (resamples, n), rows summing to n."""
    drawn = rng.integers(0, n, size=(resamples, n))
    drawn += n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(dtype)


def ranks_in_resamples(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Midrank of each quant within each resample, shape (resamples, n): draws below, half of draws equal, and a half.

    ``values`` is one column (n,), or one row a resample (resamples, n) where the values are redrawn too.
    """
    if values.ndim == 1:
        below = (values[:, None] < values[None, :]) + 0.5 * (values[:, None] == values[None, :])
        return counts @ below + 0.5
    half = 0.5 * (counts.sum(axis=1, keepdims=True) + 1)
    blocks = _blocks(counts, values)
    return half + 0.5 * np.concatenate([np.matmul(order_of_pairs(v), c[..., None])[..., 0] for c, v in blocks])


def order_of_pairs(values: np.ndarray) -> np.ndarray:
    """sign(v_i − v_j) of every two quants: (…, n) → (…, n, n)."""
    return np.sign(values[..., :, None] - values[..., None, :])


def _blocks(*arrays: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Rows of all arrays in blocks whose pairs of columns fit into `_PAIRS_AT_ONCE`; one empty block of no rows."""
    rows, n = arrays[0].shape
    edges = range(0, max(1, rows), max(1, _PAIRS_AT_ONCE // n**2))
    step = edges.step
    return [tuple(a[start : start + step] for a in arrays) for start in edges]


def defined_resamples(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which resamples hold at least two distinct values; ``values`` as for `ranks_in_resamples`."""
    if values.ndim == 1:
        equal = (values[:, None] == values[None, :]).astype(counts.dtype)
        return (counts @ equal).max(axis=1) < counts.sum(axis=1)
    drawn = counts > 0
    low = np.where(drawn, values, np.inf).min(axis=1)
    return np.where(drawn, values, -np.inf).max(axis=1) > low


def weighted_pearson(counts: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's r in each resample, columns weighted by its counts; ``x`` and ``y`` (n,) or (resamples, n)."""
    total = counts.sum(axis=1, keepdims=True)
    x = x - (counts * x).sum(axis=1, keepdims=True) / total
    y = y - (counts * y).sum(axis=1, keepdims=True) / total
    weighted = counts * x
    cov, var_x = (np.einsum("bi,bi->b", weighted, other) for other in (y, x))
    return cov / np.sqrt(var_x * np.einsum("bi,bi,bi->b", counts, y, y))


def _kendall_of_counts(counts: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    order_x = order_of_pairs(x)
    if y.ndim == 1:
        return _tau(counts, order_x, order_of_pairs(y))
    return np.concatenate([_tau(c, order_x, order_of_pairs(v)) for c, v in _blocks(counts, y)])


def _tau(counts: np.ndarray, order_x: np.ndarray, order_y: np.ndarray) -> np.ndarray:
    agree, untied_x, untied_y = (
        (np.matmul(counts[:, None, :], pairs)[:, 0, :] * counts).sum(axis=1)
        for pairs in (order_x * order_y, order_x**2, order_y**2)
    )
    return agree / np.sqrt(untied_x * untied_y)


def correlations_of_counts(counts: np.ndarray, x: np.ndarray, y: np.ndarray, method: Method) -> np.ndarray:
    """The correlation in each resample given by its counts, shape (resamples,); NaN where it has a constant column.

    ``x`` (n,) already as `correlation_columns` gives it; ``y`` (n,), or (resamples, n) where scores are redrawn too.
    """
    defined = defined_resamples(counts, x) & defined_resamples(counts, y)
    kept, scores = counts[defined], y if y.ndim == 1 else y[defined]
    if method == "spearman":
        values = weighted_pearson(kept, ranks_in_resamples(kept, x), ranks_in_resamples(kept, scores))
    elif method == "kendall":
        values = _kendall_of_counts(kept, x, scores)
    else:
        values = weighted_pearson(kept, x, scores)
    result = np.full(len(counts), np.nan)
    result[defined] = values
    return result
