"""Zone membership, the correlation inside, and the curve over every cut."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_study import simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.correlation import Resampling
from qkld.statistics.zone import members_table, zone_curve, zone_members, zone_table

SETTINGS = Resampling(confidence=0.95, resamples=300, permutations=99, seed=3)


@pytest.fixture(scope="module")
def cohort() -> pd.DataFrame:
    return simulated_study()[0]


def test_kld_cut_takes_quants_at_or_below(cohort):
    cut = cohort.loc[cohort["role"] == "quant", "kl_mean"].sort_values().iloc[7]
    members = zone_members(cohort, rule="kld_cut", cut=cut)
    assert members.sum() == 8
    assert set(cohort.loc[members, "role"]) == {"quant"}
    assert cohort.loc[members, "kl_mean"].max() == cut


def test_kld_cut_never_looks_at_a_score(cohort):
    shuffled = cohort.assign(composite=np.nan)
    assert (zone_members(cohort, rule="kld_cut", cut=0.02) == zone_members(shuffled, rule="kld_cut", cut=0.02)).all()


def test_score_margin_takes_quants_near_the_reference(cohort):
    members = zone_members(cohort, rule="score_margin", cut=0.03)
    reference = cohort.loc[cohort["role"] == "reference", "composite"].item()
    for row, inside in zip(cohort.to_dict("records"), members, strict=True):
        assert inside == (row["role"] == "quant" and row["composite"] >= reference - 0.03)


def test_a_zone_needs_its_column(cohort):
    with pytest.raises(StatisticsError, match="22 missing"):
        zone_members(cohort.assign(composite=np.nan), rule="score_margin", cut=0.03)
    with pytest.raises(StatisticsError, match="one reference row"):
        zone_members(cohort[cohort["role"] == "quant"], rule="score_margin", cut=0.03)


def test_zone_table_states_rule_sizes_and_selection(cohort):
    members = zone_members(cohort, rule="kld_cut", cut=0.05)
    table = zone_table(cohort, members, ["sciq", "composite"], rule="kld_cut", cut=0.05, resampling=SETTINGS)
    assert len(table) == 4
    assert set(table["n_full"]) == {22}
    assert set(table["n_zone"]) == {int(members.sum())}
    assert table.set_index(["subset", "benchmark"])["n"]["zone", "composite"] == members.sum()
    inside = cohort[members]
    expected = stats.spearmanr(inside["kl_mean"], inside["composite"]).statistic
    assert table.set_index(["subset", "benchmark"])["estimate"]["zone", "composite"] == pytest.approx(expected)
    assert "not selected" in table["selection"].iloc[0]
    margin = zone_table(cohort, members, ["composite"], rule="score_margin", cut=0.05, resampling=SETTINGS)
    assert "toward 0" in margin["selection"].iloc[0]


def test_members_table_lists_every_quant_once(cohort):
    members = zone_members(cohort, rule="kld_cut", cut=0.05)
    table = members_table(cohort, members, rule="kld_cut", cut=0.05)
    assert len(table) == 22
    assert table["kl_mean"].is_monotonic_increasing
    assert table["in_zone"].sum() == members.sum()


def test_curve_is_the_correlation_below_each_cut(cohort):
    curve = zone_curve(cohort, least=8, resampling=SETTINGS)
    quants = cohort[cohort["role"] == "quant"]
    assert curve["n"].min() >= 8
    assert curve["n"].max() == 22
    assert len(curve) == (quants["kl_mean"].rank(method="max").unique() >= 8).sum()
    for row in curve.itertuples():
        below = quants[quants["kl_mean"] <= row.cut]
        assert row.n == len(below)
        assert row.estimate == pytest.approx(stats.spearmanr(below["kl_mean"], below["composite"]).statistic)
        assert row.low <= row.high


def test_curve_of_too_few_quants_says_so(cohort):
    curve = zone_curve(cohort[cohort["role"] == "quant"].head(3), least=4, resampling=SETTINGS)
    assert curve["estimate"].isna().all()
    assert "no cut has 4 quants" in curve["note"].item()


def test_curve_without_scores_keeps_its_cuts(cohort):
    curve = zone_curve(cohort.assign(composite=np.nan), least=8, resampling=SETTINGS)
    assert curve["estimate"].isna().all()
    assert curve["note"].str.contains("missing").all()
