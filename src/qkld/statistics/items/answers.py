"""Right and wrong answers of many models to the same items, as arrays and as the units that are drawn or split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import binary, item_clusters
from qkld.statistics.items.probability import PROBABILITY, probability_differences
from qkld.statistics.items.scores import correct_matrix
from qkld.statistics.items.units import unit_sums


def answers_by_task(items: pd.DataFrame, tasks: Sequence[str], labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Each task's answers, bool, shape (models, items), models in the order of ``labels``, items by their name.

    Raises
    ------
    StatisticsError
        If a model has no items, lacks some of them, or an answer is neither 0 nor 1.
    """
    found = {}
    for task in tasks:
        matrix = correct_matrix(items, task)
        absent = [label for label in labels if label not in matrix.columns]
        if absent:
            raise StatisticsError(
                f"Some models have no items of '{task}'.",
                expected=f"items of {len(labels)} models",
                found=f"none of {', '.join(absent)}",
                do="run notebook 03_benchmark_scores for them, or leave them out",
            )
        found[task] = checked_answers(matrix[list(labels)].to_numpy().T, len(labels), task)
    return found


def probabilities_by_task(items: pd.DataFrame, tasks: Sequence[str], labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Each task's probabilities of the right choice, shape (models, items), in the orders of `answers_by_task`.

    Raises
    ------
    StatisticsError
        As `probability_differences`.
    """
    return {task: probability_differences(correct_matrix(items, task, PROBABILITY), None, labels).T for task in tasks}


def clusters_by_task(items: pd.DataFrame, tasks: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The cluster of each item of a task, (items,), in the order of `answers_by_task`; None without such a column.

    Raises
    ------
    StatisticsError
        As `covariance.item_clusters`.
    """
    if "cluster" not in items:
        return None
    return {task: item_clusters(items, task, correct_matrix(items, task).index) for task in tasks}


def checked_answers(matrix: ArrayLike, models: int, benchmark: str) -> np.ndarray:
    """Right or wrong answers of so many models as bool, shape (models, items).

    Raises
    ------
    StatisticsError
        If a value is neither 0 nor 1, or there are other models than expected.
    """
    answers = binary(matrix).astype(bool)
    if len(answers) != models:
        raise StatisticsError(
            f"The answers on '{benchmark}' do not match the models.",
            expected=f"{models} rows, one per model, and one column per item",
            found=f"shape {answers.shape}",
            do="give each model's correctness on the same items",
        )
    return answers


def item_units(answers: np.ndarray, clusters: ArrayLike | None, benchmark: str) -> tuple[np.ndarray, np.ndarray]:
    """Right answers of each unit that is drawn, (units, models), and its items, (units,), in an order of their own.

    Units are items, or ``clusters`` of them; that order depends on the answers and not on how the items are sorted.
    ``answers`` (models, items) are bool, or probabilities, whose sums are given in double precision.
    """
    counted = np.vstack([answers, np.ones(answers.shape[1], dtype=answers.dtype)])
    sums = unit_sums(counted.T, clusters)
    sums, sizes = sums[:, :-1], sums[:, -1]
    if len(sizes) < 2:
        raise StatisticsError(
            f"Benchmark '{benchmark}' has too few items to be resampled.",
            expected="at least 2 items, or clusters of items",
            found=f"{answers.shape[1]} items, {len(sizes)} units that are drawn independently",
            do="use more items, or name clusters that were drawn independently",
        )
    order = np.lexsort((*sums.T[::-1], sizes))
    exact = np.float32 if answers.dtype == bool and len(sizes) * sizes.max() < 2**24 else np.float64
    return sums[order].astype(exact), sizes[order].astype(exact)
