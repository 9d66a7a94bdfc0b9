"""Item noise: how far the scores of quants would move, together, on other items of the same kind.

All quants answer the same items, so their scores share most of their noise. What is left between two quants is what a
verdict about them has to beat; one standard error a score does not show it, the covariance of net scores does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from qkld.errors import StatisticsError
from qkld.statistics.items.probability import COLUMN_OF, Score, probability_differences
from qkld.statistics.items.scores import correct_matrix, drawn_as
from qkld.statistics.items.units import Floats, Part, unit_sums, units_of

LEAST_UNITS = 2
"""Items, or clusters of items, that a covariance needs."""


@dataclass(frozen=True)
class NetNoise:
    """Net scores of quants with the covariance of their item noise.

    Attributes
    ----------
    labels
        The quants, in the order of the other fields.
    net : shape (quants,)
        Score − reference's score, a fraction of 1; the scores themselves where there is no reference.
    covariance : shape (quants, quants)
        Of ``net`` over draws of other items, squared fractions.
    items
        Items behind each net score, summed over benchmarks.
    units
        What was taken as drawn independently: items, or clusters of items.
    has_reference
        Whether ``net`` is measured from a reference. Whatever compares quants with each other does not depend on it.
    parts
        The benchmarks that ``covariance`` was estimated from, each with its units; none where it is known.
    """

    labels: tuple[str, ...]
    net: Floats
    covariance: Floats
    items: int
    units: int
    has_reference: bool
    parts: tuple[Part, ...] = ()

    def of(self, labels: Sequence[str]) -> NetNoise:
        """The same for some of the quants, in the order given."""
        unknown = [label for label in labels if label not in self.labels]
        if unknown:
            raise StatisticsError(
                "Some quants have no items.",
                expected=f"items of {', '.join(self.labels)}",
                found=f"no items of {', '.join(unknown)}",
                do="run notebook 03_benchmark_scores for them, or leave them out",
            )
        index = [self.labels.index(label) for label in labels]
        return NetNoise(
            tuple(labels),
            self.net[index],
            self.covariance[np.ix_(index, index)],
            self.items,
            self.units,
            self.has_reference,
            tuple(part.of(index) for part in self.parts),
        )

    def noisier(self, times: float) -> NetNoise:
        """The same net scores with so many times the item noise."""
        parts = tuple(part.noisier(times) for part in self.parts)
        return replace(self, covariance=times * self.covariance, parts=parts)


def binary(correct: ArrayLike) -> NDArray[np.int8]:
    """Right (1) or wrong (0), items × models, as int8.

    Raises
    ------
    StatisticsError
        If a value is neither 0 nor 1, or a cell is empty.
    """
    values = np.asarray(correct)
    others = values[~np.isin(values, (0, 1))]
    if values.ndim != 2 or others.size:
        raise StatisticsError(
            "Correctness must be one right or wrong answer per item and model.",
            expected="a table items × models of 0 and 1, without missing values",
            found=f"shape {values.shape}, {others.size} other values, for example {others[:3].tolist()}",
            do="give `correct` as 0 or 1; apply a threshold to graded scores",
        )
    return values.astype(np.int8)


def net_differences(correct: pd.DataFrame, reference: str | None, quants: Sequence[str]) -> NDArray[np.int8]:
    """Correctness minus the reference's, item by item: −1 drop, 0, 1 leapfrog; shape (items, quants).

    ``correct`` is items × models as of `correct_matrix`. Without a reference, correctness itself.

    Raises
    ------
    StatisticsError
        If a model lacks items, or a value is neither 0 nor 1.
    """
    wanted = [*quants, *([reference] if reference is not None else [])]
    missing = [label for label in wanted if label not in correct.columns]
    if missing:
        raise StatisticsError(
            "Some models have no items of a benchmark.",
            expected=f"items of {', '.join(wanted)}",
            found=f"none of {', '.join(missing)}",
            do="run notebook 03_benchmark_scores for them, or leave them out",
        )
    answers = binary(correct[wanted].to_numpy())
    return answers if reference is None else answers[:, :-1] - answers[:, -1:]


def item_covariance(differences: ArrayLike, clusters: ArrayLike | None = None) -> Floats:
    """Covariance of the mean of ``differences`` (items, quants) over draws of other items: shape (quants, quants).

    Items drawn one by one: the sample covariance / N. Items that come in clusters (questions on one passage):
    G/(G−1) · Σ_g s_g s_gᵀ / N², s_g the sums of deviations within cluster g (CR1 of Liang and Zeger 1986 for a mean);
    one item a cluster gives the first exactly.

    Raises
    ------
    StatisticsError
        With fewer than `LEAST_UNITS` items or clusters.
    """
    values = np.asarray(differences, dtype=float)
    sums = unit_sums(values - values.mean(axis=0), clusters)
    if len(sums) < LEAST_UNITS:
        raise StatisticsError(
            "Too few items to estimate their noise.",
            expected=f"at least {LEAST_UNITS} items, or clusters of items",
            found=f"{len(values)} items, {len(sums)} units that are drawn independently",
            do="use more items, or name the clusters that were drawn independently",
        )
    return sums.T @ sums * (len(sums) / (len(sums) - 1)) / len(values) ** 2


def benchmark_noise(
    items: pd.DataFrame, benchmark: str, *, reference: str | None, quants: Sequence[str], score: Score = "accuracy"
) -> NetNoise:
    """Net scores of quants on one benchmark with their item noise; clustered where ``items`` has a column ``cluster``.

    What an engine changes from run to run, item by item, is part of the answers and so of this noise.

    Raises
    ------
    StatisticsError
        As `correct_matrix`, `net_differences`, `probability_differences` and `item_covariance`.
    """
    differences_of = net_differences if score == "accuracy" else probability_differences
    matrix = correct_matrix(items, benchmark, COLUMN_OF[score])
    differences = differences_of(matrix, reference, quants)
    clusters = item_clusters(items, benchmark, matrix.index)
    return noise_of_differences(benchmark, differences, quants, clusters, has_reference=reference is not None)


def noise_of_differences(
    benchmark: str,
    differences: NDArray,
    quants: Sequence[str],
    clusters: ArrayLike | None = None,
    *,
    has_reference: bool = True,
) -> NetNoise:
    """The same from differences (items, quants), of answers or of probabilities, and each item's cluster if it has any.

    Differences of answers are −1, 0 and 1 of an integer type.
    """
    covariance, units = item_covariance(differences, clusters), units_of(benchmark, differences, clusters)
    return NetNoise(
        labels=tuple(quants),
        net=differences.sum(axis=0, dtype=np.result_type(differences, np.int64)) / len(differences),
        covariance=covariance,
        items=len(differences),
        units=len(units.sums),
        has_reference=has_reference,
        parts=(Part(units, np.arange(len(quants)), 1 / len(differences), covariance),),
    )


def item_clusters(items: pd.DataFrame, benchmark: str, index: pd.Index) -> NDArray | None:
    """The cluster of each item of a benchmark, in the order of ``index``; None where ``items`` has no such column.

    Raises
    ------
    StatisticsError
        If an item has no cluster, or another one in another model's rows.
    """
    if "cluster" not in items:
        return None
    rows = items[items["benchmark"] == benchmark]
    named = drawn_as(rows).groupby(rows["item"]).agg(["nunique", "first"])
    if (named["nunique"] != 1).any():
        raise StatisticsError(
            f"Some items of '{benchmark}' are in several clusters.",
            expected="the same cluster for an item in every model's rows",
            found=f"{int((named['nunique'] != 1).sum())} items with several",
            do="name one cluster per item",
        )
    return named["first"].reindex(index).to_numpy()


def composite_noise(parts: Sequence[NetNoise], weights: ArrayLike | None = None) -> NetNoise:
    """The weighted mean of benchmarks' net scores: net = Σ w_b net_b, V = Σ w_b² V_b, weights summing to 1.

    Equal weights where none are given. Items of different benchmarks count as drawn independently.

    Raises
    ------
    StatisticsError
        If there is no part, or the parts are of different quants.
    """
    if not parts or any((p.labels, p.has_reference) != (parts[0].labels, parts[0].has_reference) for p in parts):
        raise StatisticsError(
            "A composite needs the same quants on every benchmark.",
            expected="at least one benchmark, each with the same quants and reference",
            found=[len(p.labels) for p in parts],
            do="leave out benchmarks or quants without items",
        )
    share = np.full(len(parts), 1.0) if weights is None else np.asarray(weights, dtype=float)
    share = share / share.sum()
    return NetNoise(
        labels=parts[0].labels,
        net=sum(w * p.net for w, p in zip(share, parts, strict=True)),
        covariance=sum(w**2 * p.covariance for w, p in zip(share, parts, strict=True)),
        items=sum(p.items for p in parts),
        units=sum(p.units for p in parts),
        has_reference=parts[0].has_reference,
        parts=tuple(part.shared(w) for w, p in zip(share, parts, strict=True) for part in p.parts),
    )


def noise_by_benchmark(
    items: pd.DataFrame,
    *,
    reference: str | None,
    quants: Sequence[str],
    benchmarks: Sequence[str],
    tasks: Sequence[str],
    score: Score = "accuracy",
) -> dict[str, NetNoise]:
    """Each benchmark's `NetNoise`, and ``composite``'s: the unweighted mean of ``tasks``, as `composite` has it."""
    parts = {b: benchmark_noise(items, b, reference=reference, quants=quants, score=score) for b in benchmarks}
    return {**parts, "composite": composite_noise([parts[t] for t in tasks])} if tasks else parts
