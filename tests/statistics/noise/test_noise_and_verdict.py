"""The tables of noise and verdict: their columns, their numbers, their notes, and what changes nothing."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_answers import answered_study, labels_of

from qkld.errors import StatisticsError
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.items.covariance import noise_by_benchmark
from qkld.statistics.noise.heterogeneity import cochran_q, residual_heterogeneity
from qkld.statistics.noise.noise_and_verdict import leave_one_out_table, noise_table, verdict_table
from qkld.statistics.noise.reliability import noise_mean_squares, reliability
from qkld.statistics.noise.verdict import verdict
from qkld.study.registry import registered

SETTINGS = Resampling(confidence=0.95, resamples=200, permutations=99, seed=3)
BOTH = ["easy", "hard"]


def noises_of(items, reference="ref", quants=8):
    return noise_by_benchmark(items, reference=reference, quants=labels_of(quants), benchmarks=BOTH, tasks=BOTH)


@pytest.fixture(scope="module")
def study():
    """Noise, cohort and zone of 8 quants, 6 of them in the zone."""
    items, cohort = answered_study(np.random.default_rng(2606), "W1", items=1500)
    return noises_of(items), cohort, cohort["kl_mean"].rank() <= 6


@pytest.fixture(scope="module")
def tables(study):
    """Result table → itself."""
    return {
        "noise": noise_table(*study, resampling=SETTINGS, draws=100),
        "verdict": verdict_table(*study),
        "leave_one_out": leave_one_out_table(*study, resampling=SETTINGS, draws=50),
    }


def row_of(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_tables_have_their_columns_and_a_row_a_score_and_subset(tables):
    for name, table in tables.items():
        assert tuple(table.columns) == registered(name).columns
    keys = tables["noise"][["benchmark", "subset"]].to_numpy().tolist()
    assert keys == [[b, s] for b in ("easy", "hard", "composite") for s in ("full", "zone")]
    assert list(tables["noise"]["n"]) == [8, 6] * 3
    assert len(tables["leave_one_out"]) == 3 * (8 + 6)


def test_numbers_are_those_of_the_functions(study, tables):
    noises, cohort, members = study
    labels = list(cohort.loc[members, "label"])
    zone, kld = noises["composite"].of(labels), cohort.loc[members, "kl_mean"].to_numpy()
    row = row_of(tables["noise"], benchmark="composite", subset="zone")
    alpha = reliability(noise_mean_squares(zone), 0.95)
    assert [row["reliability"], row["reliability_low"], row["reliability_high"]] == pytest.approx(
        [alpha.estimate, alpha.low, alpha.high]
    )
    assert row["attainable"] == pytest.approx(np.sqrt(max(0, alpha.estimate)))
    assert row["estimate"] == pytest.approx(stats.spearmanr(kld, zone.net).statistic)
    assert row["mean_se"] ** 2 == pytest.approx(np.diag(zone.covariance).mean())
    assert row["cochran_p"] == pytest.approx(cochran_q(zone).p)
    assert row["residual_p"] == pytest.approx(max(c.p for c in residual_heterogeneity(zone, kld).values()))
    assert row["tau_low"] <= row["tau"] <= row["tau_high"]
    found = verdict(zone, kld)
    own = row_of(tables["verdict"], benchmark="composite", subset="zone")
    assert own["verdict"] == found.answer
    assert own["direction_z"] == found.all_quants.z
    assert own["items"] == 3000
    assert own["cochran_test"] == cochran_q(zone).tested.test


def test_correction_for_noise_appears_only_with_reliable_scores(tables):
    known = tables["noise"]["disattenuated"].notna()
    assert (known == (tables["noise"]["reliability_low"] > 0.3)).all()
    assert tables["noise"].loc[~known, "note"].str.contains("not estimable").all()


def test_a_row_left_out_is_the_table_without_that_quant(study, tables):
    noises, cohort, members = study
    kept = cohort["label"] != "q02"
    rest = noise_table(noises, cohort[kept], members[kept], resampling=SETTINGS, draws=50)
    without = row_of(tables["leave_one_out"], benchmark="easy", subset="zone", left_out="q02")
    own = row_of(rest, benchmark="easy", subset="zone")
    for column in ("n", "estimate", "reliability", "residual_p", "tau", "predictive_low"):
        assert without[column] == own[column]
    assert without["verdict"] == ""
    assert "at least 6 quants" in without["note"]
    full = tables["leave_one_out"].query("subset == 'full'")
    assert (full["verdict"] != "").all()


def test_order_of_items_and_quants_changes_nothing(rng):
    items, cohort = answered_study(rng, "W1", items=600)
    members = cohort["role"] == "quant"
    order = [0, *(1 + rng.permutation(8))]
    first = verdict_table(noises_of(items), cohort, members)
    again = verdict_table(noises_of(items.sample(frac=1, random_state=1)), cohort.iloc[order], members.iloc[order])
    assert list(first["verdict"]) == list(again["verdict"])
    for column in ("direction_z", "r2_low", "cochran_p", "items_at_least"):
        assert first[column].to_numpy() == pytest.approx(again[column].to_numpy(), rel=1e-6)


def test_reference_and_floor_rows_never_enter(study, tables):
    noises, cohort, members = study
    floor = cohort.iloc[[0]].assign(label="floor", role="floor", kl_mean=1e-9)
    more = pd.concat([floor, cohort], ignore_index=True)
    inside = pd.Series([True, *members])
    pd.testing.assert_frame_equal(verdict_table(noises, more, inside), tables["verdict"])


def test_verdict_needs_no_reference(rng):
    items, cohort = answered_study(rng, "W2", items=800)
    members = cohort["role"] == "quant"
    with_reference, without = (verdict_table(noises_of(items, reference=r), cohort, members) for r in ("ref", None))
    assert list(with_reference["verdict"]) == list(without["verdict"])
    assert with_reference["direction_z"].to_numpy() == pytest.approx(without["direction_z"].to_numpy(), rel=1e-6)


def test_a_kld_of_zero_is_counted_and_only_the_logarithm_is_empty(study):
    noises, cohort, members = study
    zero = cohort.assign(kl_mean=cohort["kl_mean"].where(cohort["label"] != "q00", 0.0))
    row = noise_table(noises, zero, members, resampling=SETTINGS, draws=50).iloc[0]
    assert row["zeros"] == 1
    assert np.isnan(row["residual_p_log"])
    assert row[["residual_p_linear", "residual_p_sqrt", "tau"]].notna().all()
    assert verdict_table(noises, zero, members)["verdict"].iloc[0] != ""


def test_a_quant_counted_twice_is_refused(study):
    noises, cohort, members = study
    twice = pd.concat([cohort, cohort.iloc[[3]]], ignore_index=True)
    with pytest.raises(StatisticsError, match="each label once"):
        verdict_table(noises, twice, pd.Series([*members, True]))


def test_a_quant_without_items_is_named(study):
    noises, cohort, members = study
    more = pd.concat([cohort, cohort.iloc[[3]].assign(label="unmeasured")], ignore_index=True)
    with pytest.raises(StatisticsError, match="no items of unmeasured"):
        noise_table(noises, more, pd.Series([*members, True]), resampling=SETTINGS)


def test_what_can_not_be_had_is_empty_with_a_reason(study):
    noises, cohort, _ = study
    two = cohort["label"].isin(["q00", "q01"])
    row = row_of(noise_table(noises, cohort, two, resampling=SETTINGS, draws=20), benchmark="easy", subset="zone")
    assert row[["reliability", "estimate", "predictive_low", "tau"]].isna().all()
    assert row["cochran_p"] >= 0
    assert "at least 3 quants" in row["note"]
    none = row_of(verdict_table(noises, cohort, cohort["label"] == "nobody"), benchmark="easy", subset="zone")
    assert none["verdict"] == ""
    assert none["n"] == 0
    assert "at least 6 quants" in none["note"]
    gap = cohort.assign(kl_mean=cohort["kl_mean"].where(cohort["label"] != "q03"))
    assert verdict_table(noises, gap, two)["note"].str.contains("missing").iloc[0]
    assert (
        len(leave_one_out_table(noises, cohort, two & False, resampling=SETTINGS, draws=10).query("subset=='zone'"))
        == 0
    )
