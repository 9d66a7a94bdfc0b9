"""What one round says of each file: one-sided p of its score's difference to the reference, for both scores.

Early rounds have few items and small levels, so that the far tails of these p count. Accuracy has Tango's score test,
whose variance is that of the hypothesis. For means of changes Student's t is far too sure where a loss is made of few
large changes of which the first items happen to hold none; see `rare_change_p` and `unskewed`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qkld.statistics.items.paired_means import Moved, paired_means
from qkld.statistics.items.score_differences import score_z

Floats = NDArray[np.float64]


class Look(NamedTuple):
    """One round: the difference of each file, and one-sided p of four hypotheses about it, all (files,).

    ``worse`` speaks against "not below the reference", ``better`` against "not above it"; ``above`` against "below by
    the margin or more", ``under`` against "above by the margin or more".
    """

    net: Floats
    worse: Floats
    better: Floats
    above: Floats
    under: Floats


def accuracy_look(leapfrogs: Floats, drops: Floats, items: Floats, margin: float) -> Look:
    """Of counts (files, tasks), and items (tasks,), the tasks averaged."""
    counts = leapfrogs, drops, items
    at_zero, at_low, at_high = (score_z(*counts, difference) for difference in (0.0, -margin, margin))
    net = ((leapfrogs - drops) / items).mean(axis=-1)
    return Look(net, *(special.ndtr(z) for z in (at_zero, -at_zero, -at_low, at_high)))


def mean_look(moved: Moved, margin: float) -> Look:
    """Of changes that are numbers, such as those of the probability of the right choice: task → (items, files)."""
    found, skewness = paired_means(moved), mean_skewness(moved)
    unseen = rare_change_p([len(d) for d in moved.values()], margin)

    def p(difference: float, side: float) -> Floats:
        t = unskewed(side * found.t(difference), side * skewness)
        return special.stdtr(found.df, -t)

    above, under = np.maximum(p(-margin, 1.0), unseen), np.maximum(p(margin, -1.0), unseen)
    return Look(found.net, p(0.0, -1.0), p(0.0, 1.0), above, under)


def mean_skewness(moved: Moved) -> Floats:
    """Skewness of the mean over tasks of each file's mean change, (files,); 0 where nothing varies."""
    third = np.sum([((d - d.mean(axis=0)) ** 3).mean(axis=0) / len(d) ** 2 for d in moved.values()], axis=0)
    second = np.sum([d.var(axis=0) / len(d) for d in moved.values()], axis=0)
    return np.divide(third, second**1.5, out=np.zeros_like(third), where=second > 0)


def unskewed(t: Floats, skewness: Floats) -> Floats:
    """Student's t without the skewness of the mean that it is of: (files,).

    Hall's (1992, J R Stat Soc B 54:221) cubic transformation t + g t²/3 + g² t³/27 + g/6. Unlike there, a score that is
    raised against the skewness stays at the turning point −1/g once it has reached it: k large changes, all that were
    seen, let no score be above √k.
    """
    finite = np.where(np.isfinite(t), t, 0.0)
    third = skewness * finite / 3
    turning = np.divide(-1.0, skewness, out=np.zeros_like(finite), where=third <= -1)
    turned = np.where(third > -1, finite * (1 + third + third**2 / 3), turning)
    return np.where(np.isfinite(t), turned + skewness / 6, t)


def rare_change_p(items: list[int], margin: float) -> float:
    """Largest probability that items show no change of a file that changes as few as lose ``margin``.

    Such a file turns a right answer's probability from 1 to 0 on a share of one task's items that makes the margin, and
    changes nothing elsewhere: (1 − tasks · margin)^items of that task.
    """
    rate = min(1.0, margin * len(items))
    return float((1 - rate) ** min(items))
