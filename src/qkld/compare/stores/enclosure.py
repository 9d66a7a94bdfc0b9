"""What a store knows of next-token distributions: for every token an interval that holds its log-probability.

A store of exact logits gives intervals without width. A 16-bit base file gives half a code step around every value and
an upper end alone below its clamp; a top-k store gives an upper end alone for all that it left out. Tokens without a
lower end are the *rest* of a row; their total probability has an interval of its own, because a row sums to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qkld.errors import StoreError

Floats = NDArray[np.float64]

MASS_TOLERANCE = 1e-6
"""How far the probabilities of a row may miss 1 beyond their intervals: rounding of float32 sums, and no more."""

COMPLEMENT_ROUNDING = 1e-14
"""What rounding in float64 may add to 1 − Σ p: a rest of e⁻⁶⁰ must not vanish in it."""


def within_complement(least: Floats, most: Floats, others_low: Floats, others_high: Floats) -> tuple[Floats, Floats]:
    """Ends of a group's probability, drawn together by those of all other tokens, since a row sums to 1."""
    least = np.maximum(least, 1.0 - others_high - COMPLEMENT_ROUNDING)
    return least, np.minimum(most, np.maximum(1.0 - others_low, 0.0) + COMPLEMENT_ROUNDING)


@dataclass(frozen=True)
class Enclosure:
    """Intervals of the log-probabilities of some positions, in nats, and of the total probability of each one's rest.

    Attributes
    ----------
    low, high : shape (tokens, vocab)
        low ≤ ln p ≤ high; −inf in ``low`` alone marks the rest, in both an exact zero; NaN where a logit was no number.
    rest_low, rest_high : shape (tokens,)
        Ends of the rest's probability; 0 where there is no rest.
    """

    low: Floats
    high: Floats
    rest_low: Floats
    rest_high: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """(tokens, vocab)."""
        return self.low.shape[0], self.low.shape[1]

    @cached_property
    def rest(self) -> NDArray[np.bool_]:
        """Which tokens have no lower end, shape (tokens, vocab)."""
        return np.isneginf(self.low) & (self.high > -np.inf)

    def __getitem__(self, rows: NDArray | slice) -> Enclosure:
        """Some of the positions."""
        return Enclosure(self.low[rows], self.high[rows], self.rest_low[rows], self.rest_high[rows])

    @classmethod
    def exact(cls, log_probabilities: Floats) -> Enclosure:
        """Intervals without width, shape (tokens, vocab)."""
        nothing = np.zeros(len(log_probabilities))
        return cls(log_probabilities, log_probabilities, nothing, nothing)

    @classmethod
    def of(
        cls, low: Floats, high: Floats, rest_low: Floats | float = 0.0, rest_high: Floats | float = np.inf
    ) -> Enclosure:
        """Intervals, with the rest's probability drawn together by what is known and by a row's sum of 1.

        Raises
        ------
        StoreError
            If no distribution lies within the intervals of a row.
        """
        rest = np.isneginf(low) & (high > -np.inf)
        kept_low = np.exp(low).sum(axis=1)
        above = np.exp(high)
        rest_cap = np.where(rest, above, 0.0).sum(axis=1)
        kept_high = np.where(rest, 0.0, above).sum(axis=1)
        least, most = within_complement(rest_low, np.minimum(rest_high, rest_cap), kept_low, kept_high)
        _check_mass(np.maximum(least - most, kept_low - 1.0))
        return cls(low, high, np.minimum(least, most), most)


def _check_mass(missed: Floats) -> None:
    """Refuse rows whose intervals miss a sum of 1; shape (tokens,)."""
    wrong = np.flatnonzero(missed > MASS_TOLERANCE)
    if len(wrong):
        raise StoreError(
            f"Row {wrong[0]} is not a probability distribution.",
            expected="probabilities that can sum to 1 within their rounding",
            found=f"a sum that misses 1 by {missed[wrong[0]]:.3g} at least; {len(wrong)} such rows",
            do="the file was altered or is of another format: make it again",
        )
