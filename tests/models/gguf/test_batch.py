"""Masks as llama.cpp takes them: sequences that give the mask back, and the refusal of what is no tree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qkld.benchmarks.items import item_from_pairs
from qkld.benchmarks.packing import packed, whole_sequences
from qkld.errors import ModelError
from qkld.models.gguf.batch import as_batch, sequences_of

ITEMS = [
    item_from_pairs("a", [([1, 2, 3], [4, 5]), ([1, 2, 3], [6]), ([1, 2, 3], [7, 8, 9])]),
    item_from_pairs("b", [([2, 2], [3]), ([2, 2], [5, 5])]),
]


def seen_by(members, positions):
    """The mask that sequences mean, pair by pair: whoever shares a sequence and does not come later is seen."""
    n = len(members)
    return np.array(
        [[bool(set(members[i]) & set(members[j])) and positions[j] <= positions[i] for j in range(n)] for i in range(n)]
    )


def test_packed_items_come_back_as_their_block_mask():
    pack = packed(ITEMS)
    batch = as_batch(pack.input_ids, pack.position_ids, pack.attention_mask)
    assert np.array_equal(seen_by(batch.members, batch.positions), pack.attention_mask[0, 0].numpy())
    assert batch.sequences == 5  # one a choice
    assert batch.members[0] == (0, 1, 2)  # the first prompt is before its three choices
    assert batch.tokens.tolist() == pack.input_ids[0].tolist()
    assert batch.positions.tolist() == pack.position_ids[0].tolist()


def test_rows_are_sequences_without_their_padding():
    pack = whole_sequences(ITEMS)
    batch = as_batch(pack.input_ids, pack.position_ids, pack.attention_mask)
    assert batch.sequences == len(pack.input_ids)
    assert len(batch.tokens) == int(pack.attention_mask.sum())
    assert batch.tokens.tolist() == pack.input_ids.flatten()[torch.from_numpy(batch.places)].tolist()
    first = [p for p, own in zip(batch.positions, batch.members, strict=True) if own == (0,)]
    assert first == list(range(len(first)))


def test_without_a_mask_each_row_is_a_sequence():
    batch = as_batch(torch.tensor([[5, 6, 7], [8, 9, 1]]))
    assert batch.members == ((0,), (0,), (0,), (1,), (1,), (1,))
    assert batch.positions.tolist() == [0, 1, 2, 0, 1, 2]
    assert batch.places.tolist() == list(range(6))


def test_a_mask_that_is_no_tree_is_refused():
    causal = np.tril(np.ones((4, 4), bool))
    assert sequences_of(causal, np.arange(4)) == ((0,),) * 4
    windowed = causal & ~np.tril(np.ones((4, 4), bool), -2)
    with pytest.raises(ModelError, match="a tree"):
        sequences_of(windowed, np.arange(4))
