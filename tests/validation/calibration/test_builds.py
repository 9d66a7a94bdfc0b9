"""Worlds of replicate builds: what is drawn, what is read from the runs, and that wrong answers are counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from qkld.statistics.builds.components import within_moment
from validation.calibration.builds import (
    BETWEEN,
    BUILDS,
    KLD_RANGE,
    RECIPES,
    SLOPE,
    WITHIN,
    BuildsCell,
    builds_bounds,
    builds_cells,
    builds_rates,
    drawn_builds,
    run_builds,
)
from validation.calibration.runs import PARTS, calibrate
from validation.calibration.table import builds_table


def test_every_number_of_recipes_and_builds_has_each_component_and_not():
    cells = builds_cells(400)
    assert len(cells) == len(RECIPES) * len(BUILDS) * len(BETWEEN) * len(WITHIN)
    assert {cell.runs for cell in cells} == {100}
    assert "builds" in PARTS


def test_a_cohort_has_its_recipes_slope_and_components(rng):
    builds = [drawn_builds(BuildsCell(14, 4, 0.0, 0.01, 1), rng) for _ in range(25)]
    assert all(len(b.names) == 14 and (b.sizes == 4).all() for b in builds)
    kld = np.concatenate([b.kld for b in builds])
    assert KLD_RANGE[0] * 0.95 <= kld.min() < kld.max() <= KLD_RANGE[1] * 1.05
    net = np.concatenate([b.noise.net for b in builds])
    assert np.polyfit(np.sqrt(kld), net, 1)[0] == pytest.approx(SLOPE, abs=0.02)
    moments = np.array([within_moment(b) for b in builds])
    assert abs(moments.mean() - 1e-4) < 4 * moments.std() / 5


def test_differences_of_items_are_heavy_tailed(rng):
    """Few items tell a build from the reference, and those by a whole answer."""
    builds = drawn_builds(BuildsCell(6, 2, 0.0, 0.0, 1), rng)
    (part,) = builds.noise.parts
    sums = part.units.sums[:, 0]
    assert set(np.unique(sums)) <= {-1, 0, 1}
    assert (sums == 0).mean() > 0.8


def test_runs_are_counted_against_the_truth_of_their_cell():
    cell = BuildsCell(10, 3, 0.01, 0.0, 100)
    found = {"sd": 0.01, "moment": 1e-4, "p": 0.01}
    runs = [{"component": "within", "low": 0.001, "high": 0.02, **found} for _ in range(100)]
    runs += [{"component": "between", "low": 0.001, "high": 0.02, **found} for _ in range(100)]
    rates = builds_rates(cell, pd.DataFrame(runs))
    assert rates["coverage"].tolist() == [0, 1]
    checked = builds_bounds(rates)
    assert [(c.what.split()[0], c.passed) for c in checked] == [
        ("σ_w's", False),
        ("differences", False),
        ("σ_u's", True),
    ]
    assert "10 × 3" in builds_table(rates)


def test_a_small_calibration_runs_and_repeats_itself(monkeypatch, rng):
    cell = BuildsCell(6, 2, 0.0, 0.01, 3)
    runs = [pd.DataFrame(run_builds(cell, rng=np.random.default_rng(seed))) for seed in (1, 1, 2)]
    assert runs[0].equals(runs[1])
    assert not runs[0].equals(runs[2])
    assert runs[0]["component"].tolist() == ["within", "between"] * 3
    monkeypatch.setattr("validation.calibration.builds.RECIPES", (6,))
    monkeypatch.setattr("validation.calibration.builds.BUILDS", (2,))
    found = calibrate(8, cores=1, parts=("builds",))
    assert len(found.tables["builds"]) == 8
    assert {c.runs for c in found.bounds} == {2}
