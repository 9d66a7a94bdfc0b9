"""Differences of mean scores on the same items, where an item's difference is a number and not a flip: Student's t.

Arrays have the quants on their last axis; the difference of several tasks is the unweighted mean of theirs, as in the
composite. `qkld.statistics.items.score_differences` has the same for right and wrong answers, by score tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import special

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import item_covariance
from qkld.statistics.items.sample_size import items_for_equivalence, items_for_score
from qkld.statistics.items.units import Floats, effective_units

Clusters = Mapping[str, np.ndarray] | None
Moved = Mapping[str, Floats]
"""Task → differences to the reference (items, quants)."""


class PairedMeans(NamedTuple):
    """Mean differences, their standard errors over draws of other items, and the errors' degrees of freedom: (quants,).

    Of a single task of items drawn one by one, df is their number less 1; of clusters the effective number of these
    less 1; of several tasks Satterthwaite's (1946, Biometrics Bull 2:110).
    """

    net: Floats
    error: Floats
    df: Floats

    def interval(self, confidence: float) -> tuple[Floats, Floats]:
        """Two-sided t interval of each."""
        half = special.stdtrit(self.df, 0.5 + confidence / 2) * self.error
        return self.net - half, self.net + half

    def t(self, difference: float = 0.0) -> Floats:
        """Student's t of "the difference is ``difference``": 0 or ± inf where no item's difference varies."""
        apart = self.net - difference
        still = np.where(apart == 0, 0.0, np.copysign(np.inf, apart))
        return np.divide(apart, self.error, out=still, where=self.error > 0)

    def difference_p(self) -> Floats:
        """Two-sided p of "no difference"; below α exactly where the interval of 1 − α leaves 0."""
        return 2 * special.stdtr(self.df, -np.abs(self.t()))

    def equivalence_p(self, margin: float) -> Floats:
        """p of "a difference of ``margin`` or more": the larger of the two one-sided tests (TOST).

        Raises
        ------
        StatisticsError
            If the margin is not between 0 and 1.
        """
        if not 0 < margin < 1:
            raise StatisticsError(
                "The margin of equivalence is out of range.",
                expected="a fraction between 0 and 1, for example 0.01 for one point",
                found=margin,
                do="give the margin as a fraction",
            )
        return np.maximum(special.stdtr(self.df, -self.t(-margin)), special.stdtr(self.df, self.t(margin)))

    def items_to_decide(self, items: int, margin: float, level: float) -> Floats:
        """Items, of ``items`` here, for equivalence or for a difference, whichever comes first, at one-sided ``level``.

        With power .8 were the difference seen the true one; NaN where no item's difference varies.
        """
        inside = [np.where(self.error > 0, t, np.nan) for t in (self.t(-margin), -self.t(margin))]
        apart = np.where(self.error > 0, np.abs(self.t()), np.nan)
        same = items_for_equivalence(*inside, items, level=level)
        return np.fmin(same, items_for_score(apart, items, level=level / 2))


def paired_means(moved: Moved, clusters: Clusters = None) -> PairedMeans:
    """Mean differences of each quant over the tasks with their errors; clusters of items are drawn together."""
    tasks = len(moved)
    groups = {task: None if clusters is None else clusters[task] for task in moved}
    variances = np.array([np.diag(item_covariance(d, groups[task])) for task, d in moved.items()]) / tasks**2
    free = np.array([_df(d, groups[task]) for task, d in moved.items()])
    total = variances.sum(axis=0)
    used = (variances**2 / free[:, None]).sum(axis=0)
    df = np.divide(total**2, used, out=np.full(total.shape, free.sum()), where=used > 0)
    return PairedMeans(mean_of(moved, lambda d: d.mean(axis=0)), np.sqrt(total), df)


def mean_of(moved: Moved, of_task: Callable[[Floats], Floats]) -> Floats:
    """The unweighted mean over tasks of a number of each quant."""
    return np.mean([of_task(differences) for differences in moved.values()], axis=0)


def _df(differences: Floats, clusters: np.ndarray | None) -> float:
    sizes = np.ones(len(differences)) if clusters is None else np.unique(clusters, return_counts=True)[1]
    return max(1.0, effective_units(sizes) - 1)


def volume_and_direction(moved: Moved, clusters: Clusters = None) -> tuple[PairedMeans, PairedMeans]:
    """Mean |Δ| of an item, and its share that all points one way, mean Δ / mean |Δ| between −1 and 1.

    The direction's error is that of a ratio of means (infinitesimal jackknife); both NaN where nothing moved.
    """
    volume = paired_means({task: np.abs(d) for task, d in moved.items()}, clusters)
    size = np.where(volume.net > 0, volume.net, np.nan)
    direction = mean_of(moved, lambda d: d.mean(axis=0)) / size
    parts = {task: np.nan_to_num((d - direction * np.abs(d)) / size) for task, d in moved.items()}
    return volume, paired_means(parts, clusters)._replace(net=direction)
