"""How reliably each quantity of volume and direction is measured, from the items themselves.

A correlation with a quantity cannot show more than its reliability lets through: volume is estimated with relative
error 1/√(volume), the net with one of 1 or more near the reference. So their correlations with KLD stand beside their
reliabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import noted
from qkld.statistics.flips.flips import QUANTITIES
from qkld.statistics.items.answers import clusters_by_task
from qkld.statistics.items.covariance import item_covariance, net_differences
from qkld.statistics.items.scores import correct_matrix

LEAST_QUANTS = 2
"""Quants that a variance between quants needs."""


def differences(
    items: pd.DataFrame, *, reference: str, tasks: Sequence[str], labels: Sequence[str]
) -> dict[str, np.ndarray]:
    """Task → D of shape (items, quants), int8: 1 leapfrog, −1 drop, 0 the same answer as the reference's.

    Raises
    ------
    StatisticsError
        If models answered different items, an answer is neither 0 nor 1, or a model has no items.
    """
    return {task: net_differences(correct_matrix(items, task), reference, labels) for task in tasks}


def part_of(moved: Mapping[str, np.ndarray], tasks: Sequence[str], kept: np.ndarray | slice) -> dict[str, np.ndarray]:
    """Some tasks and quants of `differences`."""
    return {task: moved[task][:, kept] for task in tasks}


def flip_counts(moved: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leapfrogs and drops of each quant on each task, both (quants, tasks), and items of each task (tasks,)."""
    up, down = (np.stack([(sign * d > 0).sum(axis=0) for d in moved.values()], axis=-1) for sign in (1, -1))
    return up, down, np.array([len(d) for d in moved.values()])


def quantity_values(moved: Mapping[str, np.ndarray], quantity: str) -> np.ndarray:
    """A quantity of each quant over all tasks of ``moved``: (quants,); NaN where it is not defined.

    Counts are sums over the tasks. Rates and direction are of the tasks' mean rates, so that net = flip rate (2f − 1)
    with f the improvement fraction: see `qkld.statistics.flips.flips`.
    """
    up, down = (counts.sum(axis=-1) for counts in flip_counts(moved)[:2])
    rate = np.mean([np.abs(d).mean(axis=0) for d in moved.values()], axis=0)
    net = np.mean([d.mean(axis=0) for d in moved.values()], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "leapfrogs": up,
            "drops": down,
            "volume": up + down,
            "flip_rate": rate,
            "net": net,
            "improvement_fraction": (1 + net / rate) / 2,
            "z": net / np.sqrt(equal_variance(moved)),
        }[quantity].astype(float)


def equal_variance(moved: Mapping[str, np.ndarray]) -> np.ndarray:
    """Variance of each quant's net were leapfrogs and drops equally likely, Σ_b volume_b/(B N_b)²: (quants,)."""
    return np.sum([np.abs(d).sum(axis=0) / (len(d) * len(moved)) ** 2 for d in moved.values()], axis=0)


def influences(moved: Mapping[str, np.ndarray], quantity: str) -> list[np.ndarray]:
    """What each item adds to a quantity of each quant, to first order: one array (items, quants) a task.

    Exact for the counts and rates; for ``improvement_fraction`` and ``z`` the derivative by the item's weight
    (infinitesimal jackknife). Quants must have a defined value.
    """
    value, rate = quantity_values(moved, quantity), quantity_values(moved, "flip_rate")
    size = rate if quantity == "improvement_fraction" else equal_variance(moved)
    return [_influence(d, quantity, value, size, len(d) * len(moved)).astype(float) for d in moved.values()]


def _influence(d: np.ndarray, quantity: str, value: np.ndarray, size: np.ndarray, share: int) -> np.ndarray:
    """`influences` of one task's items; an item is one of ``share`` = tasks × items of the task in a mean rate.

    ``size``: the flip rate for ``improvement_fraction``, `equal_variance` for ``z``.
    """
    match quantity:
        case "leapfrogs":
            return d > 0
        case "drops":
            return d < 0
        case "volume":
            return np.abs(d)
        case "flip_rate":
            return np.abs(d) / share
        case "net":
            return d / share
        case "improvement_fraction":
            return ((d > 0) - value * np.abs(d)) / (share * size)
        case _:
            return d / (share * np.sqrt(size)) - value * np.abs(d) / (2 * share**2 * size)


