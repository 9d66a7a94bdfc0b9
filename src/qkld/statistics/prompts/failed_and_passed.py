"""Divergence of failed beside passed items: ratio of geometric means and AUROC.

arXiv:2606.19558 reports the failed-to-passed ratio of the geometric mean KLD, [1.08, 1.22] over five models, without
intervals. Here the interval comes from influence values summed by prompt, with Student's t on prompts − 1 degrees of
freedom, so that several models on the same prompts count as what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.core.auroc import auroc
from qkld.statistics.core.checks import noted
from qkld.statistics.core.clustered import half_width
from qkld.statistics.prompts.prompt_rows import PromptItems, labelled, refuse_short
from qkld.study.registry import registered


def _groups(kld: ArrayLike, failed: ArrayLike, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    kld, failed = np.asarray(kld, dtype=float), np.asarray(failed, dtype=bool)
    if kld.ndim != 1 or kld.shape != failed.shape or not np.isfinite(kld).all() or (kld < 0).any():
        raise StatisticsError(
            "Every failed or passed item needs one KLD.",
            expected="two equally long columns, KLD finite and not negative",
            found=f"shapes {kld.shape} and {failed.shape}, {int((~(kld >= 0)).sum())} missing or negative",
            do="leave out items without a KLD",
        )
    few = min(int(failed.sum()), int((~failed).sum()))
    if few < minimum:
        raise StatisticsError(
            "Too few failed or passed items.",
            expected=f"at least {minimum} of each",
            found=f"{int(failed.sum())} failed, {int((~failed).sum())} passed",
            do="use more items, or a benchmark of different difficulty",
        )
    return kld, failed


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
    half = half_width(influence, clusters, confidence)
    return float(np.exp(estimate - half)), float(np.exp(estimate + half))


def prompt_table(prompts: PromptItems, *, minimum_failed: int, epsilon: float, confidence: float) -> pd.DataFrame:
    """Failed-to-passed ratio and AUROC of each model on each benchmark, and of all together.

    All quants together are `ALL_QUANTS`, all benchmarks `ALL_BENCHMARKS`.

    Failure is judged on the model's own answer. What has fewer than ``minimum_failed`` failed or passed items keeps its
    row, with no estimate and a ``note``. A row of several quants or benchmarks holds the geometric mean of their
    ratios, and the AUROC over pairs of items of one quant and benchmark; intervals are clustered by prompt.
    """
    call = {"minimum": minimum_failed, "epsilon": epsilon, "confidence": confidence, "column": prompts.divergence}
    table = []
    for benchmark, part in prompts.parts():
        for label, own in labelled(part, prompts.models):
            known = own[own[prompts.divergence].notna()]
            counts = _counts(known, prompts.divergence, len(own) - len(known))
            found = noted(lambda b=benchmark, k=known: _estimates(b, prompts.short, k, **call), {})
            table.append({"label": label, "benchmark": benchmark, **counts, **found})
    return registered("prompts").frame(table)


def _counts(known: pd.DataFrame, column: str, missing: int) -> dict[str, Any]:
    zeros = int((known[column] == 0).sum())
    return {
        "items": len(known),
        "failed": int(known["failed"].sum()),
        "passed": int((~known["failed"]).sum()),
        "zeros": zeros,
        "share_zero": zeros / len(known) if len(known) else np.nan,
        "missing": missing,
    }


def _estimates(
    benchmark: str,
    short: Mapping[str, str],
    known: pd.DataFrame,
    *,
    column: str,
    minimum: int,
    epsilon: float,
    confidence: float,
) -> dict[str, Any]:
    """Ratio and AUROC of the strata (a model on a benchmark) that have enough of both outcomes."""
    refuse_short(benchmark, short)
    used = known if known["stratum"].nunique() == 1 else _with_enough(known, minimum)
    kld, failed, ratios, influence = used[column].to_numpy(), used["failed"].to_numpy(), [], np.empty(len(used))
    for places in used.groupby("stratum").indices.values():
        ratio = log_ratio(kld[places], failed[places], epsilon=epsilon, minimum=minimum)
        ratios.append(ratio)
        influence[places] = ratio.influence
    influence /= len(ratios)
    estimate = float(np.mean([r.estimate for r in ratios]))
    low, high = ratio_interval(estimate, influence, used["prompt"], confidence)
    separated = auroc(kld, failed, used["stratum"])
    auroc_low, auroc_high = separated.interval(used["prompt"], confidence)
    return {
        "ratio": float(np.exp(estimate)),
        "low": low,
        "high": high,
        "sd_log": float(np.mean([r.within_sd for r in ratios])),
        "auroc": separated.estimate,
        "auroc_low": auroc_low,
        "auroc_high": auroc_high,
        "note": _made_of(used, known),
    }


def _with_enough(known: pd.DataFrame, minimum: int) -> pd.DataFrame:
    """The rows of strata with at least ``minimum`` failed and passed items."""
    failed = known.groupby("stratum")["failed"].agg(["sum", "size"])
    enough = failed.index[np.minimum(failed["sum"], failed["size"] - failed["sum"]) >= minimum]
    used = known[known["stratum"].isin(enough)]
    if used.empty:
        raise StatisticsError(
            "No quant has enough failed and passed items to be pooled.",
            expected=f"a quant with at least {minimum} failed and {minimum} passed items",
            found=f"none of {len(failed)}",
            do="use more items",
        )
    return used


def _made_of(used: pd.DataFrame, known: pd.DataFrame) -> str:
    """What a row of several strata is a mean over; empty for one."""
    if known["stratum"].nunique() == 1:
        return ""
    parts = [
        f"{used[column].nunique()} of {known[column].nunique()} {name}"
        for column, name in (("model", "quants"), ("benchmark", "benchmarks"))
        if known[column].nunique() > 1
    ]
    return f"geometric mean over {' and '.join(parts)}, interval clustered by prompt"
