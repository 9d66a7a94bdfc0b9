"""The difference of two scores on the same items: tests, interval and equivalence.

On a task with N items, L items are right for the model alone (leapfrogs) and D for the reference alone (drops); the
score difference is (L − D)/N. Arrays have the tasks on their last axis; the difference of several tasks is the
unweighted mean of theirs, as in the composite.

scipy and statsmodels (0.15) have the exact McNemar test, but neither its mid-p form nor Tango's interval.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from qkld.errors import StatisticsError

_HALVINGS = 60
"""Bisection steps of an interval's end: the last one is below 1e-17 of the range."""


def _counts(leapfrogs: ArrayLike, drops: ArrayLike, items: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The counts as float arrays (..., tasks), refused where they cannot be counts of these items."""
    up, down, total = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(v, dtype=float)) for v in (leapfrogs, drops, items))
    )
    whole = all((np.isfinite(v) & (v >= 0) & (v == np.floor(v))).all() for v in (up, down, total))
    if not whole or (total < 1).any() or (up + down > total).any():
        raise StatisticsError(
            "Leapfrogs and drops are not valid counts of items.",
            expected="whole numbers from 0, at least one item, and leapfrogs + drops at most the items",
            found=f"leapfrogs {_short(up)}, drops {_short(down)}, items {_short(total)}",
            do="count all three on the same items",
        )
    return up, down, total


def _short(values: np.ndarray) -> list[float]:
    return values.ravel()[:4].tolist()


# --- McNemar ----------------------------------------------------------------------------------------------------------


def mcnemar_exact(leapfrogs: ArrayLike, drops: ArrayLike) -> np.ndarray:
    """Two-sided exact conditional p of "as many leapfrogs as drops"; equals statsmodels' ``mcnemar(exact=True)``.

    1 where no answer changed. Conservative at few flips: `mcnemar_midp` is the headline.
    """
    least, changed = np.minimum(leapfrogs, drops), np.add(leapfrogs, drops)
    return np.minimum(1.0, 2 * stats.binom.cdf(least, changed, 0.5))


def mcnemar_midp(leapfrogs: ArrayLike, drops: ArrayLike) -> np.ndarray:
    """Two-sided mid-p of "as many leapfrogs as drops" (Fagerland, Lydersen and Laake 2013, BMC Med Res Methodol 13:91).

    The exact p less the probability of the observed split, or less half of it where both counts are equal. Unlike
    there, it is 1 where no answer changed: nothing speaks against the reference then.
    """
    least, changed = np.minimum(leapfrogs, drops), np.add(leapfrogs, drops)
    observed = stats.binom.pmf(least, changed, 0.5)
    unequal = mcnemar_exact(leapfrogs, drops) - observed
    p = np.where(np.equal(leapfrogs, drops), 1 - 0.5 * observed, unequal)
    return np.where(changed == 0, 1.0, p)


# --- Tango's score test, its interval, equivalence --------------------------------------------------------------------


def score_z(
    leapfrogs: ArrayLike,
    drops: ArrayLike,
    items: ArrayLike,
    difference: float | np.ndarray,
    design_effect: ArrayLike = 1.0,
    df: ArrayLike = np.inf,
) -> np.ndarray:
    """Standard normal score of "the score difference is ``difference``": shape (...), the tasks averaged.

    With one task it is Tango's (1998, Stat Med 17:891, eq. 7): the variance is that of the most probable drop rate
    with this difference. At difference 0 its square is McNemar's χ² without correction. With several tasks numerator
    and variance are those of the unweighted mean, each task's variance taken at the same difference; where the tasks'
    true differences are not the same, what that adds to one variance it takes from another, to first order. 0 where no
    answer changed and the difference is 0.

    Parameters
    ----------
    leapfrogs, drops, items : counts, shapes that broadcast to (..., tasks)
    difference : score − reference score under the hypothesis, within −1 and 1; shape (...)
    design_effect : variance with clusters of items over variance without, shape (...); z is divided by its root (the
        first-order correction of Rao and Scott 1984), since counts alone take items as drawn one by one
    df : degrees of freedom with which few clusters give that variance, shape (...); z / √design_effect is Student's t
        then, and the score returned is the normal one that is as rarely exceeded. See `design_effect.Widening`
    """
    up, down, total = _counts(leapfrogs, drops, items)
    delta = np.asarray(difference, dtype=float)[..., None]
    linear = (2 * total - up + down) * delta - up - down
    constant = -down * delta * (1 - delta)
    drop_rate = (np.sqrt(np.maximum(linear**2 - 8 * total * constant, 0)) - linear) / (4 * total)
    variance = np.maximum(2 * drop_rate + delta * (1 - delta), 0) / total
    distance = ((up - down) / total - delta).sum(axis=-1)
    error = np.sqrt(variance.sum(axis=-1) * np.asarray(design_effect, dtype=float))
    return _as_normal(np.divide(distance, error, out=np.zeros(np.shape(distance)), where=error > 0), df)


_RAREST = 1e-300
"""Probability of a tail below which two are not told apart."""


def _as_normal(t: np.ndarray, df: ArrayLike) -> np.ndarray:
    """The standard normal value that is exceeded as rarely as ``t`` of Student's t; ``t`` where df is infinite."""
    few = np.isfinite(df)
    tail = special.stdtr(np.where(few, df, 1.0), -np.abs(t))
    return np.where(few, -np.sign(t) * special.ndtri(np.maximum(tail, _RAREST)), t)


def difference_interval(
    leapfrogs: ArrayLike,
    drops: ArrayLike,
    items: ArrayLike,
    confidence: float,
    design_effect: ArrayLike = 1.0,
    df: ArrayLike = np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """Tango's score interval of the score difference, shape (...): all differences that `score_z` does not refuse.

    Not empty of width where no answer changed: with N items it is then ± z²/(N + z²).
    """
    up, down, total = _counts(leapfrogs, drops, items)
    limit = stats.norm.ppf(0.5 + confidence / 2)
    middle = ((up - down) / total).mean(axis=-1)
    ends = []
    for side in (-1.0, 1.0):
        inside, outside = middle, np.full_like(middle, side)
        for _ in range(_HALVINGS):
            tried = (inside + outside) / 2
            refused = -side * score_z(up, down, total, tried, design_effect, df) > limit
            inside, outside = np.where(refused, inside, tried), np.where(refused, tried, outside)
        ends.append((inside + outside) / 2)
    return ends[0], ends[1]


def difference_p(
    leapfrogs: ArrayLike,
    drops: ArrayLike,
    items: ArrayLike,
    design_effect: ArrayLike = 1.0,
    df: ArrayLike = np.inf,
) -> np.ndarray:
    """Two-sided p of "no score difference" by `score_z`, shape (...); below α exactly where the interval leaves 0."""
    return 2 * stats.norm.sf(np.abs(score_z(leapfrogs, drops, items, 0.0, design_effect, df)))


def equivalence_p(
    leapfrogs: ArrayLike,
    drops: ArrayLike,
    items: ArrayLike,
    margin: float,
    design_effect: ArrayLike = 1.0,
    df: ArrayLike = np.inf,
) -> np.ndarray:
    """p of "the scores differ by ``margin`` or more": the larger of the two one-sided tests (TOST), shape (...).

    Below α exactly where the interval of confidence 1 − 2α lies within ± ``margin``, a fraction of 1.

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
    above = stats.norm.sf(score_z(leapfrogs, drops, items, -margin, design_effect, df))
    below = stats.norm.cdf(score_z(leapfrogs, drops, items, margin, design_effect, df))
    return np.maximum(above, below)
