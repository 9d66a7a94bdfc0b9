"""Bounds of KL(reference ‖ quant): the truth lies inside, they are reached, and they close where nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from small_stores import second_version_row

from qkld.compare.stores import Enclosure, kl_bounds, top_k_of
from qkld.compare.stores.base_format import BaseHeader, BaseRows, encode_rows
from qkld.errors import StoreError

ROUNDING = 1e-12
CASES = 10_000
F = np.float32


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities in float64."""
    x = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def truth(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """KL(p ‖ q) by its definition, per row."""
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=1)


def base(logits: np.ndarray, clamp: float = 16.0) -> Enclosure:
    """What a base file keeps of these logits."""
    header = BaseHeader(8, logits.shape[1], 1)
    return BaseRows(encode_rows(logits, clamp), header).enclosure(slice(None))


def second_version(logits: np.ndarray) -> Enclosure:
    """What a ``_logits2`` file keeps of these logits."""
    words = np.stack([second_version_row(row) for row in logits])
    return BaseRows(words, BaseHeader(8, logits.shape[1], 1, version=2)).enclosure(slice(None))


def top(logits: np.ndarray, k: int) -> Enclosure:
    """What a top-k store keeps of these logits."""
    return top_k_of(Enclosure.exact(log_softmax(logits)), k).enclosure(logits.shape[1])


def top_of_base(logits: np.ndarray, k: int) -> Enclosure:
    """What a top-k store keeps that was made from a base file."""
    return top_k_of(base(logits), k).enclosure(logits.shape[1])


