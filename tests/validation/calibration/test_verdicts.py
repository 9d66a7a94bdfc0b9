"""Shares of verdicts, and which rows the bounds are asked of."""

import numpy as np
import pandas as pd
import pytest

from validation.calibration.verdicts import (
    CONDITIONS,
    NO_CARRIED,
    NO_CLAIM,
    NO_MISSING,
    VerdictCell,
    run_verdicts,
    simulated_noise,
    verdict_bounds,
    verdict_cells,
    verdict_rates,
)
from validation.calibration.worlds import ITEMS, draw_cohort


@pytest.fixture(scope="module")
def records():
    """Two cohorts of W2."""
    cell = VerdictCell("W2", 28, 12, 2)
    return cell, run_verdicts(cell, rng=np.random.default_rng(5))


def test_noise_has_the_variance_handed_on_times_the_inflation(rng):
    cohort = draw_cohort("W2", 28, 12, rng=rng)
    for inflation in (1.0, 1.3):
        draws = [simulated_noise(cohort, cohort.net, 2000, inflation=inflation, rng=rng) for _ in range(3000)]
        nets = np.stack([d.net for d in draws])
        assert np.diag(np.cov(nets.T)) / np.diag(draws[0].covariance) == pytest.approx(np.full(12, inflation), rel=0.12)
        assert nets.mean(axis=0) == pytest.approx(cohort.net, abs=4e-4)


def test_every_condition_and_number_of_items_is_run(records):
    cell, rows = records
    rates = verdict_rates(cell, pd.DataFrame(rows))
    assert len(rows) == 2 * len(CONDITIONS) * len(ITEMS)
    assert list(rates["runs"]) == [2] * len(CONDITIONS) * len(ITEMS)
    assert {(c.world, c.zone) for c in verdict_cells(5)} >= {("WN", 12), ("W3:.12", 16)}


def test_rates_and_bounds_count_what_they_say():
    cell = VerdictCell("W3:.08", 28, 12, 4)
    row = {"condition": CONDITIONS[0], "items": 500, "on_all": "carried", "inflated": "carried", "set_aside": False}
    row["r2_held"] = 1.0
    truth = [(0.9, -1.0, "direction missing"), (0.8, -1.0, "carried"), (0.1, -1.0, "carried"), (0.6, 1.0, "carried")]
    rates = verdict_rates(cell, pd.DataFrame([{**row, "r2": r, "slope": s, "answer": a} for r, s, a in truth]))
    only = rates.iloc[0]
    assert (only["high"], only["missing | high"], only["low"], only["carried | low"]) == (2, 1, 2, 2)
    assert only["share carried"] == 0.75
    checked = {c.what: c for c in verdict_bounds(rates)}
    assert checked[NO_MISSING.what].rate == 0.5
    assert checked[NO_CARRIED.what].rate == 1.0
    assert NO_CLAIM.what not in checked


def test_a_world_without_differences_is_asked_for_no_claims():
    cell = VerdictCell("WN", 28, 12, 2)
    row = {"items": 500, "on_all": "carried", "set_aside": False, "r2": np.nan, "slope": 0.0, "r2_held": np.nan}
    rows = [
        {**row, "condition": condition, "answer": "carried", "inflated": "noise-limited"}
        for condition in (CONDITIONS[0], CONDITIONS[2])
    ]
    checked = verdict_bounds(pd.concat([verdict_rates(cell, pd.DataFrame([r, r])) for r in rows]))
    assert [(c.what, c.rate) for c in checked] == [(NO_CLAIM.what, rate) for rate in (1.0, 1.0, 0.0)]
    assert [c.group for c in checked] == [CONDITIONS[0], CONDITIONS[2], f"{CONDITIONS[2]}, verdict with 1.3 V"]
