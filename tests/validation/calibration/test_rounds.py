"""Worlds of items in rounds: what is drawn, and that wrong decisions are counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from validation.calibration import rounds
from validation.calibration.rounds import (
    FILES,
    FIXED,
    RULES,
    RoundsCell,
    rounds_bounds,
    rounds_cells,
    rounds_rates,
    run_rounds,
)
from validation.calibration.table import rounds_table


@pytest.fixture
def few_items(monkeypatch):
    monkeypatch.setattr(rounds, "ITEMS", 640)


def test_every_score_world_and_number_of_files_has_a_cell():
    cells = rounds_cells(400)
    assert len(cells) == 5 * len(FILES)
    assert {cell.runs for cell in cells} == {200}


@pytest.mark.parametrize(
    "place", [("accuracy", "at the edges"), ("probability", "rare breaks"), ("probability", "a folder")]
)
def test_changes_have_the_true_differences(place, rng):
    cell = RoundsCell(*place, 6, 1)
    changes = np.concatenate([rounds._changes(cell, rng) for _ in range(12)])
    error = changes.std(axis=0) / np.sqrt(len(changes))
    assert (np.abs(changes.mean(axis=0) - cell.true) < 4.5 * error).all()


def test_wrong_decisions_are_those_against_the_truth():
    true = np.array([0.0, 0.0, 0.0, -0.02, -0.02, -0.02, -0.005, -0.005])
    called = np.array(["worse", "equivalent", "undecided", "equivalent", "worse", "undecided", "worse", "equivalent"])
    assert rounds._wrong(called, true, 0.02).tolist() == [True, *[False] * 2, True, *[False] * 4]


def test_rules_decide_the_same_items_and_take_fewer(few_items):
    cell = RoundsCell("accuracy", "a folder", 6, 8)
    runs = pd.DataFrame(run_rounds(cell, rng=np.random.default_rng(3)))
    assert runs.equals(pd.DataFrame(run_rounds(cell, rng=np.random.default_rng(3))))
    rates = rounds_rates(cell, runs).set_index("rule")
    assert list(rates.index) == [rule.name for rule in RULES]
    assert rates.loc[FIXED, "items"] == 1
    assert (rates["items"].drop(FIXED) < 1).all()
    assert "| accuracy, a folder | 6 | Pocock | 8 |" in rounds_table(rates.reset_index())


def test_bounds_are_of_every_rule():
    runs = [
        {"rule": rule.name, "wrong": number < 20, "decided": 3, "items": 9} for rule in RULES for number in range(100)
    ]
    cell = RoundsCell("probability", "at the edges", 6, 100)
    checked = rounds_bounds(rounds_rates(cell, pd.DataFrame(runs)))
    assert {c.group for c in checked} == {rule.name for rule in RULES}
    assert {c.passed for c in checked} == {False}
