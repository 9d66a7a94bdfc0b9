"""Correlation of a fidelity metric with a score over quants: estimate, intervals, permutation p.

The interval of arXiv:2606.19558 is the percentile bootstrap over quants, B = 10,000. Resamples are re-ranked: ranking
once and resampling the ranks would be another, wrong statistic. Here a resample is held as the counts of how often each
quant was drawn; ranks within it follow from the counts by one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from qkld.errors import StatisticsError, explain
from qkld.statistics.checks import LEAST_QUANTS, noted, paired_columns, quants_of, score_column

Method = Literal["spearman", "kendall", "pearson_log"]

MOST_UNDEFINED = 0.05
"""Share of resamples with a constant column above which no bootstrap interval is given."""

_TIE = 1e-12
"""Two correlations closer than this count as equal: permuted sums round differently."""


@dataclass(frozen=True)
class Resampling:
    """How uncertainty is computed: level, bootstrap resamples, permutations, and the seed of both."""

    confidence: float
    resamples: int
    permutations: int
    seed: int


def _columns(
    x: ArrayLike, y: ArrayLike, method: Method, names: tuple[str, str] = ("x", "y")
) -> tuple[np.ndarray, np.ndarray]:
    """Checked columns; for ``pearson_log`` the first one as its natural logarithm."""
    x, y = paired_columns(x, y, names=names)
    if method == "pearson_log":
        if (x <= 0).any():
            raise StatisticsError(
                explain(
                    f"The logarithm of '{names[0]}' is not defined for every quant.",
                    expected="values above 0",
                    found=f"{int((x <= 0).sum())} of {x.size} at or below 0",
                    do="use a rank correlation",
                )
            )
        x = np.log(x)
    return x, y


def correlation(x: ArrayLike, y: ArrayLike, method: Method = "spearman") -> float:
    """Spearman's ρ (midranks), Kendall's τ_b, or Pearson's r of (ln x, y); one value a quant in each column."""
    x, y = _columns(x, y, method)
    if method == "spearman":
        return float(stats.spearmanr(x, y).statistic)
    if method == "kendall":
        return float(stats.kendalltau(x, y, variant="b").statistic)
    return float(stats.pearsonr(x, y).statistic)


# --- bootstrap over quants --------------------------------------------------------------------------------------------


