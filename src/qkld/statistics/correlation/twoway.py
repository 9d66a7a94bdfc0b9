"""Two-way bootstrap of a correlation: quants and benchmark items are drawn anew, each independently of the other.

All quants answer the same items, so an interval that draws quants only holds for these items. The two-way
("pigeonhole") bootstrap (Owen 2007; Owen and Eckles 2012) draws items, from them every model's score, and then quants
with those scores. No exact bootstrap exists for crossed factors; this one errs towards being wide. Its target is the ρ
that other quants of the same kind and as many other items would give, not the ρ of scores without noise.

Operations for n models, N items and B resamples: B·N draws of an item, 2·B·N·n in single precision for the scores of
all models together (41, 20,000 and 10,000: 16 GFlop), then B·n² for each score's ranks, once for all metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import COMPOSITE_DECIMALS
from qkld.statistics.core.correlations_of_resamples import (
    Method,
    correlations_of_counts,
    defined_resamples,
    ranks_in_resamples,
    resample_counts,
    weighted_pearson,
)
from qkld.statistics.items.answers import checked_answers, item_units
from qkld.statistics.items.probability import Score

_DRAWN_AT_ONCE = 160_000
"""Items drawn at once: 8 resamples of 20,000, which stay in a processor's cache."""

SAME_SCORE = 1e-6
"""How far a table's score may lie from its items' share of right answers."""

COMPOSITE = "composite"


@dataclass(frozen=True)
class ItemDraws:
    """Every model's score in resamples of the items of each benchmark.

    ``observed`` holds the scores themselves, (models,), and ``redrawn`` those of the resamples, (resamples, models),
    both a fraction of 1, by benchmark and in the order of ``labels``.
    """

    labels: tuple[str, ...]
    observed: Mapping[str, np.ndarray]
    redrawn: Mapping[str, np.ndarray]

    def of(self, benchmark: str, labels: Sequence[str], scores: ArrayLike) -> np.ndarray:
        """The redrawn scores of these models, (resamples, len(labels)); ``scores`` are what the table says they are.

        Raises
        ------
        StatisticsError
            Naming models without items, or whose items give another score.
        """
        absent = [label for label in labels if label not in self.labels]
        if absent:
            raise StatisticsError(
                "Some quants have a score but no items.",
                expected="items of every quant of the table",
                found=f"none for {', '.join(map(str, absent))}",
                do="add their items, or leave these quants out",
            )
        columns = [self.labels.index(label) for label in labels]
        counted = self.observed[benchmark][columns]
        other = np.abs(counted - np.asarray(scores, dtype=float)) > SAME_SCORE
        if other.any():
            raise StatisticsError(
                f"Items and table give different scores on '{benchmark}'.",
                expected=f"the items' mean, to {SAME_SCORE:g}",
                found=", ".join(str(label) for label, wrong in zip(labels, other, strict=True) if wrong),
                do="use scores and items of one run, as fractions of 1",
            )
        return self.redrawn[benchmark][:, columns]


def draw_items(
    correct: Mapping[str, ArrayLike],
    labels: Sequence[str],
    *,
    resamples: int,
    rng: np.random.Generator,
    tasks: Sequence[str] = (),
    clusters: Mapping[str, ArrayLike] | None = None,
    score: Score = "accuracy",
) -> ItemDraws:
    """Draw the items of every benchmark with replacement and score all models on each draw.

    Parameters
    ----------
    correct : mapping of benchmark to array, shape (models, items)
        Right (1) or wrong (0), models in the order of ``labels``. The order of items changes nothing. By the other
        ``score`` probabilities of the right choice, as of `probabilities_by_task`.
    tasks
        Benchmarks whose unweighted mean is the composite; none, no composite.
    clusters : mapping of benchmark to labels, shape (items,), optional
        Items of one passage or subject: whole clusters are drawn, and a score is right answers by items drawn.

    Raises
    ------
    StatisticsError
        If a matrix has another number of models, a value other than 0 and 1, or fewer than two items or clusters.
    """
    observed, redrawn = {}, {}
    for benchmark, matrix in correct.items():
        answers = checked_answers(matrix, len(labels), benchmark) if score == "accuracy" else np.asarray(matrix)
        observed[benchmark] = answers.mean(axis=1)
        units = item_units(answers, None if clusters is None else clusters.get(benchmark), benchmark)
        redrawn[benchmark] = _redrawn(*units, resamples, rng)
    if tasks:
        for kind in (observed, redrawn):
            kind[COMPOSITE] = np.round(np.mean([kind[task] for task in tasks], axis=0), COMPOSITE_DECIMALS)
    return ItemDraws(tuple(map(str, labels)), observed, redrawn)


def _redrawn(sums: np.ndarray, sizes: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Scores in resamples of units, float64, shape (resamples, models); sums are exact."""
    scores = np.empty((resamples, sums.shape[1]))
    step = max(1, _DRAWN_AT_ONCE // len(sizes))
    for start in range(0, resamples, step):
        counts = resample_counts(len(sizes), min(step, resamples - start), rng=rng, dtype=sums.dtype)
        right, drawn = (counts @ sums).astype(float), (counts @ sizes).astype(float)
        scores[start : start + step] = right / drawn[:, None]
    return scores


@dataclass(frozen=True)
class TwoWay:
    """Quants drawn anew, (resamples, n) counts, and their scores redrawn with the items, (resamples, n)."""

    counts: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        if self.counts.shape != self.scores.shape:
            raise StatisticsError(
                "The numbers of resamples of quants and items differ.",
                expected=f"scores of shape {self.counts.shape}, resamples by quants",
                found=self.scores.shape,
                do="resample the items as often as the quants",
            )

    @cached_property
    def _defined(self) -> np.ndarray:
        return defined_resamples(self.counts, self.scores)

    @cached_property
    def _ranks(self) -> np.ndarray:
        """Midranks of the redrawn scores: the same whatever they are correlated with."""
        return ranks_in_resamples(self.counts, self.scores)

    def correlations(self, x: np.ndarray, method: Method = "spearman") -> np.ndarray:
        """The correlation of a metric (n,) with the scores in each resample; NaN where a column is constant.

        ``x`` is as `estimates.correlation_columns` gives it.
        """
        if method != "spearman":
            return correlations_of_counts(self.counts, x, self.scores, method)
        defined = self._defined & defined_resamples(self.counts, x)
        counts = self.counts[defined]
        result = np.full(len(defined), np.nan)
        result[defined] = weighted_pearson(counts, ranks_in_resamples(counts, x), self._ranks[defined])
        return result
