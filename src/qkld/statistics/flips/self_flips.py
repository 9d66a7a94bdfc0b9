"""The self-flip floor: how often a model disagrees with itself, and how much a quant flips beyond that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.flips.direction import task_groups
from qkld.statistics.flips.flips import Flips, count_flips
from qkld.statistics.items.answers import clusters_by_task
from qkld.statistics.items.scores import correct_matrix
from qkld.statistics.tokens.clusters import clustered_mean
from qkld.study.registry import registered


def self_flips(first: ArrayLike, again: ArrayLike) -> Flips:
    """Leapfrogs and drops between two runs of the reference (another seed, batch shape or kernel), 0/1 an item."""
    return count_flips(first, again)


def run_variance(floor: Flips) -> float:
    """Variance of one model's score from run to run, a squared fraction: (f₀ − net₀²)/(2N).

    Two runs of one model differ with variance (f₀ − net₀²)/N where items flip independently; half of it belongs to
    each. Every model's answers hold this noise already, so `qkld.statistics.items.covariance.item_covariance` counts
    it.
    """
    return (floor.flip_rate - float(floor.net) ** 2) / (2 * floor.items)


@dataclass(frozen=True)
class Excess:
    """Flip rate of a quant beyond the reference's with itself, a fraction of the items, with its interval."""

    estimate: float
    low: float
    high: float


def excess_flips(
    reference: ArrayLike, again: ArrayLike, quant: ArrayLike, confidence: float, clusters: ArrayLike | None = None
) -> Excess:
    """f_q − f₀ on the same items, with a t interval of the paired difference of 0/1 flips.

    A quant is said to disagree with the reference only where the interval lies above 0. Items of one of the
    ``clusters`` are drawn together (CR1).

    Raises
    ------
    StatisticsError
        With fewer than two items, or clusters of items.
    """
    for other in (again, quant):
        count_flips(reference, other)
    first = np.asarray(reference, dtype=int)
    difference = np.abs(np.asarray(quant, dtype=int) - first) - np.abs(np.asarray(again, dtype=int) - first)
    drawn = np.arange(difference.size) if clusters is None else np.asarray(clusters)
    units = np.unique(drawn).size
    if units < 2:
        raise StatisticsError(
            "Too few items.", expected="at least 2 items, or clusters of them", found=units, do="use more items"
        )
    found = clustered_mean(difference.astype(float), drawn, confidence)
    return Excess(found.estimate, found.low, found.high)


def self_flip_table(
    items: pd.DataFrame,
    *,
    reference: str,
    again: str | None,
    quants: Sequence[str],
    benchmarks: Sequence[str],
    tasks: Sequence[str],
    confidence: float,
) -> pd.DataFrame:
    """Each quant's flip rate beside the reference's with itself, one row a quant on each benchmark and the composite.

    ``again`` is the label of the reference's second run in ``items``; without one only ``flip_rate`` is known, and
    ``note`` says so. Rates of the composite are unweighted means over ``tasks``. Columns: ``label``, ``benchmark``,
    ``items``, ``self_flips`` (a count), ``self_flip_rate``, ``flip_rate``, ``excess`` with ``excess_low`` and
    ``excess_high`` (see `excess_flips`), ``run_variance`` and ``note``.

    Raises
    ------
    StatisticsError
        If a model lacks items, or an answer is neither 0 nor 1.
    """
    models = (reference, *([again] if again else []), *quants)
    everything = list(dict.fromkeys([*benchmarks, *tasks]))
    matrices, clusters = {b: _answers(items, b, models) for b in everything}, clusters_by_task(items, everything) or {}
    rows = []
    for benchmark, parts in task_groups(benchmarks, tasks).items():
        chosen = {task: matrices[task] for task in parts}
        floor = _floor_columns(list(chosen.values()), reference, again) if again else {}
        key = {"benchmark": benchmark, "items": sum(map(len, chosen.values()))}
        for label in quants:
            rate = float(np.mean([count_flips(m[reference], m[label]).flip_rate for m in chosen.values()]))
            beyond = [
                excess_flips(m[reference], m[again], m[label], confidence, clusters.get(task))
                for task, m in chosen.items()
                if again
            ]
            rows.append({"label": label, **key, **floor, "flip_rate": rate, **_excess_columns(beyond)})
    note = "" if again else "the reference was not run a second time"
    return registered("self_flips").frame(rows).assign(note=note)


def _floor_columns(chosen: Sequence[pd.DataFrame], reference: str, again: str) -> dict[str, float]:
    """The reference with itself: flips over all tasks, and the variance of their mean score from run to run."""
    floors = [self_flips(matrix[reference], matrix[again]) for matrix in chosen]
    return {
        "self_flips": sum(floor.volume for floor in floors),
        "self_flip_rate": float(np.mean([floor.flip_rate for floor in floors])),
        "run_variance": sum(map(run_variance, floors)) / len(floors) ** 2,
    }


def _answers(items: pd.DataFrame, benchmark: str, models: Sequence[str]) -> pd.DataFrame:
    matrix = correct_matrix(items, benchmark)
    absent = [label for label in models if label not in matrix]
    if absent:
        raise StatisticsError(
            f"Some models have no items of '{benchmark}'.",
            expected=f"items of {', '.join(models)}",
            found=f"none of {', '.join(absent)}",
            do="run notebook 03_benchmark_scores for them, or leave them out",
        )
    return matrix


def _excess_columns(excess: Sequence[Excess]) -> dict[str, float]:
    """The mean excess over tasks; items of different tasks are drawn independently."""
    if not excess:
        return {}
    mean = float(np.mean([e.estimate for e in excess]))
    half = float(np.sqrt(sum((e.high - e.estimate) ** 2 for e in excess))) / len(excess)
    return {"excess": mean, "excess_low": mean - half, "excess_high": mean + half}