def resample_counts(n: int, resamples: int, *, rng: np.random.Generator) -> np.ndarray:
    """How often each of n quants was drawn in each resample: float64, shape (resamples, n), rows summing to n."""
    drawn = rng.integers(0, n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(float)


def _ranks_in_resamples(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Midrank of each quant within each resample, shape of ``counts``: draws below, half of draws equal, and a half."""
    below = (values[:, None] < values[None, :]) + 0.5 * (values[:, None] == values[None, :])
    return counts @ below + 0.5


def _weighted_pearson(counts: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    total = counts.sum(axis=1, keepdims=True)
    x = x - (counts * x).sum(axis=1, keepdims=True) / total
    y = y - (counts * y).sum(axis=1, keepdims=True) / total
    cov, var_x, var_y = ((counts * a * b).sum(axis=1) for a, b in ((x, y), (x, x), (y, y)))
    return cov / np.sqrt(var_x * var_y)


def _weighted_kendall(counts: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    order_x, order_y = (np.sign(v[:, None] - v[None, :]) for v in (x, y))
    agree, untied_x, untied_y = (
        ((counts @ pairs) * counts).sum(axis=1) for pairs in (order_x * order_y, order_x**2, order_y**2)
    )
    return agree / np.sqrt(untied_x * untied_y)


def _defined(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which resamples hold at least two distinct values."""
    equal = (values[:, None] == values[None, :]).astype(float)
    return ((counts @ equal) * counts).sum(axis=1) < counts.sum(axis=1) ** 2


def _correlations_of_counts(counts: np.ndarray, x: np.ndarray, y: np.ndarray, method: Method) -> np.ndarray:
    """The correlation in each resample given by its counts; NaN where it has a constant column."""
    defined = _defined(counts, x) & _defined(counts, y)
    kept = counts[defined]
    if method == "spearman":
        values = _weighted_pearson(kept, _ranks_in_resamples(kept, x), _ranks_in_resamples(kept, y))
    elif method == "kendall":
        values = _weighted_kendall(kept, x, y)
    else:
        values = _weighted_pearson(kept, x, y)
    result = np.full(len(counts), np.nan)
    result[defined] = values
    return result


def bootstrap_correlations(
    x: ArrayLike, y: ArrayLike, *, resamples: int, rng: np.random.Generator, method: Method = "spearman"
) -> np.ndarray:
    """The correlation in resamples of whole quants, re-ranked in each; NaN where a resample has a constant column."""
    x, y = _columns(x, y, method)
    return _correlations_of_counts(resample_counts(x.size, resamples, rng=rng), x, y, method)


def percentile_interval(draws: np.ndarray, confidence: float) -> tuple[float, float]:
    """The percentile interval of bootstrap draws.

    Undefined draws are left out. arXiv:2606.19558 does not say what it does with them.

    Raises
    ------
    StatisticsError
        If more than `MOST_UNDEFINED` of the draws are undefined.
    """
    undefined = np.isnan(draws)
    if undefined.mean() > MOST_UNDEFINED:
        raise StatisticsError(
            explain(
                "Too many bootstrap resamples have a constant column.",
                expected=f"at most {MOST_UNDEFINED:.0%} of resamples undefined",
                found=f"{undefined.mean():.1%}",
                do="use quants with more distinct values",
            )
        )
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws[~undefined], [tail, 1 - tail])
    return float(low), float(high)


# --- interval on the z scale ------------------------------------------------------------------------------------------


def _z(rho: ArrayLike) -> np.ndarray:
    return np.arctanh(np.clip(rho, -0.9999, 0.9999))


def bonett_wright_error(rho: float, n: int) -> float:
    """Standard error of atanh ρ of Spearman (Bonett and Wright 2000): √((1 + ρ²/2)/(n − 3))."""
    return float(np.sqrt((1 + rho**2 / 2) / (n - 3)))


def jackknife_error(x: ArrayLike, y: ArrayLike) -> float:
    """Jackknife standard error of atanh ρ of Spearman: each quant left out once, the rest ranked anew.

    Raises
    ------
    StatisticsError
        If there are too few quants for that, or the rest is constant without one of them.
    """
    x, y = paired_columns(x, y, least=LEAST_QUANTS + 1)
    z = _z(_correlations_of_counts(1 - np.eye(x.size), x, y, "spearman"))
    if np.isnan(z).any():
        raise StatisticsError(
            explain(
                "The jackknife leaves a constant column.",
                expected="at least 2 distinct values whichever quant is left out",
                found="one quant differs from all others",
                do="use quants with more distinct values",
            )
        )
    return float(np.sqrt((x.size - 1) / x.size * ((z - z.mean()) ** 2).sum()))


def zmax_interval(x: ArrayLike, y: ArrayLike, confidence: float) -> tuple[float, float]:
    """Interval of Spearman's ρ on the z scale with the larger of Bonett–Wright's and the jackknife's standard error.

    Its coverage holds where the cohort is curved and heteroscedastic, which Bonett–Wright alone loses. Not the paper's.
    """
    x, y = paired_columns(x, y, least=LEAST_QUANTS + 1)
    rho = correlation(x, y)
    half = stats.norm.ppf(0.5 + confidence / 2) * max(bonett_wright_error(rho, x.size), jackknife_error(x, y))
    low, high = np.tanh(_z(rho) + np.array([-half, half]))
    return float(low), float(high)


# --- permutation ------------------------------------------------------------------------------------------------------


def _permuted_indices(families: np.ndarray, permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Random rearrangements of quants within their families, shape (permutations, n)."""
    keys = rng.random((permutations, families.size))
    result = np.tile(np.arange(families.size), (permutations, 1))
    for family in np.unique(families):
        members = np.flatnonzero(families == family)
        result[:, members] = members[np.argsort(keys[:, members], axis=1)]
    return result


def _permuted_correlations(x: np.ndarray, y: np.ndarray, order: np.ndarray, method: Method) -> np.ndarray:
    """The correlation of x with y rearranged by each row of ``order``; the last one is y as it is."""
    order = np.vstack([order, np.arange(x.size)])
    if method == "kendall":
        first, second = np.triu_indices(x.size, 1)
        sign_x, sign_y = np.sign(x[first] - x[second]), np.sign(y[:, None] - y[None, :])
        norm = np.sqrt((sign_x**2).sum() * (sign_y[first, second] ** 2).sum())
        chunks = np.array_split(order, -(-len(order) // 1000))
        return np.concatenate([sign_y[o[:, first], o[:, second]] @ sign_x for o in chunks]) / norm
    if method == "spearman":
        x, y = stats.rankdata(x), stats.rankdata(y)
    x, y = x - x.mean(), y - y.mean()
    return (y[order] @ x) / np.sqrt((x @ x) * (y @ y))


def permutation_p(
    x: ArrayLike,
    y: ArrayLike,
    *,
    permutations: int,
    rng: np.random.Generator,
    families: Sequence[str] | np.ndarray | None = None,
    method: Method = "spearman",
) -> float:
    """Two-sided permutation p of no association, counting the observed arrangement as one of them (add-one).

    With ``families``, scores change places within a quantizer family only, which holds its size where families share
    a recipe; the distance is then taken from the mean over permutations, which is not 0.

    Raises
    ------
    StatisticsError
        As `paired_columns`; or if no family has two quants whose scores could change places.
    """
    x, y = _columns(x, y, method)
    groups = np.zeros(x.size) if families is None else np.asarray(families)
    if not any(len(set(y[groups == g])) > 1 and len(set(x[groups == g])) > 1 for g in np.unique(groups)):
        raise StatisticsError(
            explain(
                "No two quants can change places within a family.",
                expected="a family with at least 2 quants that differ in metric and score",
                found=f"{np.unique(groups).size} families of {x.size} quants",
                do="use the permutation over all quants, or measure more quants a family",
            )
        )
    draws = _permuted_correlations(x, y, _permuted_indices(groups, permutations, rng), method)
    centre = 0.0 if families is None else draws.mean()
    return float((np.abs(draws - centre) >= abs(draws[-1] - centre) - _TIE).mean())


def without_each_family(
    x: ArrayLike, y: ArrayLike, families: Sequence[str] | np.ndarray, method: Method = "spearman"
) -> pd.DataFrame:
    """The correlation with one quantizer family left out at a time: ``family``, ``n``, ``estimate``."""
    x, y = _columns(x, y, "spearman")
    families = np.asarray(families)
    names = np.unique(families)
    if names.size < 2:
        raise StatisticsError(
            explain(
                "There is no second family.",
                expected="at least 2 families",
                found=f"only {', '.join(map(str, names))}",
                do="add quants of another quantizer",
            )
        )
    rows = [(f, int((families != f).sum()), correlation(x[families != f], y[families != f], method)) for f in names]
    return pd.DataFrame(rows, columns=["family", "n", "estimate"])


# --- rows of result tables --------------------------------------------------------------------------------------------

EMPTY: dict[str, Any] = {
    "n": 0,
    "estimate": np.nan,
    "low": np.nan,
    "high": np.nan,
    "zmax_low": np.nan,
    "zmax_high": np.nan,
    "p": np.nan,
    "p_within_families": np.nan,
    "without_family_low": np.nan,
    "without_family_high": np.nan,
    "distinct_metric": 0,
    "distinct_score": 0,
    "undefined_resamples": 0,
}
"""The columns of a correlation in a result table, before anything is known."""


def correlate(
    x: ArrayLike,
    y: ArrayLike,
    *,
    resampling: Resampling,
    families: Sequence[str] | np.ndarray | None = None,
    method: Method = "spearman",
    names: tuple[str, str] = ("x", "y"),
) -> dict[str, Any]:
    """One row: the correlation with all that goes with it. What can not be computed is NaN, and ``note`` says why.

    Bootstrap and permutation start from ``resampling.seed`` in every row, so a row does not depend on the others.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    counted = {"n": x.size, "distinct_metric": np.unique(x).size, "distinct_score": np.unique(y).size}
    row = {"method": method, **EMPTY, **counted}
    row = noted(lambda: {"estimate": _estimate(x, y, method, names)}, row)
    if row["note"]:
        return row
    parts = [
        lambda: _bootstrap_part(x, y, resampling, method),
        lambda: {"p": _p(x, y, resampling, None, method)},
    ]
    if method == "spearman":
        parts.append(lambda: _zmax_part(x, y, resampling.confidence))
    if families is not None:
        parts.append(lambda: {"p_within_families": _p(x, y, resampling, families, method)})
        parts.append(lambda: _families_part(x, y, families, method))
    for part in parts:
        found = noted(part, {})
        notes = [n for n in (row["note"], found.pop("note")) if n]
        row.update(found, note=" | ".join(notes))
    return row


def _estimate(x: np.ndarray, y: np.ndarray, method: Method, names: tuple[str, str]) -> float:
    _columns(x, y, method, names)
    return correlation(x, y, method)


def _bootstrap_part(x: np.ndarray, y: np.ndarray, resampling: Resampling, method: Method) -> dict[str, Any]:
    rng = np.random.default_rng(resampling.seed)
    draws = bootstrap_correlations(x, y, resamples=resampling.resamples, rng=rng, method=method)
    low, high = percentile_interval(draws, resampling.confidence)
    return {"low": low, "high": high, "undefined_resamples": int(np.isnan(draws).sum())}


def _zmax_part(x: np.ndarray, y: np.ndarray, confidence: float) -> dict[str, Any]:
    low, high = zmax_interval(x, y, confidence)
    return {"zmax_low": low, "zmax_high": high}


def _families_part(x: np.ndarray, y: np.ndarray, families: Sequence[str] | np.ndarray, method: Method) -> dict:
    estimates = without_each_family(x, y, families, method)["estimate"]
    return {"without_family_low": estimates.min(), "without_family_high": estimates.max()}


def _p(x: np.ndarray, y: np.ndarray, resampling: Resampling, families: Any, method: Method) -> float:
    rng = np.random.default_rng(resampling.seed)
    return permutation_p(x, y, permutations=resampling.permutations, rng=rng, families=families, method=method)


def correlation_table(
    cohort: pd.DataFrame,
    metrics: Sequence[str],
    benchmarks: Sequence[str],
    *,
    resampling: Resampling,
    method: Method = "spearman",
    subset: str = "full",
) -> pd.DataFrame:
    """Each metric against each benchmark's score over the quants of ``cohort``; ``composite`` is a benchmark too.

    Without a column ``family`` nothing is computed within families.
    """
    quants = quants_of(cohort)
    rows = []
    for metric in metrics:
        for benchmark in benchmarks:
            score = score_column(benchmark)
            row = correlate(
                quants[metric],
                quants[score],
                resampling=resampling,
                families=quants.get("family"),
                method=method,
                names=(metric, score),
            )
            rows.append({"metric": metric, "benchmark": benchmark, "subset": subset, **row})
    return pd.DataFrame(rows)
