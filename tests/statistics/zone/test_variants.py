"""Two variants that rank alike by construction are one variant counted twice."""

import numpy as np
import pytest
from simulated_study import VARIANTS, simulated_study

from qkld.analysis.cohort import BASE_VARIANTS
from qkld.errors import StatisticsError
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.zone.variants import check_variants_distinct, same_ranks_as, variants_table
from qkld.statistics.zone.zone import zone_members
from qkld.study.registry import registered


@pytest.fixture(scope="module")
def cohort():
    return simulated_study()[0]


@pytest.mark.parametrize("pair", [("ppl", "ppl_ratio"), ("log_ppl_ratio", "ppl_ratio"), ("kl_mean", "kl_mean")])
def test_one_variant_counted_twice_is_refused_by_definition(pair):
    with pytest.raises(StatisticsError, match=f"'{pair[0]}' and '{pair[1]}'"):
        check_variants_distinct(["kl_p90", *pair])


@pytest.mark.parametrize("disguise", [lambda v: 7.3 * v, np.log, lambda v: 1 - v, lambda v: v**2, lambda v: 1 / v])
def test_one_variant_under_another_name_is_refused_by_the_data(cohort, disguise):
    disguised = cohort.assign(another=disguise(cohort["ppl_ratio"]))
    with pytest.raises(StatisticsError, match="one is a linear function"):
        check_variants_distinct([*BASE_VARIANTS, "another"], disguised)


def test_the_fourteen_are_distinct(cohort):
    assert len(VARIANTS) == 14
    check_variants_distinct(VARIANTS, cohort)


def test_ranking_alike_without_being_alike_is_reported(cohort):
    noise = np.random.default_rng(1).uniform(1, 1.0001, len(cohort))
    alike = cohort.assign(kl_p90=cohort["kl_mean"] ** 1.5 * noise, top1_agreement=-cohort["kl_mean"] * noise)
    ranked = alike[alike["kl_mean"] > 0].drop_duplicates("kl_mean")
    assert same_ranks_as("kl_mean", ["kl_mean", "kl_p90", "top1_agreement", "dp_rms"], ranked).startswith("kl_p90")
    assert "kl_mean" not in same_ranks_as("kl_mean", ["kl_mean", "kl_median"], ranked)


def test_ratio_and_distance_of_perplexity_may_coincide(cohort):
    above = cohort.assign(ppl_ratio=1.01 + cohort["kl_mean"])
    above["abs_log_ppl_ratio"] = np.log(above["ppl_ratio"]).abs()
    check_variants_distinct(["ppl_ratio", "abs_log_ppl_ratio"], above)
    assert same_ranks_as("ppl_ratio", ["ppl_ratio", "abs_log_ppl_ratio"], above) == "abs_log_ppl_ratio"


def test_table_has_both_subsets_of_every_variant(cohort):
    members = zone_members(cohort, rule="kld_cut", cut=0.05)
    settings = Resampling(confidence=0.95, resamples=200, permutations=99, seed=1)
    table = variants_table(cohort, members, VARIANTS, resampling=settings)
    assert len(table) == 28
    assert table.groupby("subset")["metric"].nunique().to_dict() == {"full": 14, "zone": 14}
    assert (table["low"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["high"]).all()
    with pytest.raises(StatisticsError):
        variants_table(cohort.assign(ppl=1.0), members, [*VARIANTS, "ppl"], resampling=settings)


def test_columns_that_hold_for_all_variants_together(cohort):
    members = zone_members(cohort, rule="kld_cut", cut=0.05)
    settings = Resampling(confidence=0.95, resamples=200, permutations=199, seed=1)
    table = variants_table(cohort, members, VARIANTS, resampling=settings)
    assert tuple(table.columns) == registered("variants").columns
    assert (table["p_adjusted"] >= table["p"]).all()
    assert (table["p_adjusted_within_families"] >= table["p_within_families"]).all()
    assert table.groupby("subset")["critical"].nunique().tolist() == [1, 1]
    assert ((table["estimate"].abs() >= table["critical"]) == (table["p_adjusted"] <= 0.05)).all()
    assert (table["band_low"] < table["zmax_low"]).all()
    assert (table["band_high"] > table["zmax_high"]).all()
    order = list(reversed(VARIANTS))
    again = variants_table(cohort, members, order, resampling=settings).set_index(["subset", "metric"])
    same = table.set_index(["subset", "metric"])[["p_adjusted", "critical"]]
    assert np.allclose(again.loc[same.index, ["p_adjusted", "critical"]], same)


def test_a_variant_without_a_number_is_not_among_those_compared(cohort):
    settings = Resampling(confidence=0.95, resamples=100, permutations=99, seed=1)
    members = zone_members(cohort, rule="kld_cut", cut=0.05)
    some = ["kl_mean", "kl_p90", "top1_agreement"]
    with_empty = variants_table(cohort.assign(kl_max=np.nan), members, [*some, "kl_max"], resampling=settings)
    without = variants_table(cohort, members, some, resampling=settings)
    known = with_empty[with_empty["metric"] != "kl_max"].reset_index(drop=True)
    assert known["p_adjusted"].tolist() == without["p_adjusted"].tolist()
    empty = with_empty[with_empty["metric"] == "kl_max"]
    assert empty[["estimate", "p_adjusted", "band_low"]].isna().all().all()
    assert empty["note"].str.contains("kl_max").all()
    gap = cohort.assign(kl_p90=cohort["kl_p90"].mask(cohort["label"] == "hqq-8-g64"))
    with pytest.raises(StatisticsError, match="kl_p90 of hqq-8-g64"):
        variants_table(gap, members, some, resampling=settings)
