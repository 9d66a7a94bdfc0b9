"""Worlds of the second score: their nets are what they say, changes are heavy-tailed, and wrong answers are counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from validation.calibration.runs import PARTS, calibrate
from validation.calibration.second_score import (
    ITEMS,
    SCALES,
    WORLDS,
    ZONES,
    SecondCell,
    TemperatureCell,
    mean_size,
    run_second,
    run_temperature,
    second_bounds,
    second_cells,
    second_noise,
    second_rates,
    sizes_of,
    temperature_bounds,
    temperature_cells,
    temperature_rates,
    true_net,
)
from validation.calibration.table import items_verdict_table, temperature_table
from validation.calibration.worlds import draw_cohort


def test_every_world_and_scale_is_a_cell_of_the_calibration():
    assert len(second_cells(8)) == len(WORLDS) * len(ZONES)
    assert len(temperature_cells(8)) == 3 * len(SCALES)
    assert {"second_score", "temperature"} <= set(PARTS)


def test_nets_over_many_items_are_the_true_ones(rng):
    cohort = draw_cohort("W3:.05", 28, 12, rng=rng)
    noise = second_noise(cohort, 60_000, rng)
    errors = np.sqrt(np.diag(noise.covariance))
    assert np.abs((noise.net - true_net(cohort)) / errors).max() < 4
    assert (np.abs(true_net(cohort)) < mean_size(cohort.kld)).all()


def test_few_items_carry_most_of_the_change(rng):
    sizes = sizes_of(np.array([0.003, 0.03]), 40_000, rng)
    assert (stats.kurtosis(sizes * rng.choice([-1, 1], sizes.shape), axis=0) > 10).all()
    assert sizes.mean(axis=0) == pytest.approx(mean_size(np.array([0.003, 0.03])), rel=0.04)


def test_a_second_score_resolves_with_a_quarter_of_the_items(rng):
    """As much as accuracy does with 4,000: see `validation.calibration.verdicts.POWERS`."""
    cell = SecondCell("W2", 41, 16, 30)
    rates = second_rates(cell, pd.DataFrame(run_second(cell, rng=np.random.default_rng(5)))).set_index("items")
    assert list(rates.index) == list(ITEMS)
    assert rates["share carried"].is_monotonic_increasing
    assert rates.loc[1000, "share carried"] > 0.6
    assert (rates["missing | high"] == 0).all()


def test_wrong_claims_are_counted_against_the_truth():
    runs = pd.DataFrame({"items": 1000, "r2": [0.9] * 100, "slope": -1.0, "answer": ["direction missing"] * 100})
    cell = SecondCell("W2", 41, 16, 100)
    checked = second_bounds(second_rates(cell, runs))
    assert [(c.what.split()[0], c.passed) for c in checked] == [('"missing"', False), ("power", False)]
    assert "W2, 16 of 41" in items_verdict_table(second_rates(cell, runs))


@pytest.mark.parametrize("scale", SCALES)
def test_pure_temperature_reads_as_scale_alone(scale):
    cell = TemperatureCell(scale, 150, 20)
    rates = temperature_rates(cell, pd.DataFrame(run_temperature(cell, rng=np.random.default_rng(7))))
    assert rates["share"].item() >= 0.9
    assert rates["choices"].item() == 0
    assert f"scale {scale:g}" in temperature_table(rates)


def test_choices_that_are_read_into_a_temperature_are_seen():
    rates = temperature_rates(TemperatureCell(0.9, 150, 50), pd.DataFrame({"reading": ["flatter and choices"] * 50}))
    assert [c.passed for c in temperature_bounds(rates)] == [False, False]


def test_a_small_calibration_repeats_itself(monkeypatch):
    monkeypatch.setattr("validation.calibration.second_score.WORLDS", ("W1",))
    monkeypatch.setattr("validation.calibration.second_score.ITEMS", (500,))
    first, same = (calibrate(4, cores=1, parts=("second_score",)).tables["second_score"] for _ in range(2))
    assert first.equals(same)
    assert set(first["runs"]) == {4}
