"""Scores of models on benchmarks, and which benchmarks enter the composite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError
from qkld.statistics.items.probability import PROBABILITY
from qkld.statistics.tokens.clusters import cluster_index, cr1_error

ABOVE_CHANCE = 5.0
"""Standard errors above chance that the reference's score needs for its benchmark to enter the composite."""

OF_EACH = 20
"""Right and wrong items of the reference that a task family needs not to be at its floor or ceiling."""

LEAST_CLUSTERS = 2
"""Clusters of items that a standard error needs."""


def correct_matrix(items: pd.DataFrame, benchmark: str, column: str = "correct") -> pd.DataFrame:
    """One benchmark's items below each other, models side by side: ``column`` of the item table, sorted by item.

    Raises
    ------
    StatisticsError
        If the benchmark has no items, or a model lacks some of them.
    """
    rows = items[items["benchmark"] == benchmark]
    if rows.empty:
        raise StatisticsError(
            f"Benchmark '{benchmark}' has no items.",
            expected=sorted(items["benchmark"].unique()),
            found=benchmark,
            do="run notebook 03_benchmark_scores with this benchmark",
        )
    answered = rows.groupby("model")["item"].nunique()
    known = rows["item"].nunique()
    if (answered < known).any():
        short = answered[answered < known]
        raise StatisticsError(
            f"Models answered different items of '{benchmark}'.",
            expected=f"{known} items for each model",
            found=", ".join(f"{m}: {n}" for m, n in short.items()),
            do="run notebook 03_benchmark_scores again for these models",
        )
    return rows.pivot(index="item", columns="model", values=column).sort_index()


def drawn_as(items: pd.DataFrame) -> pd.Series:
    """What each row is drawn with: its ``cluster``, or its item where ``items`` has no such column.

    Raises
    ------
    StatisticsError
        If some rows name no cluster: whether they are drawn one by one or together is not known then.
    """
    if "cluster" not in items:
        return items["item"]
    lacking = items.loc[items["cluster"].isna(), "benchmark"]
    if len(lacking):
        raise StatisticsError(
            "Some items have no cluster.",
            expected="a cluster in every row, or no column of that name",
            found=f"none in {len(lacking)} of {len(items)} rows, of {', '.join(map(str, lacking.unique()[:4]))}",
            do="give items that are drawn independently their own cluster",
        )
    return items["cluster"]


def benchmark_scores(items: pd.DataFrame) -> pd.DataFrame:
    """Each model's score on each benchmark, one a row.

    ``score`` is a fraction of 1; ``se`` is that of drawing other items of the same kind, not of a difference between
    two models, which share their items: √(p(1−p)/N) for items drawn one by one, CR1 where they come in clusters (see
    `qkld.statistics.tokens.clusters.cr1_error`), as answers that are drawn to one item several times do; NaN for a
    single cluster.

    ``metric`` is what says that an answer is right, as the items name it; empty where they do not.
    ``clusters`` counts what is drawn: distinct values of a column ``cluster``, the items without one;
    ``clusters_right`` and ``clusters_wrong`` those with a right and with a wrong answer among them.

    Raises
    ------
    StatisticsError
        As `drawn_as`.
    """
    drawn = items.assign(cluster=drawn_as(items))
    groups = drawn.groupby(["model", "benchmark"], sort=True)
    rows = [{"label": label, "benchmark": benchmark, **_score(rows)} for (label, benchmark), rows in groups]
    return pd.DataFrame(rows)


def mean_probabilities(items: pd.DataFrame) -> pd.DataFrame:
    """Each model's mean probability of the right choice on each benchmark: ``label, benchmark, score, se``.

    ``se`` is that of drawing other items, CR1 over what is drawn together. A mean that lacks an item's probability is
    NaN; without such a column there are no rows.

    Raises
    ------
    StatisticsError
        As `drawn_as`.
    """
    columns = ["label", "benchmark", "score", "se"]
    if PROBABILITY not in items:
        return pd.DataFrame(columns=columns)
    groups = items.assign(cluster=drawn_as(items)).groupby(["model", "benchmark"], sort=True)
    return pd.DataFrame([(*key, *_mean_and_error(rows)) for key, rows in groups], columns=columns)


def _mean_and_error(rows: pd.DataFrame) -> tuple[float, float]:
    values = rows[PROBABILITY].to_numpy(dtype=float)
    return float(values.mean()), cr1_error(values, cluster_index(rows["cluster"]))


def metric_of(items: pd.DataFrame) -> str:
    """What says that these answers are right, several metrics with commas between; empty where items do not name it."""
    return ", ".join(sorted(items["metric"].dropna().unique())) if "metric" in items else ""


def _score(rows: pd.DataFrame) -> dict[str, Any]:
    """`benchmark_scores` of one model's items of one benchmark."""
    correct, index = rows["correct"].to_numpy(dtype=float), cluster_index(rows["cluster"])
    right, sizes = np.bincount(index, weights=correct), np.bincount(index)
    score = float(correct.mean())
    alone = len(sizes) == len(correct)
    return {
        "metric": metric_of(rows),
        "items": len(correct),
        "clusters": len(sizes),
        "right": int(correct.sum()),
        "clusters_right": int((right > 0).sum()),
        "clusters_wrong": int((right < sizes).sum()),
        "score": score,
        "se": float(np.sqrt(score * (1 - score) / len(correct))) if alone else cr1_error(correct, index),
    }