def noise_variance(parts: Sequence[np.ndarray], clusters: Sequence[np.ndarray | None] | None = None) -> float:
    """Variance between quants that drawing other items alone would make: tr(C V)/(n − 1), C = I − 11ᵀ/n.

    V is the item covariance of the quants' values, from `influences` within each task, tasks independent. What all
    quants share through their items moves none against another and is not counted. Items of one of the ``clusters``,
    one label an item and task, are drawn together.
    """
    groups = clusters if clusters is not None else [None] * len(parts)
    covariance = sum(len(p) ** 2 * item_covariance(p, c) for p, c in zip(parts, groups, strict=True))
    quants = len(covariance)
    return float((np.trace(covariance) - covariance.sum() / quants) / (quants - 1))


def reliability_of(
    moved: Mapping[str, np.ndarray], quantity: str, clusters: Mapping[str, np.ndarray] | None = None
) -> float:
    """Share of a quantity's variance between quants that is no item noise: 1 − tr(C V)/((n − 1) Var).

    For ``net`` on one task it is KR-20 of the scores (Hoyt's 1 − 1/F) exactly. Not cut off at 0: a negative value says
    that quants differ less than chance alone would make them.

    Raises
    ------
    StatisticsError
        If fewer than two quants have a value, or all have the same.
    """
    values = quantity_values(moved, quantity)
    known = np.isfinite(values)
    spread = values[known].var(ddof=1) if known.sum() >= LEAST_QUANTS else 0.0
    if spread == 0:
        raise StatisticsError(
            f"The reliability of '{quantity}' is not defined.",
            expected=f"at least {LEAST_QUANTS} quants with different values",
            found=f"{len(np.unique(values[known]))} distinct values among {int(known.sum())} quants",
            do="use more items or other quants",
        )
    parts = influences({task: d[:, known] for task, d in moved.items()}, quantity)
    noise = noise_variance(parts, None if clusters is None else [clusters[task] for task in moved])
    return 1 - noise / float(spread)


def task_groups(benchmarks: Sequence[str], tasks: Sequence[str]) -> dict[str, list[str]]:
    """Benchmark → its tasks: each benchmark alone, then ``composite`` of ``tasks`` where there are any."""
    return {b: [b] for b in benchmarks} | ({"composite": list(tasks)} if tasks else {})


def direction_reliability(
    items: pd.DataFrame,
    subsets: Mapping[str, Sequence[str]],
    *,
    reference: str,
    benchmarks: Sequence[str],
    tasks: Sequence[str],
) -> pd.DataFrame:
    """Reliability of each of `QUANTITIES`: ``benchmark, subset, quantity, n, reliability, note``.

    ``subsets`` maps a name to labels of quants, for example full and zone.
    """
    labels = list(dict.fromkeys(label for group in subsets.values() for label in group))
    everything = list(dict.fromkeys([*benchmarks, *tasks]))
    moved = differences(items, reference=reference, tasks=everything, labels=labels)
    clusters = clusters_by_task(items, everything)
    rows: list[dict[str, Any]] = []
    unknown = {"reliability": np.nan}
    for benchmark, parts in task_groups(benchmarks, tasks).items():
        for subset, group in subsets.items():
            here = part_of(moved, parts, np.isin(labels, list(group)))
            for quantity in QUANTITIES:
                found = noted(lambda m=here, q=quantity: {"reliability": reliability_of(m, q, clusters)}, unknown)
                key = {"benchmark": benchmark, "subset": subset, "quantity": quantity}
                rows.append({**key, "n": int(np.isfinite(quantity_values(here, quantity)).sum()), **found})
    return pd.DataFrame(rows)
