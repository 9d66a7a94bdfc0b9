"""Thinning volume to the reliability of the net: it reaches its target, and tells two worlds apart."""

import numpy as np
import pandas as pd
import pytest
from simulated_study import BENCHMARKS, simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.flips.direction import quantity_values, reliability_of
from qkld.statistics.flips.thinning import flips_kept, thinned_flip_rates, thinning_table
from qkld.statistics.zone.zone import zone_members
from qkld.study.registry import registered

QUICK = Resampling(confidence=0.95, resamples=200, permutations=99, seed=1)
RATE = np.geomspace(0.01, 0.2, 14)


def drawn(rng, drift, n=1000):
    """Flips at `RATE`; quant q drops rather than leapfrogs with probability ½ + drift_q."""
    down = rng.random((n, RATE.size)) < 0.5 + drift
    return {"a": np.where(rng.random((n, RATE.size)) < RATE, np.where(down, -1, 1), 0)}


def test_the_thinned_volume_has_the_reliability_of_the_net(rng):
    moved = drawn(rng, rng.uniform(-0.3, 0.3, RATE.size))
    kept = flips_kept(moved)
    assert 0 < kept < 1
    reliabilities = []
    for _ in range(60):
        thinned = {"a": np.where(rng.random(moved["a"].shape) < kept, moved["a"], 0)}
        reliabilities.append(reliability_of(thinned, "flip_rate"))
    assert np.mean(reliabilities) == pytest.approx(reliability_of(moved, "net"), abs=0.03)


def test_thinned_rates_are_binomial(rng):
    moved = drawn(rng, 0.0)
    draws = thinned_flip_rates(moved, 0.25, 4000, rng=rng)
    full = quantity_values(moved, "flip_rate")
    np.testing.assert_allclose(draws.mean(axis=0), 0.25 * full, rtol=0.05)
    np.testing.assert_allclose(draws.var(axis=0), 0.25 * 0.75 * full / 1000, rtol=0.15)


def test_same_seed_same_draws_other_seed_other_draws(rng):
    moved = drawn(rng, 0.0)
    one, same, other = (thinned_flip_rates(moved, 0.5, 5, rng=np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_net_that_is_the_volume_needs_no_thinning(rng):
    assert flips_kept(drawn(rng, 0.5)) == 1.0


def test_an_unmeasured_net_can_not_be_thinned_to():
    rng = np.random.default_rng(3)
    moved = next(m for m in (drawn(rng, 0.0, 300) for _ in range(50)) if reliability_of(m, "net") <= 0)
    with pytest.raises(StatisticsError, match="reliability of the net above 0"):
        flips_kept(moved)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    cohort, items = simulated_study()
    members = zone_members(cohort, rule="kld_cut", cut=0.05)
    tasks = list(BENCHMARKS)
    return thinning_table(
        items, cohort, members, reference="reference", benchmarks=tasks, tasks=tasks, resampling=QUICK, draws=40
    )


def test_table_compares_volume_and_net_in_every_benchmark_and_subset(table):
    assert len(table) == 2 * (len(BENCHMARKS) + 1)
    full = table[(table["benchmark"] == "composite") & (table["subset"] == "full")].iloc[0]
    assert full["note"] == ""
    assert full["gap"] == pytest.approx(abs(full["rho_volume"]) - abs(full["rho_net"]))
    assert full["rho_thinned_low"] <= full["rho_thinned"] <= full["rho_thinned_high"]
    assert full["reliability_net"] <= full["reliability_volume"]
    assert full["thinned_gap"] <= full["gap"] + 1e-12


def test_what_can_not_be_thinned_says_why(table):
    empty = table[table["kept"].isna()]
    assert (empty["note"] != "").all()
    assert empty[["rho_thinned", "thinned_gap"]].isna().all(axis=None)


@pytest.mark.parametrize("labels", [[], ["torchao-8-g32", "hqq-8-g64"]])
def test_too_few_quants_are_noted(labels):
    cohort, items = simulated_study()
    members = cohort["label"].isin(labels)
    found = thinning_table(
        items, cohort, members, reference="reference", benchmarks=["sciq"], tasks=[], resampling=QUICK, draws=10
    )
    assert "at least 4 quants" in found[found["subset"] == "zone"]["note"].iloc[0]


def test_columns_are_the_schema_s(table):
    registered("thinning").check(table.columns)
