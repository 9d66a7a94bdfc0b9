import numpy as np
import pytest

from qkld.benchmarks.items import PROMPT, Item, distinct, item_from_pairs
from qkld.errors import BenchmarkError


def test_rows_of_an_item_worked_out_by_hand():
    item = Item("0", prompt=(10, 11, 12), choices=((20, 21), (30,)))
    assert item.tokens == (10, 11, 12, 20, 21, 30)
    assert item.starts == (3, 5)
    assert item.longest == 5
    rows = item.rows
    # 10 predicts 11, 11 predicts 12, 12 predicts 20, 20 predicts 21, and 12 predicts 30 as well
    np.testing.assert_array_equal(rows.position, [0, 1, 2, 3, 2])
    np.testing.assert_array_equal(rows.target, [11, 12, 20, 21, 30])
    np.testing.assert_array_equal(rows.part, [PROMPT, PROMPT, 0, 0, 1])
    assert item.positions == (0, 1, 2, 3)


def test_a_prompt_of_one_token_predicts_no_prompt_token():
    rows = Item("0", prompt=(10,), choices=((20,), (21,))).rows
    np.testing.assert_array_equal(rows.position, [0, 0])
    np.testing.assert_array_equal(rows.part, [0, 1])


@pytest.mark.parametrize(
    "other",
    [
        Item("0", (1, 2, 3), ((4,), (5,))),  # the same tokens, split elsewhere between context and choice
        Item("0", (1, 2), ((3,), (4, 5))),  # the same tokens, split elsewhere between choices
        Item("0", (1, 2), ((5,), (3, 4))),  # the choices in another order
    ],
)
def test_request_changes_with_the_split_alone(other):
    assert other.request != Item("0", (1, 2), ((3, 4), (5,))).request


def test_request_does_not_depend_on_the_name():
    assert Item("a", (1,), ((2,),)).request == Item("b", (1,), ((2,),)).request


def test_distinct_keeps_the_first_of_equal_requests():
    items = [Item("a", (1,), ((2,),)), Item("b", (3,), ((2,),)), Item("c", (1,), ((2,),))]
    assert [item.name for item in distinct(items)] == ["a", "b"]


def test_items_from_pairs_share_their_context():
    item = item_from_pairs("7", [([1, 2], [3]), ([1, 2], [4, 5])])
    assert (item.prompt, item.choices) == ((1, 2), ((3,), (4, 5)))


@pytest.mark.parametrize("pairs", [[([1, 2], [3]), ([1, 9], [3])], [([1, 2], [3]), ([1, 2], [])], [([], [3])]])
def test_items_that_can_not_be_scored_are_refused(pairs):
    with pytest.raises(BenchmarkError, match=r"item 7|Item 7"):
        item_from_pairs("7", pairs)
