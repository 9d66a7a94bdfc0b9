"""Zone membership by each rule, and the correlation inside."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_study import BENCHMARKS, simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.flips.flips import flip_table
from qkld.statistics.items.score_differences import difference_interval
from qkld.statistics.zone.break_point import break_cuts
from qkld.statistics.zone.zone import members_table, rules_table, zone_members, zone_table
from qkld.study.registry import CORRELATION

SETTINGS = Resampling(confidence=0.95, resamples=300, permutations=99, seed=3)


@pytest.fixture(scope="module")
def cohort() -> pd.DataFrame:
    return simulated_study()[0]


@pytest.fixture(scope="module")
def flips() -> pd.DataFrame:
    tasks = list(BENCHMARKS)
    return flip_table(simulated_study()[1], reference="reference", benchmarks=tasks, tasks=tasks, confidence=0.95)


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


def test_equivalence_takes_quants_shown_to_be_near_the_reference(cohort, flips):
    rule = {"rule": "equivalence", "score": "composite", "flips": flips, "tasks": list(BENCHMARKS)}
    members = zone_members(cohort, cut=0.03, **rule)
    for label, inside in zip(cohort["label"], members, strict=True):
        own = flips[(flips["label"] == label) & flips["benchmark"].isin(BENCHMARKS)]
        if own.empty or "floor" in label:
            assert not inside
        else:
            low, high = difference_interval(own["leapfrogs"], own["drops"], own["items"], 0.9)
            assert inside == (low > -0.03 and high < 0.03)
    assert 0 < members.sum() < zone_members(cohort, cut=0.1, **rule).sum()
    with pytest.raises(StatisticsError, match="needs leapfrogs and drops"):
        zone_members(cohort, cut=0.03, rule="equivalence")
    with pytest.raises(StatisticsError, match="flips of 22 quants"):
        zone_members(cohort, cut=0.03, **{**rule, "tasks": ["sciq", "gsm8k"]})


def test_equivalence_counts_clusters_and_not_the_items_in_them(cohort, flips):
    """Every item three times is no more evidence than once."""
    tasks, items = list(BENCHMARKS), simulated_study()[1]
    copies = pd.concat([items.assign(item=items["item"] + f"#{r}", cluster=items["item"]) for r in range(3)])
    thrice = flip_table(copies, reference="reference", benchmarks=tasks, tasks=tasks, confidence=0.95)
    rule, counted = {"rule": "equivalence", "score": "composite", "tasks": tasks}, []
    for cut in (0.01, 0.015, 0.02, 0.03, 0.04):
        once = zone_members(cohort, flips=flips, cut=cut, **rule)
        assert zone_members(cohort, flips=thrice, cut=cut, **rule).equals(once)
        as_items = zone_members(cohort, flips=thrice.assign(design_effect=1.0, design_df=np.inf), cut=cut, **rule)
        counted.append(as_items.sum() - once.sum())
    assert sum(counted) > 3


def test_break_point_takes_quants_below_the_bend(cohort):
    members = zone_members(cohort, rule="break_point", cut=None)
    quants = cohort[cohort["role"] == "quant"]
    cut = break_cuts(quants["kl_mean"], quants["composite"])[0]
    assert (members == ((cohort["role"] == "quant") & (cohort["kl_mean"] <= cut))).all()
    assert 5 <= members.sum() <= 17


def test_each_rule_has_its_row_with_what_it_does(cohort, flips):
    rules = {"kld_cut": 0.05, "score_margin": 0.03, "equivalence": 0.05, "break_point": None}
    table = rules_table(cohort, rules, resampling=SETTINGS, flips=flips, tasks=list(BENCHMARKS))
    assert list(table.columns) == ["rule", "cut", "selection", "n_full", "n_zone", *CORRELATION]
    assert list(table["rule"]) == list(rules)
    assert table["selection"].is_unique
    assert table["selection"].str.contains("toward 0").tolist() == [False, True, True, True]
    assert (table["n"] == table["n_zone"]).all()
    first = zone_table(cohort, zone_members(cohort, rule="kld_cut", cut=0.05), ["composite"], rule="kld_cut", cut=0.05,
                       resampling=SETTINGS)  # fmt: skip
    assert table["estimate"].iloc[0] == first["estimate"].iloc[1]
    assert table["range_metric"].iloc[0] < 1


def test_a_rule_without_its_data_keeps_its_row(cohort):
    table = rules_table(cohort, {"kld_cut": 0.05, "equivalence": 0.01}, resampling=SETTINGS)
    assert table["n_zone"].iloc[1] == 0
    assert np.isnan(table["estimate"].iloc[1])
    assert "needs leapfrogs and drops" in table["note"].iloc[1]


def test_missing_scores_may_be_left_out_of_a_margin(cohort):
    gap = cohort.assign(composite=cohort["composite"].mask(cohort["label"] == "hqq-8-g64"))
    with pytest.raises(StatisticsError, match="1 missing"):
        zone_members(gap, rule="score_margin", cut=0.03)
    members = zone_members(gap, rule="score_margin", cut=0.03, missing="drop")
    assert (members == (zone_members(cohort, rule="score_margin", cut=0.03) & (cohort["label"] != "hqq-8-g64"))).all()