def random_pairs(cases: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Logits of references and quants, float32, in blocks of one vocabulary.

    Peaked and flat rows, quants near and far, ties, rows in which all but one or two tokens are clamped, large
    vocabularies whose decoded floor alone adds mass, rows of equal logits, quants that deny the reference's tail.
    """
    blocks, left = [], cases
    while left:
        rows, vocabulary = min(left, 100), int(rng.choice([2, 3, 7, 41, 257, 1500], p=[0.19] * 5 + [0.05]))
        reference = rng.standard_normal((rows, vocabulary)) * 10 ** rng.uniform(-2, 1.2, (rows, 1))
        quant = reference + rng.standard_normal((rows, vocabulary)) * 10 ** rng.uniform(-4, 1, (rows, 1))
        kind = rng.integers(7, size=rows)
        reference[kind == 1] = np.round(reference[kind == 1])
        quant[kind == 1] = np.round(quant[kind == 1])
        reference[kind == 2, 0] = reference[kind == 2].max(axis=1, initial=0) + rng.uniform(15, 40)
        reference[kind == 3] = 0.25
        quant[kind == 4, -1] -= 60
        reference[kind == 5, : min(2, vocabulary)] += 25
        blocks.append((reference.astype(F), quant.astype(F)))
        left -= rows
    return blocks


REFERENCES = {
    "16 nats": base,
    "24 nats": lambda x: base(x, 24.0),
    "version 2": second_version,
    "top k": lambda x: top(x, max(1, x.shape[1] // 3)),
    "top k of a base file": lambda x: top_of_base(x, max(1, x.shape[1] // 2)),
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_the_truth_lies_inside_in_ten_thousand_random_cases(rng: np.random.Generator, kind: str) -> None:
    cases = CASES if kind != "version 2" else 500  # its encoder here is a loop over tokens
    clamped = closed = above_one = 0
    for reference, quant in random_pairs(cases, rng):
        log_p, log_q = log_softmax(reference), log_softmax(quant)
        known = REFERENCES[kind](reference)
        bounds = kl_bounds(known, Enclosure.exact(log_q))
        expected = truth(log_p, log_q)
        slack = ROUNDING * (1 + expected)
        assert (bounds.lower <= expected + slack).all()
        assert (expected <= bounds.upper + slack).all()
        assert np.isfinite(bounds.upper).all()
        assert (bounds.lower >= 0).all()
        clamped += int((known.rest.sum(axis=1) == known.shape[1] - 1).sum())
        closed += int((bounds.upper - bounds.lower < 1e-2 * (1e-3 + expected)).sum())
        above_one += int((np.exp(known.high).sum(axis=1) > 1.0002).sum())
    assert closed > cases / 10
    if kind != "version 2":
        assert clamped > cases / 50
        assert above_one > cases / 100


def sides(rng: np.random.Generator, reference: np.ndarray, quant: np.ndarray) -> tuple[Enclosure, Enclosure]:
    """Both from stores that lose something, of two random kinds."""
    k = int(rng.integers(1, reference.shape[1] + 1))
    kinds = (base, lambda x: base(x, 24.0), lambda x: top(x, k), lambda x: top_of_base(x, k))
    one, other = rng.integers(4, size=2)
    return kinds[one](reference), kinds[other](quant)


def test_two_stores_that_both_lose_something_enclose_the_truth(rng: np.random.Generator) -> None:
    finite = 0
    for reference, quant in random_pairs(CASES, rng):
        bounds = kl_bounds(*sides(rng, reference, quant))
        expected = truth(log_softmax(reference), log_softmax(quant))
        slack = ROUNDING * (1 + expected)
        assert (bounds.lower <= expected + slack).all()
        assert (expected <= bounds.upper + slack).all()
        finite += int(np.isfinite(bounds.upper).sum())
    assert CASES / 20 < finite < CASES


def test_exact_stores_give_the_divergence_itself(rng: np.random.Generator) -> None:
    log_p, log_q = (log_softmax(rng.standard_normal((50, 401)) * 4) for _ in range(2))
    bounds = kl_bounds(Enclosure.exact(log_p), Enclosure.exact(log_q))
    np.testing.assert_allclose(bounds.lower, truth(log_p, log_q), rtol=1e-12)
    np.testing.assert_allclose(bounds.upper, truth(log_p, log_q), rtol=1e-12)


def test_the_lower_bound_is_the_divergence_of_lumped_distributions(rng: np.random.Generator) -> None:
    """Top k in float64 with the exact tail: Cover & Thomas's inequality, written out."""
    log_p, log_q = (log_softmax(rng.standard_normal((30, 41)) * 3) for _ in range(2))
    kept = np.zeros(log_p.shape, dtype=bool)
    np.put_along_axis(kept, np.argsort(-log_p, axis=1)[:, :5], True, axis=1)
    tail = np.where(kept, 0, np.exp(log_p)).sum(1)
    lumped = np.where(kept, np.exp(log_p) * (log_p - log_q), 0).sum(1)
    lumped += tail * (np.log(tail) - np.log(np.where(kept, 0, np.exp(log_q)).sum(1)))
    known = Enclosure.of(np.where(kept, log_p, -np.inf), np.where(kept, log_p, 0.0), tail, tail)
    np.testing.assert_allclose(kl_bounds(known, Enclosure.exact(log_q)).lower, lumped, rtol=1e-10)


def test_the_upper_bound_is_reached_by_a_tail_on_the_least_likely_tokens() -> None:
    """A tail of 0.1, at most 0.04 a token: 0.04, 0.04 and 0.02 on the quant's three least likely tokens."""
    q = np.array([0.5, 0.3, 0.1, 0.06, 0.03, 0.01])
    low = np.log(np.array([0.6, 0.3, 0, 0, 0, 0]), where=[True, True] + [False] * 4, out=np.full(6, -np.inf))
    high = np.where(np.isneginf(low), np.log(0.04), low)
    known = Enclosure.of(low[None], high[None], 0.1, 0.1)
    worst = np.array([0.6, 0.3, 0, 0.02, 0.04, 0.04])
    expected = sum(p * np.log(p / r) for p, r in zip(worst, q, strict=True) if p > 0)
    bounds = kl_bounds(known, Enclosure.exact(np.log(q)[None]))
    assert bounds.upper[0] == pytest.approx(expected, rel=1e-12)
    assert bounds.lower[0] < expected


def test_bounds_of_a_base_file_are_close_where_a_good_quant_is_measured(rng: np.random.Generator) -> None:
    """KL 1e-3 from 16-bit codes: half a step costs a few percent of it."""
    reference = (rng.standard_normal((20, 1271)) * 3).astype(F)
    quant = reference + (0.045 * rng.standard_normal(reference.shape)).astype(F)
    bounds = kl_bounds(base(reference), Enclosure.exact(log_softmax(quant)))
    expected = truth(log_softmax(reference), log_softmax(quant))
    assert (bounds.upper - bounds.lower).mean() < 0.03 * expected.mean()
    assert bounds.lower.mean() > 0.98 * expected.mean()


def test_no_upper_bound_exists_where_the_quant_may_deny_a_token(rng: np.random.Generator) -> None:
    logits = rng.standard_normal((6, 41))
    bounds = kl_bounds(top(logits, 5), top(logits[:, ::-1], 5))
    assert np.isposinf(bounds.upper).all()
    assert (bounds.lower > 0).all()


def test_a_store_against_itself_may_be_equal(rng: np.random.Generator) -> None:
    known = base((rng.standard_normal((6, 41)) * 8).astype(F))
    assert (kl_bounds(known, known).lower == 0).all()


def test_rows_with_a_logit_that_is_no_number_stay_nan(rng: np.random.Generator) -> None:
    logits = rng.standard_normal((3, 41))
    log_q = log_softmax(logits)
    log_q[1] = np.nan
    for reference in (Enclosure.exact(log_softmax(logits)), top(logits, 5)):
        bounds = kl_bounds(reference, Enclosure.exact(log_q))
        assert np.isnan([bounds.lower[1], bounds.upper[1]]).all()
        assert np.isfinite(bounds.lower[[0, 2]]).all()


def test_an_impossible_token_has_no_share_in_the_divergence() -> None:
    log_p = np.log([[0.5, 0.5, 1e-300]])
    log_p[0, 2] = -np.inf
    bounds = kl_bounds(Enclosure.exact(log_p), Enclosure.exact(np.log([[0.25, 0.5, 0.25]])))
    assert bounds.lower[0] == pytest.approx(0.5 * np.log(2), rel=1e-12)
    assert bounds.upper[0] == pytest.approx(0.5 * np.log(2), rel=1e-12)


def test_intervals_that_hold_no_distribution_are_refused() -> None:
    with pytest.raises(StoreError, match=r"misses 1 by 0\.4"):
        Enclosure.of(np.log([[0.7, 0.7]]), np.log([[0.7, 0.7]]))


def test_other_shapes_are_refused(rng: np.random.Generator) -> None:
    one, other = (Enclosure.exact(log_softmax(rng.standard_normal((3, v)))) for v in (40, 41))
    with pytest.raises(StoreError, match="different vocabularies"):
        kl_bounds(one, other)
