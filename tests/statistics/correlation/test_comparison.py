"""The difference of two |ρ| against its definition, resample by resample."""

import numpy as np
import pytest
from scipy import stats
from simulated_study import VARIANTS, simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.comparison import difference_of_strengths, differences_table
from qkld.statistics.zone.zone import zone_members
from qkld.study.registry import registered

SETTINGS = Resampling(confidence=0.95, resamples=300, permutations=99, seed=3)


def columns(rng, n=20):
    y = rng.normal(size=n)
    return (y + 0.3 * rng.normal(size=n), y), (y + 3 * rng.normal(size=n), y)


def test_the_same_quants_are_drawn_for_both(rng):
    first, second = columns(rng)
    found = difference_of_strengths(first, second, resampling=SETTINGS)
    literal = []
    for count in SETTINGS.counts(20).astype(int):
        strong, weak = (
            abs(stats.spearmanr(np.repeat(x, count), np.repeat(y, count)).statistic) for x, y in (first, second)
        )
        literal.append(strong - weak)
    low, high = np.quantile(literal, [0.025, 0.975])
    assert found["stronger_low"] == pytest.approx(low, abs=1e-12)
    assert found["stronger_high"] == pytest.approx(high, abs=1e-12)
    assert found["share_stronger"] == np.mean(np.array(literal) > 0)
    assert found["stronger_by"] == pytest.approx(
        abs(stats.spearmanr(*first).statistic) - abs(stats.spearmanr(*second).statistic)
    )


def test_signs_do_not_matter_and_order_does(rng):
    (x, y), (w, _) = columns(rng)
    one = difference_of_strengths((x, y), (w, y), resampling=SETTINGS)
    mirrored = difference_of_strengths((-x, y), (w, -y), resampling=SETTINGS)
    swapped = difference_of_strengths((w, y), (x, y), resampling=SETTINGS)
    assert mirrored["stronger_by"] == pytest.approx(one["stronger_by"], abs=1e-12)
    assert mirrored["stronger_low"] == pytest.approx(one["stronger_low"], abs=1e-12)
    assert swapped["stronger_by"] == pytest.approx(-one["stronger_by"], abs=1e-12)
    assert swapped["stronger_low"] == pytest.approx(-one["stronger_high"], abs=1e-12)


def test_a_metric_is_no_stronger_than_itself(rng):
    first, _ = columns(rng)
    found = difference_of_strengths(first, first, resampling=SETTINGS)
    assert (found["stronger_by"], found["stronger_low"], found["stronger_high"]) == (0, 0, 0)


def test_different_quants_can_not_be_compared(rng):
    first, _ = columns(rng)
    with pytest.raises(StatisticsError, match="20 quants in both"):
        difference_of_strengths(first, columns(rng, 19)[0], resampling=SETTINGS)


def test_table_compares_each_variant_with_the_baseline():
    cohort = simulated_study()[0]
    members = zone_members(cohort, rule="kld_cut", cut=0.05)
    table = differences_table(cohort, members, VARIANTS, resampling=SETTINGS)
    assert tuple(table.columns) == registered("differences").columns
    assert len(table) == 2 * 13
    assert "kl_mean" not in set(table["metric"])
    assert (table["stronger_low"] <= table["stronger_high"]).all()
    empty = differences_table(cohort.assign(composite=np.nan), members, VARIANTS[:2], resampling=SETTINGS)
    assert empty["stronger_by"].isna().all()
    assert empty["note"].str.contains("missing").all()
