"""Bounds of KL(reference ‖ quant) from what two stores know of the distributions, per token, in nats.

Everything rests on one form of the divergence. With p and q summing to 1,

    KL(p ‖ q) = Σ d(p_i, q_i),   d(p, q) = p · ln(p / q) − p + q ≥ 0,

and d is convex in (p, q) together and homogeneous. So each term has its least value over an interval where p and q
come nearest, and its greatest in a corner; and the terms of any group of tokens sum to no less than d of the group's
totals (log-sum inequality: the data-processing inequality for lumping tokens, Cover & Thomas 2006, theorem 2.7.1).
Half a code step per token of a 16-bit file is the width of its interval, so it is carried through without more ado.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qkld.compare.stores.enclosure import Enclosure, Floats, within_complement
from qkld.errors import StoreError


@dataclass(frozen=True)
class KLBounds:
    """Ends between which KL(reference ‖ quant) lies, shape (tokens,), nats; NaN where a logit was no number.

    They hold up to rounding in float64 (1e-12). ``upper`` is inf where none exists: where a token that the reference
    may predict has no lower end in the quant.
    """

    lower: Floats
    upper: Floats


def kl_bounds(reference: Enclosure, quant: Enclosure) -> KLBounds:
    """Bounds of KL(reference ‖ quant), per token.

    Raises
    ------
    StoreError
        If the shapes differ.
    """
    if reference.shape != quant.shape:
        raise StoreError(
            "Reference and quant have different vocabularies or windows.",
            expected=f"(tokens, vocabulary) = {reference.shape}",
            found=quant.shape,
            do="compare stores of the same windows and the same tokenizer",
        )
    lower = kl_lower_bound(reference, quant)
    return KLBounds(lower, np.maximum(kl_upper_bound(reference, quant), lower))


def divergence_term(log_p: Floats, log_q: Floats) -> Floats:
    """d(p, q) = p · ln(p / q) − p + q, of logarithms; q where p = 0, and inf where q = 0 alone."""
    p, q = np.exp(log_p), np.exp(log_q)
    with np.errstate(invalid="ignore"):
        terms = np.where(p > 0, p * (log_p - log_q), 0.0)
    return np.where(np.isnan(log_p) | np.isnan(log_q), np.nan, np.maximum(terms - p + q, 0.0))


def kl_lower_bound(reference: Enclosure, quant: Enclosure) -> Floats:
    """Least KL(reference ‖ quant) that the intervals allow for, term by term, the rest lumped in one bucket.

    Where the intervals of single tokens of the rest say more than the bucket does, they are taken instead.
    """
    rest = reference.rest | quant.rest
    terms = _least_terms(reference.low, reference.high, quant.low, quant.high)
    kept = np.where(rest, 0.0, terms).sum(axis=1)
    single = np.where(rest, terms, 0.0).sum(axis=1)
    with np.errstate(divide="ignore"):  # ln 0 = −inf: nothing is left for the bucket
        ends = [np.log(end) for side in (reference, quant) for end in _bucket(side, rest)]
    return kept + np.maximum(single, _least_terms(*ends))


def _least_terms(low_p: Floats, high_p: Floats, low_q: Floats, high_q: Floats) -> Floats:
    """Least d(p, q) over two intervals of logarithms: 0 where they overlap, else at the ends that face each other."""
    above = low_p > high_q
    return divergence_term(np.where(above, low_p, high_p), np.where(above, high_q, np.maximum(low_q, high_p)))


def _bucket(side: Enclosure, rest: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Ends of the probability of the tokens in ``rest``, which holds the side's own rest and may hold more."""
    more = rest & ~side.rest
    below, above = np.exp(side.low), np.exp(side.high)
    least = np.where(more, below, 0.0).sum(axis=1) + side.rest_low
    most = np.where(more, above, 0.0).sum(axis=1) + side.rest_high
    without = (np.where(rest, 0.0, ends).sum(axis=1) for ends in (below, above))
    least, most = within_complement(least, most, *without)
    has_rest = rest.any(axis=1)
    return np.where(has_rest, np.minimum(least, most), 0.0), np.where(has_rest, most, 0.0)


def kl_upper_bound(reference: Enclosure, quant: Enclosure) -> Floats:
    """Greatest KL(reference ‖ quant) that the intervals allow for; inf where the quant gives no lower end.

    Terms of kept tokens are taken at the worst corner of their intervals. The reference's rest is a convex problem:
    its greatest value lies where as many tokens as its mass fills are at their cap, those least likely under the quant.
    """
    corners = [
        divergence_term(p, q) for p in (reference.low, reference.high) for q in _different(quant.low, quant.high)
    ]
    kept = np.where(reference.rest, 0.0, np.max(corners, axis=0)).sum(axis=1)
    rest = np.array([_greatest_rest(reference, quant, row) for row in range(len(kept))])
    return kept + rest


def _different(low: Floats, high: Floats) -> tuple[Floats, ...]:
    return (low,) if low is high else (low, high)


def _greatest_rest(reference: Enclosure, quant: Enclosure, row: int) -> float:
    """Greatest Σ d(p, q) over the reference's rest of one row."""
    rest = reference.rest[row]
    if not rest.any():
        return 0.0
    caps, low_q, high_q = reference.high[row, rest], quant.low[row, rest], quant.high[row, rest]
    alone = np.maximum.reduce(
        [divergence_term(p, q) for p in (np.full_like(caps, -np.inf), caps) for q in (low_q, high_q)]
    )
    least, most = float(reference.rest_low[row]), float(reference.rest_high[row])
    together = _greatest_filling(float(np.exp(caps.max())), least, most, np.sort(low_q)) + np.exp(high_q).sum()
    return float(min(alone.sum(), max(together, 0.0)))


def _greatest_filling(cap: float, least: float, most: float, log_q: Floats) -> float:
    """Greatest Σ p · ln(p / q) − p over p ≤ cap whose sum lies in [least, most]; ``log_q`` rises.

    For one sum it is the value with ⌊sum / cap⌋ tokens at the cap, from the least likely on, and the remainder on the
    next. Between two whole numbers of tokens that is convex in the sum, so whole numbers and both ends are tried.
    """
    if most <= 0.0:
        return 0.0
    full = np.arange(np.ceil(least / cap), np.floor(most / cap) + 1)
    sums = np.concatenate([[least, most], full * cap])
    at_cap = np.minimum(np.floor(sums / cap * (1 + 1e-15)), len(log_q)).astype(int)
    left = np.clip(sums - at_cap * cap, 0.0, cap)
    gains = np.concatenate([[0.0], np.cumsum(cap * (np.log(cap) - log_q))])
    next_q = log_q[np.minimum(at_cap, len(log_q) - 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        last = np.where(left > 0, left * (np.log(left) - next_q), 0.0)
    return float((gains[at_cap] + last - sums).max())
