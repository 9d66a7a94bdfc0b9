"""Decisions about files after each round, wrong about any of them with one stated probability.

Each hypothesis has a sequential p over the rounds, and all hypotheses of all files go through the same form of Holm's
method as in a plan with a fixed number of items (`qkld.statistics.flips.decision.holm_of_both`). So the error rate is
of all rounds, all files, and both families of decisions together, whichever file leaves when and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from qkld.statistics.flips.decision import BETTER, EQUIVALENT, UNDECIDED, WORSE, holm_of_both
from qkld.statistics.rounds.looks import Look
from qkld.statistics.rounds.spending import SpendingRule, pocock

Floats = NDArray[np.float64]

DOUBLING = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of all items at the ends of the rounds: each round has as many items as all before it."""


class Rule(Protocol):
    """What makes one p of a hypothesis from those of all rounds; see `SpendingRule.sequential_p`."""

    name: str

    def sequential_p(self, p: Floats) -> Floats: ...


CHOSEN = SpendingRule("Pocock", DOUBLING, pocock)
"""The rule of ``qkld pick``.

Of a folder of files it decides as many as O'Brien and Fleming's spending but for about one in a hundred, on little more
than half of their items, since the first rounds can decide; a confidence sequence decides fewer than both. Simulated in
``validation.calibration.rounds``.
"""


class Decided(NamedTuple):
    """What is known of each file after the rounds so far, all (files,): ``net`` is of its last round.

    The p are sequential and after Holm. ``leaves`` says of which files no more items are needed.
    """

    net: Floats
    p_difference: Floats
    p_equivalent: Floats
    decision: NDArray[np.str_]
    leaves: NDArray[np.bool_]


def decided(looks: Sequence[Look], rule: Rule, *, margin: float, level: float) -> Decided:
    """Decisions after rounds that were looked at; NaN in a look stands for a file that had left before.

    A file leaves once it is equivalent; or worse with a difference seen beyond the margin, so that more items will not
    show it equivalent. A file that is better leaves too.
    """
    p = {name: rule.sequential_p(np.array([getattr(look, name) for look in looks])) for name in Look._fields[1:]}
    sided = np.fmin(p["worse"], p["better"])
    difference, equivalent = holm_of_both(np.minimum(1.0, 2 * sided), np.maximum(p["above"], p["under"]))
    net = _last([look.net for look in looks])
    lower = p["worse"] <= p["better"]
    decision = _decisions(lower, difference <= level, equivalent <= level)
    hopeless = (decision == WORSE) & (net <= -margin)
    return Decided(net, difference, equivalent, decision, hopeless | np.isin(decision, (EQUIVALENT, BETTER)))


def _decisions(lower: NDArray[np.bool_], differs: NDArray[np.bool_], equivalent: NDArray[np.bool_]) -> NDArray:
    """As `qkld.statistics.flips.decision.decisions`, by the side on which the difference was shown."""
    return np.select([equivalent, differs & lower, differs], [EQUIVALENT, WORSE, BETTER], UNDECIDED)


def _last(values: Sequence[Floats]) -> Floats:
    """Each file's last number that is none of NaN."""
    found = values[0]
    for later in values[1:]:
        found = np.where(np.isnan(later), found, later)
    return found
