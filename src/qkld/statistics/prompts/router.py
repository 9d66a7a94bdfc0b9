"""A router that picks, of two models, the one with the lower KLD on this item: how often is it right?

arXiv:2606.19558 finds 42.3 % to 49.4 % where chance is 50 %. An offset between the two models' KLD moves the accuracy
by itself when one model is right more often, so the accuracy that the margins alone give stands beside it, and Fisher's
exact test, which holds its size then, rather than a binomial test against one half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from qkld.errors import StatisticsError

CHANCE = 0.5


@dataclass(frozen=True)
class Routing:
    """Items on which exactly one of models A and B is right, by where the lower KLD points."""

    to_a_a_right: int
    to_a_b_right: int
    to_b_a_right: int
    to_b_b_right: int
    tied_a_right: int = 0
    tied_b_right: int = 0

    @property
    def items(self) -> int:
        return sum(self.counts)

    @property
    def counts(self) -> tuple[int, ...]:
        return (
            self.to_a_a_right,
            self.to_a_b_right,
            self.to_b_a_right,
            self.to_b_b_right,
            self.tied_a_right,
            self.tied_b_right,
        )

    @property
    def ties(self) -> int:
        return self.tied_a_right + self.tied_b_right

    @property
    def right(self) -> float:
        """Items routed to the model that is right; a tie counts one half."""
        return self.to_a_a_right + self.to_b_b_right + self.ties / 2

    @property
    def share_to_a(self) -> float:
        """Share of items routed to A; a tie is routed by a fair coin."""
        return (self.to_a_a_right + self.to_a_b_right + self.ties / 2) / self.items

    @property
    def share_a_right(self) -> float:
        return (self.to_a_a_right + self.to_b_a_right + self.tied_a_right) / self.items

    @property
    def margins_only(self) -> float:
        """Accuracy of a router that sends as many items to A, whichever they are: πθ + (1 − π)(1 − θ)."""
        return self.share_to_a * self.share_a_right + (1 - self.share_to_a) * (1 - self.share_a_right)

    @property
    def always_better(self) -> float:
        """Accuracy of always taking the model that is right more often."""
        return max(self.share_a_right, 1 - self.share_a_right)

    @property
    def fisher_p(self) -> float:
        """Fisher's exact two-sided p of where it is routed against who is right; ties left out."""
        table = [[self.to_a_a_right, self.to_a_b_right], [self.to_b_a_right, self.to_b_b_right]]
        return float(stats.fisher_exact(table).pvalue)


def decisions(
    kld_a: ArrayLike, kld_b: ArrayLike, right_a: ArrayLike, right_b: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """For each item whether exactly one model is right, and if so what the router gets: 1, 0, or ½ for a tie."""
    kld_a, kld_b, right_a, right_b = _aligned(kld_a, kld_b, right_a, right_b)
    one = right_a != right_b
    hit = np.where(kld_a == kld_b, 0.5, (kld_a < kld_b) == right_a)
    return one, np.where(one, hit, 0.0)


def route(kld_a: ArrayLike, kld_b: ArrayLike, right_a: ArrayLike, right_b: ArrayLike) -> Routing:
    """Send each item on which exactly one model is right to the model with the lower KLD (nats, one value an item).

    Raises
    ------
    StatisticsError
        If columns differ in length or a KLD of such an item is missing.
    """
    kld_a, kld_b, right_a, right_b = _aligned(kld_a, kld_b, right_a, right_b)
    one = right_a != right_b
    a, b, a_right = kld_a[one], kld_b[one], right_a[one]
    ways = (a < b, b < a, a == b)
    return Routing(*(int((way & right).sum()) for way in ways for right in (a_right, ~a_right)))


def _aligned(
    kld_a: ArrayLike, kld_b: ArrayLike, right_a: ArrayLike, right_b: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    columns = (
        np.asarray(kld_a, dtype=float),
        np.asarray(kld_b, dtype=float),
        np.asarray(right_a, dtype=bool),
        np.asarray(right_b, dtype=bool),
    )
    shapes = {c.shape for c in columns}
    missing = 0 if len(shapes) > 1 else int((~np.isfinite(columns[0] + columns[1])).sum())
    if len(shapes) > 1 or missing:
        raise StatisticsError(
            "The router needs both models' answer and KLD on the same items.",
            expected="four equally long columns, every KLD finite",
            found=f"shapes {sorted(shapes)}, {missing} items without a KLD",
            do="give the same items in the same order; leave out items without a KLD",
        )
    return columns


def wilson(routing: Routing, confidence: float) -> tuple[float, float]:
    """Wilson interval of the router's accuracy.

    Raises
    ------
    StatisticsError
        If there is no item on which exactly one model is right.
    """
    if not routing.items:
        raise StatisticsError(
            "No item can be routed.",
            expected="at least 1 item on which exactly one model is right",
            found="none",
            do="use more items or models that differ more",
        )
    low, high = proportion_confint(routing.right, routing.items, alpha=1 - confidence, method="wilson")
    return float(low), float(high)
