"""Top-k lists: which tokens, what is said of the others, and the paper's floored form."""

from __future__ import annotations

import numpy as np
import pytest

from qkld.compare.stores import Enclosure, TopK, floor_form, top_k_of
from qkld.compare.stores.base_format import BaseHeader, BaseRows, encode_rows
from qkld.errors import StoreError


def log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def base(logits: np.ndarray) -> Enclosure:
    return BaseRows(encode_rows(logits), BaseHeader(8, logits.shape[1], 1)).enclosure(slice(None))


@pytest.mark.parametrize("k", [1, 5, 41])
def test_the_k_most_probable_tokens_with_the_exact_tail(rng: np.random.Generator, k: int) -> None:
    log_p = log_softmax(rng.standard_normal((30, 41)) * 3)
    found = top_k_of(Enclosure.exact(log_p), k)
    order = np.argsort(-log_p, axis=1, kind="stable")
    np.testing.assert_array_equal(found.ids, order[:, :k])
    np.testing.assert_allclose(found.log_probabilities, np.take_along_axis(log_p, order[:, :k], axis=1), rtol=1e-7)
    tail = np.exp(np.take_along_axis(log_p, order[:, k:], axis=1)).sum(axis=1)
    assert ((found.tail_low <= tail) & (tail <= found.tail_high)).all()
    np.testing.assert_allclose(found.tail_high, tail, rtol=1e-6)
    assert (found.known == k).all()
    assert (found.error == 0).all()


def test_among_equals_the_lower_id_is_kept_and_goes_first() -> None:
    log_p = log_softmax(np.array([[1.0, 3.0, 2.0, 3.0, 2.0, 2.0]]))
    assert top_k_of(Enclosure.exact(log_p), 4).ids[0].tolist() == [1, 3, 2, 4]


def test_a_base_files_half_step_is_carried_along(rng: np.random.Generator) -> None:
    logits = (rng.standard_normal((10, 301)) * 2).astype(np.float32)
    found = top_k_of(base(logits), 20)
    exact = np.take_along_axis(log_softmax(logits), found.ids.astype(int), axis=1)
    assert (np.abs(found.log_probabilities - exact) <= found.error[:, None] * 1.0001).all()
    assert (found.error > 1e-5).all()
    assert (found.error < 1.4e-4).all()


def test_a_row_with_fewer_values_than_k_lists_the_others_with_their_cap() -> None:
    logits = np.zeros((1, 9), dtype=np.float32)
    logits[0, 4], logits[0, 6] = 30.0, 28.0
    found = top_k_of(base(logits), 5)
    assert found.known.tolist() == [2]
    assert found.ids[0].tolist() == [4, 6, 0, 1, 2]
    assert found.log_probabilities[0, 2:] == pytest.approx(found.cap[0])
    assert found.cap[0] < -15.9
    known = found.enclosure(9)
    assert known.rest[0].nonzero()[0].tolist() == [0, 1, 2, 3, 5, 7, 8]


def test_a_smaller_k_of_a_top_k_is_that_of_the_whole(rng: np.random.Generator) -> None:
    log_p = log_softmax(rng.standard_normal((10, 41)) * 3)
    whole, twice = top_k_of(Enclosure.exact(log_p), 4), top_k_of(top_k_of(Enclosure.exact(log_p), 12).enclosure(41), 4)
    np.testing.assert_array_equal(whole.ids, twice.ids)
    np.testing.assert_allclose(whole.log_probabilities, twice.log_probabilities, rtol=1e-7)
    assert (twice.tail_low <= whole.tail_high).all()
    assert (whole.tail_low <= twice.tail_high).all()


def test_impossible_tokens_keep_probability_0() -> None:
    log_p = np.array([[np.log(0.75), np.log(0.25), -np.inf, -np.inf]])
    found = top_k_of(Enclosure.exact(log_p), 3)
    assert np.isneginf(found.log_probabilities[0, 2])
    assert np.isneginf(found.cap[0])
    assert found.tail_high[0] == 0
    known = found.enclosure(4)
    assert not known.rest.any()
    assert np.isneginf(known.high[0, 2:]).all()


