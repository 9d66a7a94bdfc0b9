"""What listed tokens say of a distribution: the truth lies within, whatever a server leaves out or mixes up."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import make_tokenizer

from qkld.compare.served.listed import Listed, as_top_k
from qkld.compare.served.token_texts import TokenTexts
from qkld.compare.stores import Enclosure, kl_bounds

VOCABULARY = 40


@pytest.fixture
def pair(rng) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of a reference and a quant, shape (6, vocabulary)."""
    logits = 2.5 * rng.standard_normal((6, VOCABULARY))
    both = (logits, logits + 0.4 * rng.standard_normal(logits.shape))
    return tuple(x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in both)


def top(row: np.ndarray, k: int) -> dict[int, float]:
    return {int(t): float(np.float32(row[t])) for t in np.argsort(-row)[:k]}


def bounds(reference: np.ndarray, listed: list[Listed], k: int) -> tuple[np.ndarray, np.ndarray]:
    made = kl_bounds(Enclosure.exact(reference), as_top_k(listed, k, VOCABULARY).enclosure(VOCABULARY))
    return made.lower, made.upper


@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_truth_lies_within_and_more_tokens_bring_it_closer(pair, k):
    reference, quant = pair
    truth = (np.exp(reference) * (reference - quant)).sum(axis=1)
    low, high = bounds(reference, [Listed(top(row, k)) for row in quant], k)
    assert (low <= truth).all()
    assert np.isinf(high).all()
    nearer, _ = bounds(reference, [Listed(top(row, k + 10)) for row in quant], k + 10)
    assert nearer.mean() > low.mean()


def test_the_whole_vocabulary_leaves_no_room(pair):
    reference, quant = pair
    truth = (np.exp(reference) * (reference - quant)).sum(axis=1)
    low, high = bounds(reference, [Listed(top(row, VOCABULARY)) for row in quant], VOCABULARY)
    np.testing.assert_allclose(low, truth, atol=1e-4)
    np.testing.assert_allclose(high, truth, atol=1e-4)


def test_a_token_that_the_server_adds_does_not_lower_the_cap(pair):
    """The text's own token comes beside the top k, however unlikely: tokens left out may lie between."""
    reference, quant = pair
    rare = [int(np.argmin(row)) for row in quant]
    listed = [Listed(top(row, 5) | {t: float(row[t])}) for row, t in zip(quant, rare, strict=True)]
    made = as_top_k(listed, 5, VOCABULARY)
    sixth = np.sort(quant, axis=1)[:, -6]
    assert (made.cap >= sixth).all()
    assert (made.known == 6).all()
    truth = (np.exp(reference) * (reference - quant)).sum(axis=1)
    assert (kl_bounds(Enclosure.exact(reference), made.enclosure(VOCABULARY)).lower <= truth).all()


def test_entries_that_can_not_be_told_apart_leave_room_for_the_most_likely_token(pair):
    reference, quant = pair
    listed = [Listed({t: v for t, v in top(row, 6).items() if t != int(np.argmax(row))}, unresolved=1) for row in quant]
    made = as_top_k(listed, 6, VOCABULARY)
    assert (made.cap >= quant.max(axis=1)).all()
    truth = (np.exp(reference) * (reference - quant)).sum(axis=1)
    assert (kl_bounds(Enclosure.exact(reference), made.enclosure(VOCABULARY)).lower <= truth).all()


def test_texts_are_tokens_only_where_one_token_has_them():
    tokenizer = make_tokenizer()
    texts = TokenTexts(tokenizer)
    quick, brown = tokenizer(" quick brown")["input_ids"]
    assert (texts.token(" quick"), texts.token(" brown")) == (quick, brown)
    assert texts.token("token_id:7") == 7
    for nobodys in ("", "\ufffd", "quick and brown"):
        assert texts.token(nobodys) is None
    listed = texts.listed({" quick": -1.0, "": -2.0, "\ufffd": -3.0})
    assert listed == Listed({quick: -1.0}, unresolved=2)
