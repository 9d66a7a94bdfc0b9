"""The k most probable tokens of each position with their log-probabilities, and the probability of all others.

What an engine that gives only its top k can fill, and 8 · k bytes a token where full logits take 2 or 4 · vocabulary.
A position also says how far its log-probabilities may be off (0 from exact logits, half a code step from a base file),
how many of its tokens have a value at all, and how probable any token left out may be.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkld.compare.stores.enclosure import Enclosure, Floats
from qkld.errors import StoreError

FLOAT32_ROUNDING = 2.0**-23
"""Relative width that a value stored in float32 is given to either side, twice its rounding."""


@dataclass(frozen=True)
class TopK:
    """The top k of some positions; of equal log-probabilities the lower token id is kept and goes first.

    Attributes
    ----------
    ids : int32, shape (tokens, k)
    log_probabilities : float32, shape (tokens, k), falling
        Of the first ``known`` tokens; the rest of a row lists tokens of which an upper end alone is known: their cap.
    error : float32, shape (tokens,)
        How far these may lie from the logits they came from, nats, beside their own rounding.
    known : int32, shape (tokens,)
    cap : float32, shape (tokens,)
        Greatest log-probability that any token without a value can have; −inf where there is none.
    tail_low, tail_high : float32, shape (tokens,)
        Ends of the probability of all tokens without a value.
    """

    ids: NDArray[np.int32]
    log_probabilities: NDArray[np.float32]
    error: NDArray[np.float32]
    known: NDArray[np.int32]
    cap: NDArray[np.float32]
    tail_low: NDArray[np.float32]
    tail_high: NDArray[np.float32]

    @property
    def k(self) -> int:
        """Tokens kept a position."""
        return self.ids.shape[1]

    @property
    def has_value(self) -> NDArray[np.bool_]:
        """Which of the listed tokens have a value, shape (tokens, k)."""
        return np.arange(self.k) < self.known[:, None]

    def __getitem__(self, rows: NDArray | slice) -> TopK:
        """Some of the positions."""
        return TopK(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name → array, as stored."""
        return {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}

    def enclosure(self, vocabulary: int) -> Enclosure:
        """Intervals of all tokens' log-probabilities, shape (tokens, vocabulary).

        Raises
        ------
        StoreError
            If an id lies outside the vocabulary or is listed twice, or a row's values cannot sum to 1.
        """
        self._check_ids(vocabulary)
        low = np.full((len(self.ids), vocabulary), -np.inf)
        high = np.repeat(self.cap.astype(np.float64)[:, None], vocabulary, axis=1)
        values, row = self.log_probabilities.astype(np.float64), np.arange(len(self.ids))[:, None]
        width = self.error.astype(np.float64)[:, None] + FLOAT32_ROUNDING * np.abs(values)
        width = np.where(np.isneginf(values), 0.0, width)
        low[row, self.ids] = np.where(self.has_value, values - width, -np.inf)
        high[row, self.ids] = np.where(self.has_value, values + width, high[row, self.ids])
        return Enclosure.of(low, high, self.tail_low.astype(np.float64), self.tail_high.astype(np.float64))

    def _check_ids(self, vocabulary: int) -> None:
        ordered = np.sort(self.ids, axis=1)
        repeated = (ordered[:, 1:] == ordered[:, :-1]).any()
        if repeated or (ordered.size and not (ordered[:, 0].min() >= 0 and ordered[:, -1].max() < vocabulary)):
            raise StoreError(
                "A top-k row lists invalid tokens.",
                expected=f"distinct ids in [0, {vocabulary})",
                found="an id twice" if repeated else f"[{ordered.min()}, {ordered.max()}]",
                do="the store was made with another tokenizer, or altered: make it again",
            )


