"""Metrics on one half of the items beside the net score on the other, so that both never share an item's luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import one_line
from qkld.statistics.items.covariance import binary, item_clusters
from qkld.statistics.items.scores import correct_matrix
from qkld.statistics.prompts.directional_metrics import COLUMNS, Metric, Shifts

LEAST_UNITS = 4
"""Items, or clusters of items, that a task needs for two halves with a spread each."""

MOST_ITEMS = 0.5
"""Share of a task's items on which every quant has to have a value of a column."""


@dataclass(frozen=True)
class Task:
    """One task's items, the cluster of each, and how many were left out for a missing value."""

    shifts: Shifts
    clusters: np.ndarray
    left_out: int


def task_shifts(items: pd.DataFrame, task: str, *, reference: str, quants: Sequence[str], divergence: str) -> Task:
    """One task's items, those without a value in a column that the others have left out and counted.

    A column that some quant lacks on most items is not there: generated answers have no margin.

    Raises
    ------
    StatisticsError
        As `correct_matrix`; if a model has no items, or fewer than `LEAST_UNITS` are left.
    """
    right = correct_matrix(items, task)
    answers = binary(right[[reference, *quants]].to_numpy()).astype(bool)
    wide = {c: correct_matrix(items, task, c) for c in dict.fromkeys((*COLUMNS, divergence)) if c in items}
    whole = {c: table for c, table in wide.items() if (table[list(quants)].notna().mean() > MOST_ITEMS).all()}
    gaps = [table[list(quants)].isna().any(axis=1).to_numpy() for table in whole.values()]
    gaps += [whole[c][reference].isna().to_numpy() for c in whole if whole[c][reference].notna().any()]
    kept = ~np.any(gaps, axis=0) if gaps else np.ones(len(right), dtype=bool)
    clusters = item_clusters(items, task, right.index)
    clusters = np.arange(len(right)) if clusters is None else clusters
    shifts = Shifts(
        answers[:, 1:],
        answers[:, 0],
        {c: table[list(quants)].to_numpy(dtype=float) for c, table in whole.items()},
        {c: table[reference].to_numpy(dtype=float) for c, table in whole.items()},
    ).of(kept)
    if np.unique(clusters[kept]).size < LEAST_UNITS:
        raise StatisticsError(
            f"Task '{task}' has too few items to be split in halves.",
            expected=f"at least {LEAST_UNITS} items, or clusters of items, without a missing value",
            found=f"{np.unique(clusters[kept]).size} of {len(right)} items",
            do="use more items, or leave out the quants that lack values",
        )
    return Task(shifts, clusters[kept], int((~kept).sum()))


@dataclass(frozen=True)
class CrossFit:
    """Metrics and nets of every split, each half in both parts: 2·splits rows.

    Attributes
    ----------
    net : shape (2·splits, quants)
        Score less the reference's on the half that the metric did not see, tasks averaged.
    metrics : metric → shape (2·splits, quants)
        The metric on the other half, averaged over the tasks that have its columns.
    notes : metric → why it is missing, or which tasks it is without; empty where neither
    """

    net: np.ndarray
    metrics: Mapping[str, np.ndarray]
    notes: Mapping[str, str]


def halves(clusters: ArrayLike, splits: int, rng: np.random.Generator) -> np.ndarray:
    """Which items are in the first half, bool (splits, items): half of the clusters each time, rounded down."""
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    units = int(index.max()) + 1
    places = rng.permuted(np.tile(np.arange(units), (splits, 1)), axis=1)
    return (places < units // 2)[:, index]


def cross_fit(
    tasks: Mapping[str, Task], metrics: Sequence[Metric], *, splits: int, rng: np.random.Generator
) -> CrossFit:
    """Every metric on one random half of each task's items and the net on the other, then the other way round."""
    drawn = {name: halves(task.clusters, splits, rng) for name, task in tasks.items()}
    seen = [
        {name: task.shifts.of(drawn[name][split] == first) for name, task in tasks.items()}
        for split in range(splits)
        for first in (True, False)
    ]
    nets = np.stack([np.mean([s.net for s in half.values()], axis=0) for half in seen])
    other = np.arange(len(seen)) ^ 1  # the halves of one split stand beside each other
    found, notes = {}, {}
    for metric in metrics:
        able = [name for name, task in tasks.items() if not metric.missing(task.shifts)]
        without = [name for name in tasks if name not in able]
        if not able:
            notes[metric.name] = f"the items have no {', '.join(metric.missing(next(iter(tasks.values())).shifts))}"
            continue
        try:
            found[metric.name] = np.stack([_over_tasks(metric, half, able) for half in seen])
            notes[metric.name] = f"without {', '.join(without)}" if without else ""
        except StatisticsError as error:
            notes[metric.name] = one_line(error)
    return CrossFit(nets[other], found, notes)


def _over_tasks(metric: Metric, half: Mapping[str, Shifts], able: Sequence[str]) -> np.ndarray:
    """The mean over tasks, as the composite takes it, (quants,).

    Shifts of margins are in the unit of each task's margins: nats, and nats a character by ``acc_norm``.
    """
    return np.mean([metric.compute(half[name]) for name in able], axis=0)