def families_at_limits(own: pd.DataFrame, families: Mapping[str, str]) -> dict[str, str]:
    """Task families at their floor or ceiling → why: the reference has fewer than `OF_EACH` items right or wrong.

    Of items that come in clusters, the clusters with a right and with a wrong answer are counted.

    Parameters
    ----------
    own : the reference's rows of `benchmark_scores`, indexed by benchmark
    families : benchmark → its family; a benchmark without one is judged by itself alone, and never named here
    """
    found = {}
    for family in dict.fromkeys(families.values()):
        rows = own.loc[[benchmark for benchmark, its in families.items() if its == family]]
        right, wrong = int(rows["clusters_right"].sum()), int(rows["clusters_wrong"].sum())
        if min(right, wrong) < OF_EACH:
            place = "floor" if right < wrong else "ceiling"
            what = "items" if (rows["clusters"] == rows["items"]).all() else "clusters of items"
            found[family] = (
                f"family {family} at its {place}: reference right on {right} and wrong on {wrong} {what}, "
                f"{OF_EACH} of each needed"
            )
    return found


def composite_tasks(
    scores: pd.DataFrame,
    *,
    reference: str,
    chance: Mapping[str, float],
    control: Sequence[str] = (),
    families: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Which benchmarks enter the composite, one a row, with the reason where one does not.

    A benchmark enters if the reference's score is at least `ABOVE_CHANCE` standard errors above its chance level;
    ``control`` benchmarks never enter, nor do those of ``families`` (benchmark → family) that are at their floor or
    ceiling. The standard error is the larger of those at the score and at chance: at a score of 1 the first is 0 on
    however few items. The second counts clusters, as if each were one item. Only the reference is read, so no quant's
    score selects anything. ``item_weight`` is what one item, or an average cluster of items, weighs in the composite;
    NaN for a benchmark that does not enter.

    Raises
    ------
    StatisticsError
        If the reference has no score on a benchmark, or a benchmark has no chance level.
    """
    own = scores[scores["label"] == reference].set_index("benchmark")
    benchmarks = list(chance)
    unknown = sorted(set(scores["benchmark"]) - set(benchmarks)) + [b for b in benchmarks if b not in own.index]
    if unknown:
        raise StatisticsError(
            "A chance level or a score of the reference is missing.",
            expected=f"a chance level and a score of '{reference}' for each benchmark",
            found=f"one of them missing for {', '.join(unknown)}",
            do="give the benchmark its chance in the study's YAML, and run notebook 03 for the reference",
        )
    own_families = families or {}
    limits = families_at_limits(own, own_families)
    limited = {b: limits.get(own_families.get(b, ""), "") for b in benchmarks}
    rows = pd.DataFrame([_task_row(b, own.loc[b], chance[b], b in control, limited[b]) for b in benchmarks])
    weight = 1 / (rows["clusters"] * max(1, rows["in_composite"].sum()))
    rows.insert(len(rows.columns) - 1, "item_weight", weight.where(rows["in_composite"]))
    return rows


def _task_row(benchmark: str, own: pd.Series, chance: float, control: bool, limit: str) -> dict[str, Any]:
    error = np.maximum(own["se"], np.sqrt(chance * (1 - chance) / own["clusters"]))  # NaN where the first is
    distance = 0.0 if error == 0 else (own["score"] - chance) / error
    enough = distance >= ABOVE_CHANCE
    reason = ""
    if control:
        reason = "named as control"
    elif limit:
        reason = limit
    elif np.isnan(error):
        reason = f"one cluster of items has no standard error, {LEAST_CLUSTERS} clusters needed"
    elif not enough:
        reason = f"reference {distance:.1f} standard errors above chance, {ABOVE_CHANCE:g} needed"
    return {
        "benchmark": benchmark,
        "metric": own["metric"],
        "role": "control" if control else "composite",
        "items": int(own["items"]),
        "clusters": int(own["clusters"]),
        "chance": chance,
        "reference_score": own["score"],
        "se": error,
        "above_chance_se": distance,
        "in_composite": bool(enough and not control and not limit),
        "reason": reason,
    }


def least_score(items: int, chance: float) -> float:
    """Lowest score of the reference on ``items`` items with which a benchmark enters the composite.

    It may lie above 1: then the benchmark cannot enter. The score s solves (s − c)² N = `ABOVE_CHANCE`² s (1 − s), or
    the same with c (1 − c) on the right where that is more, as in `composite_tasks`.
    """
    squared = ABOVE_CHANCE**2
    half = 2 * chance * items + squared
    by_score = (half + np.sqrt(half**2 - 4 * (items + squared) * chance**2 * items)) / (2 * (items + squared))
    return float(max(by_score, chance + ABOVE_CHANCE * np.sqrt(chance * (1 - chance) / items)))


def least_items(chance: float) -> int:
    """Fewest items with which a benchmark can enter the composite: with all of them right it would."""
    return max(LEAST_CLUSTERS, int(np.ceil(ABOVE_CHANCE**2 * chance / (1 - chance))))


def composite(scores: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """The unweighted mean of the tasks' scores for each model: ``label, composite, composite_se``.

    ``composite_se`` = √Σse²/B takes the benchmarks' items as drawn independently.

    Raises
    ------
    StatisticsError
        If no task is given: there is no composite then, and none is made up.
    """
    if not tasks:
        raise StatisticsError(
            "No benchmark enters the composite.",
            expected=f"at least one with the reference {ABOVE_CHANCE:g} standard errors above chance",
            found="none",
            do="use more items or easier benchmarks",
        )
    rows = scores[scores["benchmark"].isin(tasks)]
    wide = {c: rows.pivot(index="label", columns="benchmark", values=c)[list(tasks)] for c in ("score", "se")}
    return pd.DataFrame(
        {
            "composite": wide["score"].mean(axis=1, skipna=False),
            "composite_se": np.sqrt((wide["se"] ** 2).sum(axis=1, skipna=False)) / len(tasks),
        }
    ).reset_index()