def top_k_of(known: Enclosure, k: int) -> TopK:
    """The top k of what a store knows; a token's value is the middle of its interval.

    Raises
    ------
    StoreError
        If k is not between 1 and the vocabulary, or a logit was no number.
    """
    if not 1 <= k <= known.shape[1] or np.isnan(known.low).any():
        raise StoreError(
            "The top k tokens cannot be selected.",
            expected=f"1 ≤ k ≤ {known.shape[1]} and log-probabilities that are numbers",
            found=f"k = {k}, {int(np.isnan(known.low).any(axis=1).sum())} rows with NaN",
            do="choose another k, or run the model in compute_dtype float32",
        )
    with np.errstate(invalid="ignore"):  # the middle of −inf and −inf
        width = np.where(known.rest | np.isneginf(known.high), 0.0, (known.high - known.low) / 2)
    middle = np.where(known.rest, -np.inf, known.high - width)
    listed = np.stack([_first_largest(m, k, ~r) for m, r in zip(middle, known.rest, strict=True)])
    valued = ~np.take_along_axis(known.rest, listed, axis=1)
    without = ~_scattered(listed, valued, known.shape)  # tokens that keep no value
    below, above = np.exp(np.where(known.rest, -np.inf, known.low)), np.exp(np.where(known.rest, -np.inf, known.high))
    tail_low = np.where(without, below, 0.0).sum(axis=1) + known.rest_low
    tail_high = np.where(without, above, 0.0).sum(axis=1) + known.rest_high
    cap = np.where(without, known.high, -np.inf).max(axis=1)
    values = np.where(valued, np.take_along_axis(middle, listed, axis=1), cap[:, None])
    error = np.where(valued, np.take_along_axis(width, listed, axis=1), 0.0).max(axis=1)
    return TopK(
        listed.astype(np.int32),
        values.astype(np.float32),
        _upwards(error),
        valued.sum(axis=1).astype(np.int32),
        _upwards(cap),
        _downwards(tail_low * (1 - 1e-12)),
        _upwards(tail_high * (1 + 1e-12)),
    )


def _first_largest(values: Floats, k: int, eligible: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Columns of the k largest eligible values, falling, the lower column first; then of others, the lowest first."""
    number = min(k, int(eligible.sum()))
    candidates = np.flatnonzero(eligible)
    if number:
        smallest = np.partition(values[candidates], len(candidates) - number)[len(candidates) - number]
        candidates = candidates[values[candidates] >= smallest]
        candidates = candidates[np.argsort(-values[candidates], kind="stable")]
    return np.concatenate([candidates[:number], np.flatnonzero(~eligible)[: k - number]])


def _scattered(columns: NDArray[np.int64], values: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    out = np.zeros(shape, dtype=bool)
    np.put_along_axis(out, columns, values, axis=1)
    return out


def _upwards(values: Floats) -> NDArray[np.float32]:
    """The next float32 that is not smaller; exact values stay."""
    rounded = values.astype(np.float32)
    return np.where(rounded.astype(np.float64) < values, np.nextafter(rounded, np.float32(np.inf)), rounded)


def _downwards(values: Floats) -> NDArray[np.float32]:
    return -_upwards(-values)


@dataclass(frozen=True)
class FloorForm:
    """The paper's Eq. 5 of each position: Σ over the reference's top k of p · (ln p − ln q), q floored where unknown.

    Attributes
    ----------
    kl : shape (tokens,), nats
    floored : shape (tokens,)
        How many of the reference's tokens were missing from the quant's top k and got the floor.
    """

    kl: Floats
    floored: NDArray[np.int64]


def floor_form(reference: TopK, quant: TopK, floor: float) -> FloorForm:
    """Eq. 5 of arXiv:2606.19558 from two top-k lists. It is neither a bound nor a divergence, and may be negative.

    Parameters
    ----------
    reference, quant : TopK
        The same positions and the same k.
    floor : float
        Log-probability that a token missing from the quant's list is given, nats. The paper's own value is not known.

    Raises
    ------
    StoreError
        If the two ks differ, or the floor is no log-probability.
    """
    check_same_k(reference.k, quant.k)
    if not floor < 0:
        raise StoreError("A floor is a log-probability.", expected="below 0", found=floor, do="give one such as -16")
    order = np.argsort(quant.ids, axis=1)
    ids = np.take_along_axis(quant.ids, order, axis=1)
    where = np.stack([np.searchsorted(own, wanted) for own, wanted in zip(ids, reference.ids, strict=True)])
    where = np.minimum(where, quant.k - 1)
    column = np.take_along_axis(order, where, axis=1)
    found = np.take_along_axis(ids, where, axis=1) == reference.ids
    found &= np.take_along_axis(quant.has_value, column, axis=1)
    log_q = np.where(found, np.take_along_axis(quant.log_probabilities, column, axis=1).astype(np.float64), floor)
    log_p = reference.log_probabilities.astype(np.float64)
    with np.errstate(invalid="ignore"):
        terms = np.where(reference.has_value & (log_p > -np.inf), np.exp(log_p) * (log_p - log_q), 0.0)
    return FloorForm(terms.sum(axis=1), (reference.has_value & ~found).sum(axis=1))


def check_same_k(reference: int, quant: int) -> None:
    """Refuse two top-k stores of different k.

    Raises
    ------
    StoreError
        Naming both.
    """
    if reference != quant:
        raise StoreError(
            "Reference and quant keep different numbers of tokens.",
            expected=f"k = {reference}, the reference's",
            found=f"k = {quant}",
            do="make both stores with one k; a store's k can be cut with `to_top_k`",
        )
