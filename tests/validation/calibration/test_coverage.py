"""Coverage of intervals: what is counted as held, and that the package's own intervals are what is run."""

import numpy as np
import pandas as pd
import pytest

from qkld.statistics.core.intervals import zmax_interval
from validation.calibration.coverage import (
    ITEMS_OF,
    QUANTS,
    SCENARIOS,
    WorldCell,
    ZmaxCell,
    run_world,
    run_zmax,
    true_rho,
    world_bounds,
    world_cells,
    world_rates,
    zmax_bounds,
    zmax_cells,
    zmax_rates,
)
from validation.calibration.worlds import ITEMS


def test_known_correlations_are_those_of_many_draws():
    assert true_rho("normal, ρ -0.55") == -0.55
    x, y = SCENARIOS["normal, ρ -0.55"][0](np.random.default_rng(2), 100_000)
    ranks = (np.argsort(np.argsort(v)) for v in (x, y))
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(-0.55, abs=0.01)
    assert -0.72 < true_rho("ties of ρ -0.72") < -0.69


def test_runs_are_the_packages_interval():
    rng = np.random.default_rng(7)
    expected = zmax_interval(*SCENARIOS["curved, loss .2"][0](rng, 12), 0.95)
    record = run_zmax(ZmaxCell("curved, loss .2", 12, 1), rng=np.random.default_rng(7))[0]
    assert (record["low"], record["high"]) == expected
    assert record["percentile_low"] < record["percentile_high"]
    few = run_zmax(ZmaxCell("curved, loss .2", 7, 1), rng=np.random.default_rng(7))[0]
    assert few["low"] < few["high"]
    assert np.isnan([few["percentile_low"], few["bca_low"]]).all()


def test_an_interval_that_can_not_be_had_is_a_miss():
    cell = ZmaxCell("normal, ρ 0", 12, 3)
    ends = {"low": [-0.1, 0.1, np.nan], "high": [0.2, 0.2, np.nan]}
    others = {f"{name}_{end}": ends[end] for name in ("percentile", "bca") for end in ends}
    rates = zmax_rates(cell, pd.DataFrame({**ends, **others}))
    assert rates["bca_coverage"].item() == pytest.approx(1 / 3)
    assert (rates["held"].item(), rates["runs"].item()) == (1, 3)
    assert zmax_bounds(rates)[0].wanted == "at least 0.94"


def test_worlds_are_answered_item_by_item():
    cell = WorldCell("W2", 28, 12, 500, 2)
    records = run_world(cell, rng=np.random.default_rng(3))
    assert all(r["error_free"] == pytest.approx(-1) for r in records)
    assert all(r["twoway_low"] < r["observed"] < r["twoway_high"] for r in records)
    rates = world_rates(cell, pd.DataFrame(records)).iloc[0]
    assert rates["expected"] == pytest.approx(np.mean([r["observed"] for r in records]))
    checked = world_bounds(world_rates(cell, pd.DataFrame(records)))
    assert [(c.runs, "V from the items" in c.where) for c in checked] == [(2, False), (2, True)]
    assert all(r["r2"] > 0.99 and r["slope"] == -1 for r in records)


def test_whole_cohorts_are_covered_too(rng):
    whole = [c for c in world_cells(10) if c.zone == c.cohort]
    assert {(c.cohort, c.items, c.runs) for c in whole} == {(n, i, 10) for n in (8, 28, 41) for i in (1000, 4000)}
    cell = WorldCell("W2", 28, 28, 500, 2)
    checked = world_bounds(world_rates(cell, pd.DataFrame(run_world(cell, rng=rng))))
    assert checked[0].where == "W2, all 28 quants, 500 items"
    assert checked[0].group == "whole cohorts"


def test_without_true_differences_there_is_no_error_free_correlation():
    cell = WorldCell("WN", 28, 12, 500, 1)
    record = run_world(cell, rng=np.random.default_rng(3))[0]
    assert np.isnan(record["error_free"])
    assert np.isnan(world_rates(cell, pd.DataFrame([record]))["zmax_coverage_error_free"].item())


def test_every_scenario_and_the_range_of_items_is_covered():
    assert len(zmax_cells(1)) == len(SCENARIOS) * len(QUANTS)
    assert {min(ITEMS_OF), max(ITEMS_OF)} == {min(ITEMS), max(ITEMS)}
    assert {c.runs for c in world_cells(2000)} == {2000, 500}
