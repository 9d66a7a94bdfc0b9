"""Decisions after rounds: which files leave and which stay, and that one round of all items is the fixed plan."""

from __future__ import annotations

import numpy as np
import pytest

from qkld.statistics.flips.decision import BETTER, EQUIVALENT, UNDECIDED, WORSE, decisions, holm_of_both
from qkld.statistics.items.score_differences import difference_p, equivalence_p
from qkld.statistics.rounds.deciding import CHOSEN, decided
from qkld.statistics.rounds.looks import Look, accuracy_look
from qkld.statistics.rounds.spending import SpendingRule, pocock

MARGIN, LEVEL = 0.02, 0.05


def _look(changes: np.ndarray) -> Look:
    up, down = ((side * changes > 0).sum(axis=0).astype(float)[:, None] for side in (1, -1))
    return accuracy_look(up, down, np.array([float(len(changes))]), MARGIN)


def _changes(rng, items, losses):
    """Flips on 5 % of the items beside those that make the loss."""
    shares = [[0.025 + max(net, 0), 0.025 + max(-net, 0), 0.95 - abs(net)] for net in losses]
    return np.stack([rng.choice([1, -1, 0], size=items, p=own) for own in shares], axis=1)


def test_one_round_of_all_items_decides_as_the_fixed_plan(rng):
    changes = _changes(rng, 4000, [0.0, -0.005, -0.02, -0.05, 0.05])
    up, down = ((side * changes > 0).sum(axis=0).astype(float)[:, None] for side in (1, -1))
    counts = up, down, np.array([4000.0])
    adjusted = holm_of_both(difference_p(*counts), equivalence_p(*counts, MARGIN))
    found = decided([_look(changes)], SpendingRule("fixed", (1.0,), pocock), margin=MARGIN, level=LEVEL)
    assert found.decision.tolist() == decisions(found.net, *adjusted, LEVEL).tolist()
    assert found.p_equivalent == pytest.approx(adjusted[1], rel=0.01)


def test_clear_files_leave_early_and_keep_their_decision(rng):
    losses = [0.0, -0.001, -0.018, -0.2, 0.2]
    changes = _changes(
        rng,
        6400,
        losses,
    )
    looks, left, when = [], np.zeros(5, dtype=bool), np.full(5, -1)
    for number, share in enumerate(CHOSEN.shares):
        look = _look(changes[: round(share * 6400)])
        looks.append(Look(*(np.where(left, np.nan, values) for values in look)))
        found = decided(looks, CHOSEN, margin=MARGIN, level=LEVEL)
        when[found.leaves & ~left], left = number, left | found.leaves
    assert found.decision[3:].tolist() == [WORSE, BETTER]
    assert when[3] in (0, 1)
    assert when[4] in (0, 1)
    assert found.decision[0] == EQUIVALENT
    assert found.net[3] == looks[when[3]].net[3]
    assert when[2] == -1


def test_a_file_that_is_worse_by_less_than_the_margin_stays_until_it_is_equivalent():
    """Twenty losses and no gain on 1,600 items are no chance, and well within two points."""
    look = accuracy_look(np.array([[0.0]]), np.array([[20.0]]), np.array([1600.0]), MARGIN)
    tight = decided([look], SpendingRule("fixed", (1.0,), pocock), margin=MARGIN, level=0.001)
    assert (tight.decision.tolist(), tight.leaves.tolist()) == ([WORSE], [False])
    wide = decided([look], SpendingRule("fixed", (1.0,), pocock), margin=MARGIN, level=0.05)
    assert (wide.decision.tolist(), wide.leaves.tolist()) == ([EQUIVALENT], [True])


def test_more_files_and_more_rounds_ask_for_more(rng):
    changes = _changes(rng, 3200, [-0.004])
    one = decided([_look(changes)], SpendingRule("fixed", (1.0,), pocock), margin=MARGIN, level=LEVEL)
    rounds = [_look(changes[: round(share * 3200)]) for share in CHOSEN.shares]
    in_rounds = decided(rounds, CHOSEN, margin=MARGIN, level=LEVEL)
    many = [Look(*(np.tile(values, 9) for values in look)) for look in rounds]
    assert (
        one.p_difference[0]
        < in_rounds.p_difference[0]
        <= decided(many, CHOSEN, margin=MARGIN, level=LEVEL).p_difference[0]
    )
    empty = decided(rounds[:1], CHOSEN, margin=MARGIN, level=1e-9)
    assert empty.decision.tolist() == [UNDECIDED]
