"""The probability of the right choice: the accuracy to be expected of a model that draws its answer from the choices.

Accuracy keeps one bit of an item; this keeps how sure the answer was, so that the paired difference to a reference has
two to five times less error (Heineman et al. 2025, arXiv:2508.13144; Magnusson et al. 2025, arXiv:2504.11393). It
measures sharpness as well: `qkld.statistics.items.temperature` tells the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from qkld.errors import StatisticsError

PROBABILITY = "probability_right"
"""Column of items that holds it."""

SCORES = "choice_scores"
"""Column of items that holds what it is the softmax of, a list an item: see `choice_scores`."""

Score = Literal["accuracy", "probability"]
"""The two scores: share of right answers, and mean probability of the right choice."""

COLUMN_OF: Mapping[Score, str] = {"accuracy": "correct", "probability": PROBABILITY}
"""Column of items that each is the mean of."""

STEP = 2.0**-30
"""What differences of probabilities are rounded to: 1e-9, so that sums of a million are exact in any order."""


def choice_scores(logp: ArrayLike, lengths: ArrayLike | None = None) -> np.ndarray:
    """What an item's choices are compared by, in nats per answer: (choices,).

    ln p of each choice for ``acc``; L̄ ln p / L for ``acc_norm``, with ``lengths`` L and their mean L̄. So the largest is
    the metric's own answer, and the scale is that of a whole answer. ln p / L alone would be hundreds of times flatter.
    """
    logp = np.asarray(logp, dtype=float)
    if lengths is None:
        return logp
    lengths = np.asarray(lengths, dtype=float)
    return logp * (lengths.mean() / lengths)


def log_probabilities(scores: ArrayLike) -> np.ndarray:
    """Scores of choices less the logarithm of the sum of their exponentials, ln p, on the last axis.

    As ``scipy.special.log_softmax``, whose import takes longer than the items of many a benchmark.
    """
    scores = np.asarray(scores, dtype=float)
    below = scores - scores.max(axis=-1, keepdims=True)
    return below - np.log(np.exp(below).sum(axis=-1, keepdims=True))


def probability_right(logp: ArrayLike, right: int, lengths: ArrayLike | None = None) -> float:
    """Softmax of `choice_scores` at the right choice."""
    return float(np.exp(log_probabilities(choice_scores(logp, lengths))[right]))


def checked_probabilities(values: ArrayLike, *, name: str = PROBABILITY) -> np.ndarray:
    """Probabilities as floats, NaN where one is missing.

    Raises
    ------
    StatisticsError
        If a value is below 0 or above 1.
    """
    found = np.asarray(values, dtype=float)
    others = found[(found < 0) | (found > 1)]
    if others.size:
        raise StatisticsError(
            f"'{name}' is not a probability.",
            expected="numbers from 0 to 1",
            found=f"{others.size} of {found.size} values, for example {others[:3].tolist()}",
            do="give the right choice's probability among the choices; put log-probabilities into columns logp_0, "
            "logp_1, … beside `right`",
        )
    return found


def probability_differences(
    probabilities: pd.DataFrame, reference: str | None, quants: Sequence[str]
) -> NDArray[np.float64]:
    """Probability of the right choice minus the reference's, item by item, to `STEP`: (items, quants).

    ``probabilities`` is items × models. Without a reference, the probabilities themselves.

    Raises
    ------
    StatisticsError
        If a model lacks items, a value is missing, or it is no probability.
    """
    wanted = [*quants, *([reference] if reference is not None else [])]
    lacking = [m for m in wanted if m not in probabilities or probabilities[m].isna().any()]
    if lacking:
        raise StatisticsError(
            "Some models have no probability of the right choice.",
            expected=f"one for each item of {', '.join(wanted)}",
            found=f"none for some or all items of {', '.join(lacking)}",
            do="run notebook 03_benchmark_scores for them again, or give the choices' log-probabilities",
        )
    values = np.round(checked_probabilities(probabilities[wanted].to_numpy()) / STEP) * STEP
    return values if reference is None else values[:, :-1] - values[:, -1:]
