from dataclasses import replace

import numpy as np
import pytest
import torch

from qkld.benchmarks.items import Item, scored_items
from qkld.benchmarks.packing import hidden_states, layout_name, packed, split_into_packs, whole_sequences
from qkld.errors import BenchmarkError
from qkld.study.params import BenchmarkScores


@pytest.fixture
def items():
    rng = np.random.default_rng(5)

    def ids(least, most):
        return tuple(int(t) for t in rng.integers(0, 257, size=rng.integers(least, most)))

    return [Item(str(i), ids(1, 20), tuple(ids(1, 7) for _ in range(rng.integers(2, 6)))) for i in range(11)]


def alone(model, item):
    """Hidden states at the item's positions, each choice run by itself after the prompt."""
    whole = torch.full((len(item.tokens), model.head.width), torch.nan)
    for start, choice in zip(item.starts, item.choices, strict=True):
        states = model.hidden(torch.tensor([item.prompt + choice]))[0]
        whole[: len(item.prompt)] = states[: len(item.prompt)]
        whole[start : start + len(choice)] = states[len(item.prompt) :]
    return whole[list(item.positions)]


@pytest.mark.parametrize("item_kld", ["prompts", "choices"])
@pytest.mark.parametrize("supports_packing", [True, False])
def test_items_run_together_give_what_each_choice_gives_alone(tiny, items, supports_packing, item_kld):
    model, items = replace(tiny.reference, supports_packing=supports_packing), scored_items(items, item_kld)
    for item, states in zip(items, hidden_states(model, items), strict=True):
        assert states.shape == (len(item.positions), model.head.width)
        torch.testing.assert_close(states, alone(model, item), atol=2e-5, rtol=0)


def test_block_mask_worked_out_by_hand():
    pack = packed([Item("0", (7, 8), ((1, 2), (3,))), Item("1", (9,), ((4,), (5,)))])
    assert pack.input_ids.tolist() == [[7, 8, 1, 2, 3, 9, 4, 5]]
    assert pack.position_ids.tolist() == [[0, 1, 2, 3, 2, 0, 1, 1]]
    seen = ["1.......", "11......", "111.....", "1111....", "11..1...", ".....1..", ".....11.", ".....1.1"]
    assert pack.attention_mask[0, 0].tolist() == [[c == "1" for c in row] for row in seen]
    assert [place.tolist() for place in pack.places] == [[0, 1, 2], [5]]


def test_where_choices_alone_are_predicted_their_last_tokens_are_not_run():
    items = [
        Item("0", (7, 8), ((1, 2), (3,)), prompt_scored=False),
        Item("1", (9,), ((4, 6), (5,)), prompt_scored=False),
    ]
    pack = packed(items)
    assert pack.input_ids.tolist() == [[7, 8, 1, 9, 4]]
    assert pack.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert [item.positions for item in items] == [(1, 2), (0, 1)]
    assert [place.tolist() for place in pack.places] == [[1, 2], [3, 4]]
    rows = whole_sequences(items)
    assert rows.input_ids.tolist() == [[7, 8, 1], [7, 8, 0], [9, 4, 0], [9, 0, 0]]
    assert [place.tolist() for place in rows.places] == [[1, 2], [6, 7]]


@pytest.mark.parametrize("item_kld", ["prompts", "choices"])
@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("pack_tokens", [1, 64, 100, 10_000])
def test_packs_hold_every_item_in_order_and_keep_to_their_size(items, packing, pack_tokens, item_kld):
    items = scored_items(items, item_kld)
    packs = split_into_packs(items, pack_tokens=pack_tokens, packing=packing)
    assert [item for pack in packs for item in pack] == items
    for pack in packs:
        rows = sum(len(i.choices) for i in pack)
        last = 0 if item_kld == "prompts" else 1  # token of each choice is not run
        tokens = sum(len(i.tokens) - last * len(i.choices) for i in pack)
        size = tokens if packing else rows * (max(i.longest for i in pack) - last)
        assert len(pack) == 1 or size <= pack_tokens
    assert len(packs) == (len(items) if pack_tokens == 1 else len(packs))


def test_the_layout_is_named(tiny):
    assert layout_name(tiny.reference, BenchmarkScores(pack_tokens=512)) == "packed-512"
    assert (
        layout_name(
            replace(tiny.reference, supports_packing=False), BenchmarkScores(pack_tokens=64, item_kld="choices")
        )
        == "rows-64-choices"
    )


def test_an_item_longer_than_the_context_is_refused(tiny, items):
    model = replace(tiny.reference, context_length=items[0].longest)
    assert len(hidden_states(model, items[:1])) == 1
    longer = Item("12", (*items[0].prompt, 1), items[0].choices)
    with pytest.raises(BenchmarkError, match="Item 12 does not fit"):
        hidden_states(model, [longer])