@pytest.mark.parametrize("k", [0, 42])
def test_a_k_outside_the_vocabulary_is_refused(rng: np.random.Generator, k: int) -> None:
    with pytest.raises(StoreError, match=r"1 ≤ k ≤ 41"):
        top_k_of(Enclosure.exact(log_softmax(rng.standard_normal((3, 41)))), k)


def test_rows_with_nan_are_counted_and_refused(rng: np.random.Generator) -> None:
    log_p = log_softmax(rng.standard_normal((3, 41)))
    log_p[[0, 2], 1] = np.nan
    with pytest.raises(StoreError, match="2 rows with NaN"):
        top_k_of(Enclosure.exact(log_p), 3)


@pytest.mark.parametrize("ids", [[0, 0], [0, 41], [-1, 3]])
def test_ids_that_can_not_be_are_refused(ids: list[int]) -> None:
    one = np.zeros(1, np.float32)
    row = TopK(np.array([ids]), np.log([[0.5, 0.2]]).astype(np.float32), one, np.array([2]), one - 3, one, one + 0.5)
    with pytest.raises(StoreError, match=r"distinct ids in \[0, 41\)"):
        row.enclosure(41)


def literal_floor_form(log_p: np.ndarray, log_q: np.ndarray, k: int, floor: float) -> tuple[list[float], list[int]]:
    """Eq. 5, token by token, from full distributions."""
    sums, floored = [], []
    for p, q in zip(log_p, log_q, strict=True):
        own, others = np.argsort(-p, kind="stable")[:k], set(np.argsort(-q, kind="stable")[:k].tolist())
        sums.append(sum(np.exp(p[i]) * (p[i] - (q[i] if i in others else floor)) for i in own.tolist()))
        floored.append(sum(i not in others for i in own.tolist()))
    return sums, floored


@pytest.mark.parametrize("k", [1, 3, 20, 41])
@pytest.mark.parametrize("noise", [0.1, 3.0])
def test_the_floor_form_is_eq_5(rng: np.random.Generator, k: int, noise: float) -> None:
    logits = rng.standard_normal((40, 41)) * 3
    log_p, log_q = log_softmax(logits), log_softmax(logits + noise * rng.standard_normal(logits.shape))
    form = floor_form(*(top_k_of(Enclosure.exact(x), k) for x in (log_p, log_q)), -12.0)
    sums, floored = literal_floor_form(log_p, log_q, k, -12.0)
    np.testing.assert_allclose(form.kl, sums, rtol=1e-5, atol=1e-6)
    assert form.floored.tolist() == floored
    assert form.floored.any() == (k < 41)


def test_the_floor_form_moves_with_its_floor_and_only_then(rng: np.random.Generator) -> None:
    logits = rng.standard_normal((5, 41)) * 3
    lists = [top_k_of(Enclosure.exact(log_softmax(x)), 4) for x in (logits, -logits)]
    low, high = (floor_form(*lists, floor).kl for floor in (-20.0, -10.0))
    assert (low > high).all()


def test_two_ks_are_an_error(rng: np.random.Generator) -> None:
    known = Enclosure.exact(log_softmax(rng.standard_normal((5, 41))))
    with pytest.raises(StoreError, match="k = 7") as error:
        floor_form(top_k_of(known, 8), top_k_of(known, 7), -16.0)
    assert "k = 8, the reference's" in str(error.value)


@pytest.mark.parametrize("floor", [0.0, 3.0, np.nan])
def test_a_floor_that_is_no_log_probability_is_refused(rng: np.random.Generator, floor: float) -> None:
    lists = top_k_of(Enclosure.exact(log_softmax(rng.standard_normal((5, 41)))), 3)
    with pytest.raises(StoreError, match="floor is a log-probability"):
        floor_form(lists, lists, floor)
