"""Draws that all rows of a table share are functions of the seed and cannot be changed by a row."""

import numpy as np
import pytest

from qkld.statistics.core.correlations_of_resamples import resample_counts
from qkld.statistics.core.permutation import permuted_orders
from qkld.statistics.core.resampling import STREAMS, Resampling

SETTINGS = Resampling(confidence=0.95, resamples=50, permutations=30, seed=3)


def test_draws_are_those_of_the_seed():
    assert (SETTINGS.counts(9) == resample_counts(9, 50, rng=np.random.default_rng(3))).all()
    families = ["a", "b"] * 6
    expected = permuted_orders(np.array(families), 30, rng=np.random.default_rng(3))
    assert (SETTINGS.orders(families) == expected).all()
    other = Resampling(confidence=0.95, resamples=50, permutations=30, seed=4)
    assert (other.counts(9) != SETTINGS.counts(9)).any()


def test_no_row_can_change_what_the_next_one_draws():
    assert SETTINGS.counts(9) is SETTINGS.counts(9)
    with pytest.raises(ValueError, match="read-only"):
        SETTINGS.counts(9)[0, 0] = 7
    with pytest.raises(ValueError, match="read-only"):
        SETTINGS.orders(["a"] * 9)[0, 0] = 7


def test_every_stream_begins_anew_and_items_are_drawn_from_numbers_of_their_own():
    for stream, places in STREAMS.items():
        first = SETTINGS.rng(stream).random()
        assert first == SETTINGS.rng(stream).random() == np.random.default_rng([3, *places]).random()
    assert SETTINGS.rng("items").random() != SETTINGS.rng("quants").random()
    assert SETTINGS.rng("quants").random() == np.random.default_rng(3).random()
