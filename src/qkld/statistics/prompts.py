"""Divergence of failed beside passed items: ratio of geometric means and AUROC.

arXiv:2606.19558 reports the failed-to-passed ratio of the geometric mean KLD, [1.08, 1.22] over five models, without
intervals. Here the interval comes from influence values summed by prompt, with Student's t on prompts − 1 degrees of
freedom, so that several models on the same prompts count as what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from qkld.errors import StatisticsError, explain
from qkld.statistics.checks import noted
from qkld.statistics.score import correct_matrix


def _groups(kld: ArrayLike, failed: ArrayLike, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    kld, failed = np.asarray(kld, dtype=float), np.asarray(failed, dtype=bool)
    if kld.ndim != 1 or kld.shape != failed.shape or not np.isfinite(kld).all() or (kld < 0).any():
        raise StatisticsError(
            explain(
                "Failed and passed items need one divergence each.",
                expected="two equally long columns, KLD finite and not negative",
                found=f"shapes {kld.shape} and {failed.shape}, {int((~(kld >= 0)).sum())} missing or negative",
                do="leave out items without a divergence by name",
            )
        )
    few = min(int(failed.sum()), int((~failed).sum()))
    if few < minimum:
        raise StatisticsError(
            explain(
                "Too few failed or passed items.",
                expected=f"at least {minimum} of each",
                found=f"{int(failed.sum())} failed, {int((~failed).sum())} passed",
                do="use more items, or a benchmark of another difficulty",
            )
        )
    return kld, failed


def auroc(kld: ArrayLike, failed: ArrayLike, *, minimum: int = 1) -> float:
    """P(KLD of a failed item > KLD of a passed one) + ½ P(equal); 0.5 is no information."""
    kld, failed = _groups(kld, failed, minimum)
    n = int(failed.sum())
    return float((stats.rankdata(kld)[failed].sum() - n * (n + 1) / 2) / (n * (failed.size - n)))


@dataclass(frozen=True)
class LogRatio:
    """ln of a failed-to-passed ratio, with what each item adds to its error."""

    estimate: float
    influence: np.ndarray
    within_sd: float


def log_ratio(kld: ArrayLike, failed: ArrayLike, *, epsilon: float, minimum: int = 2) -> LogRatio:
    """Mean of ln(KLD + ε) over failed items minus that over passed ones; ``influence`` (items,) sums to 0.

    ``epsilon`` (nats) stands for float noise, so that an item with KLD 0 has a logarithm. ``within_sd`` is the standard
    deviation of ln(KLD + ε) inside the two groups: the same ratio separates less where it is larger.
    """
    kld, failed = _groups(kld, failed, minimum)
    logs = np.log(kld + epsilon)
    means = np.where(failed, logs[failed].mean(), logs[~failed].mean())
    sizes = np.where(failed, failed.sum(), -(~failed).sum())
    residual = logs - means
    within = np.sqrt((residual**2).sum() / (failed.size - 2))
    return LogRatio(float(logs[failed].mean() - logs[~failed].mean()), residual / sizes, float(within))


def ratio_interval(
    estimate: float, influence: np.ndarray, clusters: ArrayLike, confidence: float
) -> tuple[float, float]:
    """Interval of a ratio from the influence values of its logarithm: summed by cluster, SE² = K/(K−1) Σ(Σψ)², t_{K−1}.

    Raises
    ------
    StatisticsError
        With fewer than two clusters.
    """
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    k = int(index.max()) + 1
    if k < 2:
        raise StatisticsError(
            explain("One prompt has no interval.", expected="at least 2 prompts", found=k, do="use more items")
        )
    error = np.sqrt(k / (k - 1) * (np.bincount(index, influence) ** 2).sum())
    half = stats.t.ppf(0.5 + confidence / 2, k - 1) * error
    return float(np.exp(estimate - half)), float(np.exp(estimate + half))


EMPTY: dict[str, Any] = {"ratio": np.nan, "low": np.nan, "high": np.nan, "sd_log": np.nan, "auroc": np.nan}
POOL = "all quants"


def prompt_table(
    items: pd.DataFrame,
    *,
    models: Sequence[str],
    benchmarks: Sequence[str],
    divergence: str,
    minimum_failed: int,
    epsilon: float,
    confidence: float,
) -> pd.DataFrame:
    """Failed-to-passed ratio and AUROC of each model on each benchmark, and of all together (label `POOL`).

    Failure is judged on the model's own answer. A benchmark with fewer than ``minimum_failed`` failed or passed items
    keeps its row, with no estimate and a ``note``. The row of all is the geometric mean of the models' ratios.
    """
    rows = []
    for benchmark in benchmarks:
        kld, right = correct_matrix(items, benchmark, divergence), correct_matrix(items, benchmark)
        columns = {m: (kld[m].to_numpy(float), right[m].to_numpy() == 0) for m in models}
        mine = [
            {"label": model, "benchmark": benchmark, **_row(*columns[model], minimum_failed, epsilon, confidence)}
            for model in models
        ]
        measured = [columns[row["label"]] for row in mine if not np.isnan(row["ratio"])]
        totals = {c: sum(row[c] for row in mine) for c in ("items", "failed", "passed", "zeros", "missing")}
        totals["share_zero"] = totals["zeros"] / totals["items"] if totals["items"] else np.nan
        pool = noted(lambda m=measured: _pool(m, len(models), epsilon, confidence), EMPTY)
        rows += [*mine, {"label": POOL, "benchmark": benchmark, **totals, **pool}]
    return pd.DataFrame(rows)


def _row(kld: np.ndarray, failed: np.ndarray, minimum: int, epsilon: float, confidence: float) -> dict[str, Any]:
    known = ~np.isnan(kld)
    kld, failed = kld[known], failed[known]
    return {
        **_counts(kld, failed, int((~known).sum())),
        **noted(lambda: _one(kld, failed, minimum, epsilon, confidence), EMPTY),
    }


def _counts(kld: np.ndarray, failed: np.ndarray, missing: int) -> dict[str, Any]:
    zeros = int((kld == 0).sum())
    return {
        "items": kld.size,
        "failed": int(failed.sum()),
        "passed": int((~failed).sum()),
        "zeros": zeros,
        "share_zero": zeros / kld.size if kld.size else np.nan,
        "missing": missing,
    }


def _one(kld: np.ndarray, failed: np.ndarray, minimum: int, epsilon: float, confidence: float) -> dict[str, Any]:
    result = log_ratio(kld, failed, epsilon=epsilon, minimum=minimum)
    low, high = ratio_interval(result.estimate, result.influence, np.arange(kld.size), confidence)
    return {
        "ratio": float(np.exp(result.estimate)),
        "low": low,
        "high": high,
        "sd_log": result.within_sd,
        "auroc": auroc(kld, failed),
    }


def _pool(
    columns: Sequence[tuple[np.ndarray, np.ndarray]], models: int, epsilon: float, confidence: float
) -> dict[str, Any]:
    """Geometric mean of the models' ratios; a prompt's influence is the mean of its influences over models."""
    if len(columns) < 2:
        raise StatisticsError(
            explain("No pool.", expected="at least 2 quants with a ratio", found=len(columns), do="measure more quants")
        )
    known = [~np.isnan(kld) for kld, _ in columns]
    ratios = [log_ratio(kld[k], failed[k], epsilon=epsilon) for (kld, failed), k in zip(columns, known, strict=True)]
    prompts = np.concatenate([np.flatnonzero(k) for k in known])
    influence = np.concatenate([r.influence for r in ratios]) / len(ratios)
    estimate = float(np.mean([r.estimate for r in ratios]))
    low, high = ratio_interval(estimate, influence, prompts, confidence)
    return {
        "ratio": float(np.exp(estimate)),
        "low": low,
        "high": high,
        "sd_log": float(np.mean([r.within_sd for r in ratios])),
        "note": f"geometric mean over {len(ratios)} of {models} quants, interval clustered by prompt",
    }
