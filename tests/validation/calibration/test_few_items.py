"""Designs with few items: what is drawn, what is asked of it, and what a cohort with one leveraged quant is."""

import numpy as np
import pandas as pd
import pytest

from qkld.statistics.noise.contrast_tests import EVEN
from qkld.statistics.noise.verdict import LEAST_FOR_VERDICT
from validation.calibration.few_items import (
    CLUSTERED,
    COMPOSITES,
    DECIDED_WORLDS,
    LEVERAGED,
    NO_ONE_QUANT,
    REPEATED,
    SINGLE,
    UNEQUAL,
    FewCell,
    few_bounds,
    few_cells,
    few_items_nulls,
    few_rates,
    run_few,
)
from validation.calibration.tau import TauCell, run_tau, tau_bounds, tau_cells, tau_rates
from validation.calibration.worlds import Cohort, cohort_of_scores, draw_cohort


@pytest.mark.parametrize(
    ("design", "items", "units"),
    [(SINGLE[98], 98, [98]), (COMPOSITES[0], 98, [80, 18]), (CLUSTERED[10], 600, [10]), (REPEATED, 200, [20])],
)
def test_a_design_is_answered_as_it_says(design, items, units, rng):
    noise = design.noise(draw_cohort("W1", 12, 12, rng=rng), rng=rng)
    assert noise.items == items
    assert [part.count for part in noise.parts] == units


def test_clusters_of_unequal_size_are_very_unequal(rng):
    noise = UNEQUAL.noise(draw_cohort("W1", 12, 12, rng=rng), rng=rng)
    assert noise.parts[0].units.effective < EVEN * noise.parts[0].count


def test_items_of_a_cluster_are_alike(rng):
    """Whole clusters scatter more than as many single items would, and their scores are no other."""
    cohort, clusters = Cohort("W0", np.array([0.05, 0.2]), np.zeros(2)), np.repeat(np.arange(4000), 10)
    right = cohort.answers(40_000, rng=rng, clusters=clusters, margins_alike=0.9, noise_alike=0.5)
    assert right.mean(axis=0)[1:] - right.mean(axis=0)[0] == pytest.approx(cohort.net, abs=0.006)
    by_cluster = right.reshape(4000, 10, 3).mean(axis=1).var(axis=0)
    assert (by_cluster > 4 * right.var(axis=0) / 10).all()


def test_cohorts_have_the_scores_asked_for():
    net = np.array([-0.45, 0.0, 0.1, -0.02])
    assert cohort_of_scores(net, np.array([11.0, 0.03, 0.5, 0.01])).net == pytest.approx(net, abs=1e-12)


def test_what_the_tests_and_the_verdict_claim_is_covered():
    """40 to 20,000 items, 5 to 100 clusters, 4 to 41 quants, repeats and one leveraged quant."""
    where = " | ".join(null.where for null in few_items_nulls())
    for part in (
        "4 quants, 40 items",
        "41 quants, 20,000 items",
        "in 5 clusters",
        "in 100 clusters",
        "answered 10 times",
    ):
        assert part in where
    cells = few_cells(1)
    assert {cell.world for cell in cells} == set(DECIDED_WORLDS)
    assert {LEAST_FOR_VERDICT, 8, 12, 20, 41} == {cell.quants for cell in cells}
    assert {cell.tau for cell in tau_cells(1)} == {0.0, 0.02, 0.05}


def test_one_leveraged_quant_is_counted_by_its_claims(rng):
    cell = FewCell(LEVERAGED, 12, SINGLE[98], 60)
    records = run_few(cell, rng=rng)
    assert all(record["r2"] > 0.9 for record in records)
    checked = few_bounds(few_rates(cell, pd.DataFrame(records)))
    assert [(c.what, c.runs, c.passed) for c in checked] == [(NO_ONE_QUANT.what, 60, True)]


def test_wrong_claims_are_asked_for_in_a_world_without_differences(rng):
    cell = FewCell("WN", 12, CLUSTERED[10], 40)
    checked = few_bounds(few_rates(cell, pd.DataFrame(run_few(cell, rng=rng))))
    assert [c.runs for c in checked] == [40]
    assert "10 clusters" in checked[0].where


def test_tau_is_held_or_missed(rng):
    cell = TauCell(8, SINGLE[40], 0.05, 3)
    assert all(record["low"] <= record["estimate"] <= record["high"] for record in run_tau(cell, rng=rng))
    ends = {"low": [0.0, 0.06, np.nan], "high": [0.1, 0.2, np.nan], "estimate": [0.05, 0.1, np.nan]}
    rates = tau_rates(cell, pd.DataFrame(ends))
    assert (rates["held"].item(), rates["runs"].item()) == (1, 3)
    assert tau_bounds(rates)[0].where == "8 quants, 40 items, τ = 0.05"
