"""The self-flip floor: how often a model disagrees with itself, and how much a quant flips beyond that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from qkld.errors import StatisticsError, explain
from qkld.statistics.flips import Flips, count_flips
from qkld.statistics.score import correct_matrix


def self_flips(first: ArrayLike, again: ArrayLike) -> Flips:
    """Leapfrogs and drops between two runs of the reference (another seed, batch shape or kernel), 0/1 an item."""
    return count_flips(first, again)


def run_variance(floor: Flips) -> float:
    """Variance of one model's score from run to run, a squared fraction: (f₀ − net₀²)/(2N).

    Two runs of one model differ with variance (f₀ − net₀²)/N; half of it belongs to each.
    """
    return (floor.flip_rate - float(floor.net) ** 2) / (2 * floor.items)


def expected_self_flips(probability_right: ArrayLike) -> float:
    """Flip rate of two sampled runs without any quantization: 2 · mean p(1 − p) over items."""
    p = np.asarray(probability_right, dtype=float)
    if not p.size or not ((p >= 0) & (p <= 1)).all():
        raise StatisticsError(
            explain(
                "Probabilities of a right answer are not probabilities.",
                expected="at least one value, each within 0 and 1",
                found=f"{p.size} values, {p.min(initial=np.inf):g} to {p.max(initial=-np.inf):g}",
                do="give the share of right answers an item over repeated runs",
            )
        )
    return float(2 * (p * (1 - p)).mean())


@dataclass(frozen=True)
class Excess:
    """Flip rate of a quant beyond the reference's with itself, a fraction of the items, with its interval."""

    estimate: float
    low: float
    high: float


def excess_flips(reference: ArrayLike, again: ArrayLike, quant: ArrayLike, confidence: float) -> Excess:
    """f_q − f₀ on the same items, with a normal interval of the paired difference of 0/1 flips.

    A quant is said to disagree with the reference only where the interval lies above 0.
    """
    for other in (again, quant):
        count_flips(reference, other)
    first = np.asarray(reference, dtype=int)
    difference = np.abs(np.asarray(quant, dtype=int) - first) - np.abs(np.asarray(again, dtype=int) - first)
    if difference.size < 2:
        raise StatisticsError(
            explain("Too few items.", expected="at least 2 items", found=f"{difference.size}", do="use more items")
        )
    estimate = float(difference.mean())
    half = float(stats.norm.ppf(0.5 + confidence / 2) * difference.std(ddof=1) / np.sqrt(difference.size))
    return Excess(estimate, estimate - half, estimate + half)


def self_flip_table(
    items: pd.DataFrame,
    *,
    reference: str,
    again: str,
    quants: Sequence[str],
    benchmarks: Sequence[str],
    confidence: float,
) -> pd.DataFrame:
    """Each quant's flip rate beside the reference's with itself, one row a benchmark and quant.

    ``again`` is the label of the reference's second run in ``items``. Columns: ``label``, ``benchmark``, ``items``,
    ``flip_rate``, ``self_flip_rate``, ``excess``, ``excess_low``, ``excess_high``, ``run_variance``; the last is what
    `noise_by_benchmark` takes.

    Raises
    ------
    StatisticsError
        If a model lacks items, or an answer is neither 0 nor 1.
    """
    rows = []
    for benchmark in benchmarks:
        matrix = correct_matrix(items, benchmark)
        absent = [label for label in (reference, again, *quants) if label not in matrix]
        if absent:
            raise StatisticsError(
                explain(
                    f"Some models have no items of '{benchmark}'.",
                    expected=f"items of {reference}, {again} and every quant",
                    found=f"none of {', '.join(absent)}",
                    do="run notebook 03_benchmark_scores for them, or leave them out",
                )
            )
        floor = self_flips(matrix[reference], matrix[again])
        for label in quants:
            excess = excess_flips(matrix[reference], matrix[again], matrix[label], confidence)
            rows.append(
                {
                    "label": label,
                    "benchmark": benchmark,
                    "items": floor.items,
                    "flip_rate": floor.flip_rate + excess.estimate,
                    "self_flip_rate": floor.flip_rate,
                    "excess": excess.estimate,
                    "excess_low": excess.low,
                    "excess_high": excess.high,
                    "run_variance": run_variance(floor),
                }
            )
    return pd.DataFrame(rows)
