"""Volume and direction: the exact identity, known intervals, and what must not matter."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_study import BENCHMARKS, simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.flips.direction import direction_reliability
from qkld.statistics.flips.flips import (
    QUANTITIES,
    Flips,
    MeanFlips,
    count_flips,
    direction_table,
    effective_flip_rate,
    flip_table,
)
from qkld.statistics.items.sample_size import items_for_difference
from qkld.statistics.items.score_differences import difference_interval, mcnemar_midp, score_z
from qkld.statistics.zone.zone import zone_members
from qkld.study.registry import registered


@pytest.fixture(scope="module")
def study() -> tuple[pd.DataFrame, pd.DataFrame]:
    return simulated_study()


@pytest.fixture(scope="module")
def flips(study) -> pd.DataFrame:
    return flip_table(
        study[1], reference="reference", benchmarks=list(BENCHMARKS), tasks=list(BENCHMARKS), confidence=0.95
    )


def answers(rng, n=211, p=0.6):
    return (rng.random(n) < p).astype(int)


def test_counts_by_hand():
    flips = count_flips([1, 1, 0, 0, 1, 0], [1, 0, 1, 1, 0, 1])
    assert (flips.leapfrogs, flips.drops, flips.volume, flips.items) == (3, 2, 5, 6)
    assert flips.net == Fraction(1, 6)
    assert flips.flip_rate == 5 / 6
    assert flips.improvement_fraction == 3 / 5
    assert flips.z == pytest.approx(1 / np.sqrt(5))


def test_counts_are_the_definition(rng):
    reference, model = answers(rng), answers(rng)
    flips = count_flips(reference, model)
    assert flips.leapfrogs == sum(m == 1 and r == 0 for r, m in zip(reference, model, strict=True))
    assert flips.drops == sum(m == 0 and r == 1 for r, m in zip(reference, model, strict=True))


def test_score_difference_is_exactly_net(rng):
    for n in (1, 7, 101, 1271):
        reference, model = answers(rng, n), answers(rng, n, 0.5)
        flips = count_flips(reference, model)
        assert Fraction(int(model.sum()), n) - Fraction(int(reference.sum()), n) == flips.net
        if flips.volume:
            paper = Fraction(flips.volume, n) * (2 * Fraction(flips.leapfrogs, flips.volume) - 1)
            assert paper == flips.net


def test_counts_that_break_the_identity_are_refused():
    with pytest.raises(StatisticsError, match="L − D = 2"):
        Flips(items=10, reference_right=4, model_right=6, leapfrogs=3, drops=2)


def test_swapping_reference_and_quant_flips_signs(rng):
    reference, model = answers(rng), answers(rng)
    one, other = count_flips(reference, model), count_flips(model, reference)
    assert one.net == -other.net
    assert one.z == -other.z
    assert one.volume == other.volume
    assert one.improvement_fraction == pytest.approx(1 - other.improvement_fraction)
    low, high = one.improvement_interval(0.95)
    assert other.improvement_interval(0.95) == pytest.approx((1 - high, 1 - low))


def test_order_of_items_does_not_matter(rng):
    reference, model = answers(rng), answers(rng)
    order = rng.permutation(reference.size)
    assert count_flips(reference, model) == count_flips(reference[order], model[order])


def test_wilson_interval_and_mcnemar():
    flips = Flips(items=100, reference_right=50, model_right=44, leapfrogs=3, drops=9)
    assert flips.improvement_interval(0.95) == pytest.approx((0.0889417, 0.5323053), abs=5e-8)
    assert stats.chi2.sf(flips.z**2, 1) == pytest.approx(0.0832645, abs=5e-8)


def test_no_flip_no_direction():
    flips = count_flips([1, 0, 1], [1, 0, 1])
    assert flips.volume == 0
    assert flips.net == 0
    assert np.isnan([flips.improvement_fraction, flips.z, *flips.improvement_interval(0.95)]).all()


@pytest.mark.parametrize(("reference", "model"), [([], []), ([1, 0], [1]), ([1, 2], [1, 0]), ([1, np.nan], [1, 0])])
def test_answers_that_are_no_answers_are_refused(reference, model):
    with pytest.raises(StatisticsError, match="0 and 1"):
        count_flips(reference, model)


def test_table_agrees_with_the_scores(study, flips):
    cohort = study[0].set_index("label")
    for row in flips.itertuples():
        score = "composite" if row.benchmark == "composite" else f"score_{row.benchmark}"
        assert row.net == pytest.approx(cohort.loc[row.label, score] - cohort.loc["reference", score], abs=1e-15)
    assert len(flips) == 22 * 4
    assert "reference" not in set(flips["label"])


def test_composite_sums_counts_and_averages_rates(flips):
    one = flips[flips["label"] == "torchao-4-g64"].set_index("benchmark")
    tasks = list(BENCHMARKS)
    assert one.loc["composite", "volume"] == one.loc[tasks, "volume"].sum()
    assert one.loc["composite", "flip_rate"] == pytest.approx(one.loc[tasks, "flip_rate"].mean())
    gained, moved = (one.loc[tasks, c] / one.loc[tasks, "items"] for c in ("leapfrogs", "volume"))
    assert one.loc["composite", "improvement_fraction"] == pytest.approx(gained.mean() / moved.mean())


def test_net_is_volume_times_direction_in_every_row(study, flips):
    """score = reference score + volume (2f − 1)/N; on the composite by the mean flip rate, as its note says."""
    known = flips[flips["volume"] > 0]
    assert known["net"].to_numpy() == pytest.approx(
        known["flip_rate"] * (2 * known["improvement_fraction"] - 1), abs=1e-15
    )
    assert np.sign(known["z"]).equals(np.sign(known["net"]))
    whole = known["benchmark"] == "composite"
    assert known.loc[~whole, "flip_rate"].equals(known.loc[~whole, "volume"] / known.loc[~whole, "items"])
    assert known.loc[whole, "note"].str.contains("mean of 3 benchmarks: counts are sums").all()
    assert known.loc[whole, ["p_midp", "p_exact"]].isna().all(axis=None)


def demo_like(leapfrog_of_arc: int, drops_of_arc: int, drops_of_sciq: int) -> pd.DataFrame:
    """80 items of ARC-Easy and 18 of SciQ, of which a quant has so many more and fewer right than the reference."""
    rows = []
    for task, n, up, down in (("arc_easy", 80, leapfrog_of_arc, drops_of_arc), ("sciq", 18, 0, drops_of_sciq)):
        reference = np.r_[np.zeros(8, dtype=int), np.ones(n - 8, dtype=int)]
        quant = reference.copy()
        quant[:up], quant[n - down :] = 1, 0
        for model, correct in (("ref", reference), ("quant", quant)):
            items = [f"{i:03}" for i in range(n)]
            rows.append(pd.DataFrame({"model": model, "benchmark": task, "item": items, "correct": correct}))
    return pd.concat(rows, ignore_index=True)


COMPOSITE = {"reference": "ref", "benchmarks": ["arc_easy", "sciq"], "tasks": ["arc_easy", "sciq"], "confidence": 0.95}


@pytest.mark.parametrize(
    ("flipped", "net", "said"),
    [
        ((1, 0, 1), -0.02153, "one item makes −2.78 of −2.15 points"),
        ((0, 1, 1), -0.03403, "one item makes −2.78 of −3.40 points"),
        ((0, 2, 1), -0.04028, "one item makes −2.78 of −4.03 points"),
        ((0, 1, 0), -0.00625, "one item makes −0.62 of −0.62 points"),
        ((0, 5, 1), -0.05903, ""),
        ((0, 2, 0), -0.01250, ""),
    ],
)
def test_a_difference_that_one_item_makes_is_said(flipped, net, said):
    row = flip_table(demo_like(*flipped), **COMPOSITE).set_index("benchmark").loc["composite"]
    assert row["net"] == pytest.approx(net, abs=5e-6)
    assert row["item_weight"] == pytest.approx(1 / 36)
    assert said in row["note"]
    assert ("one item" in row["note"]) == bool(said)


def test_direction_and_net_of_the_composite_agree():
    """One leapfrog of 80 and one drop of 18: as many of each, and a loss, since the drop weighs more."""
    row = flip_table(demo_like(1, 0, 1), **COMPOSITE).set_index("benchmark").loc["composite"]
    assert (row["leapfrogs"], row["drops"]) == (1, 1)
    assert row["improvement_fraction"] == pytest.approx((1 / 80) / (1 / 80 + 1 / 18))
    assert row["z"] == pytest.approx(float(score_z([1, 0], [0, 1], [80, 18], 0.0)))
    assert row["z"] == pytest.approx(-0.756, abs=5e-4)
    assert row["improvement_low"] < row["improvement_fraction"] < row["improvement_high"]


def test_rates_that_are_equal_stay_equal():
    """Ties of direction are exact whatever the number of flips, or ranks would be of rounding."""
    rows = [MeanFlips((Flips(98, 50, 50 - k, k, 2 * k),)) for k in range(1, 9)]
    assert {row.improvement_fraction for row in rows} == {1 / 3}
    assert {MeanFlips((Flips(98, 50, 50 + d, u, u - d),)).z for u, d in ((1, 1), (3, 2), (6, 3))} == {1.0}


def test_clusters_widen_intervals_and_take_mcnemars_p_away(study):
    items = study[1][study[1]["benchmark"] == "sciq"]
    of_scores = {"reference": "reference", "benchmarks": ["sciq"], "tasks": [], "confidence": 0.95}
    copies = pd.concat([items.assign(item=items["item"] + f"#{r}", cluster=items["item"]) for r in range(3)])
    alone, clustered = flip_table(items, **of_scores), flip_table(copies, **of_scores)
    assert clustered["flip_rate"].to_numpy() == pytest.approx(alone["flip_rate"].to_numpy())
    np.testing.assert_allclose(clustered["improvement_low"], alone["improvement_low"], atol=0.01)
    np.testing.assert_allclose(clustered["net_low"], alone["net_low"], atol=0.002)
    np.testing.assert_allclose(clustered["items_point"], 3 * alone["items_point"], rtol=0.01)
    assert alone["design_df"].isna().all()
    assert clustered["item_weight"].to_numpy() == pytest.approx(alone["item_weight"].to_numpy())
    assert clustered[["p_midp", "p_exact"]].isna().all(axis=None)
    assert clustered["note"].str.contains("items come in clusters: no McNemar p").all()


def test_tests_and_intervals_are_those_of_the_counts(flips):
    one = flips[(flips["label"] == "hqq-4-g64") & (flips["benchmark"] == "sciq")].iloc[0]
    counts = one["leapfrogs"], one["drops"]
    low, high = difference_interval(*counts, one["items"], 0.95)
    assert (one["net_low"], one["net_high"]) == pytest.approx((float(low), float(high)))
    assert one["p_midp"] == pytest.approx(float(mcnemar_midp(*counts)))
    assert one["p_exact"] == pytest.approx(stats.binomtest(int(one["drops"]), int(one["volume"])).pvalue)
    assert one["items_point"] == items_for_difference(one["flip_rate"], 0.01, confidence=0.95)
    both = flips[flips["benchmark"] == "composite"]
    assert ((both["net_low"] <= both["net"]) & (both["net"] <= both["net_high"])).all()


def test_a_difference_within_the_composite_s_flip_rate_has_its_items():
    """2 flips of 80 items and none of 18: the mean can differ by 1.25 points, though .77 % gives its variance."""
    items, answered = [], {"long": (80, 2), "short": (18, 0)}
    for task, (n, flips) in answered.items():
        right = np.ones(n, dtype=int)
        for model, correct in (("ref", right), ("quant", np.where(np.arange(n) < flips, 0, right))):
            names = [f"{i:02}" for i in range(n)]
            items.append(pd.DataFrame({"model": model, "benchmark": task, "item": names, "correct": correct}))
    table = flip_table(
        pd.concat(items), reference="ref", benchmarks=list(answered), tasks=list(answered), confidence=0.95
    ).set_index("benchmark")
    assert table.loc["composite", "flip_rate"] == 0.0125
    rate = 98 * (2 / 80) / 80 / 4
    assert table.loc["composite", "items_point"] == pytest.approx(
        items_for_difference(rate, 0.01, confidence=0.95, largest=0.0125)
    )
    assert table.loc["composite", "items_point"] > 98
    assert np.isnan(table.loc["short", "items_point"])


def test_the_composite_s_effective_flip_rate_gives_its_variance():
    """Of three tasks with their own sizes: variance of the mean of nets under no difference, times all items."""
    up, down, n = np.array([3, 8, 1]), np.array([5, 2, 0]), np.array([100, 400, 50])
    variance = sum((u + d) / k**2 for u, d, k in zip(up, down, n, strict=True)) / 9
    assert effective_flip_rate(up, down, n) == pytest.approx(variance * 550)
    assert effective_flip_rate([3], [5], [100]) == pytest.approx(0.08)


def test_table_does_not_depend_on_the_order_of_rows(study, flips):
    shuffled = study[1].sample(frac=1, random_state=3)
    again = flip_table(
        shuffled, reference="reference", benchmarks=list(BENCHMARKS), tasks=list(BENCHMARKS), confidence=0.95
    )
    pd.testing.assert_frame_equal(again, flips)


@pytest.mark.parametrize("models", [["reference"], ["hqq-4-g64"], ["hqq-4-g64", "hqq-2-g64"]])
def test_one_side_alone_has_no_flips(study, models):
    items = study[1][study[1]["model"].isin(models)]
    with pytest.raises(StatisticsError, match="the reference 'reference' and of at least one other model"):
        flip_table(items, reference="reference", benchmarks=["sciq"], tasks=[], confidence=0.95)


def test_one_cluster_has_no_interval_and_says_what_is_needed(study):
    items = study[1].assign(cluster="all")
    with pytest.raises(StatisticsError, match="at least 2 items, or clusters of items"):
        flip_table(items, reference="reference", benchmarks=["sciq"], tasks=[], confidence=0.95)


def test_missing_answers_are_refused(study):
    items = study[1].drop(study[1].index[-1])
    with pytest.raises(StatisticsError, match="different items"):
        flip_table(items, reference="reference", benchmarks=list(BENCHMARKS), tasks=[], confidence=0.95)


def test_volume_follows_kld_where_the_world_is_built_so(study, flips):
    cohort = study[0]
    members = zone_members(cohort, rule="kld_cut", cut=0.05)
    settings = Resampling(confidence=0.95, resamples=200, permutations=99, seed=1)
    table = direction_table(flips, cohort, members, resampling=settings)
    assert set(table["quantity"]) == set(QUANTITIES)
    rho = table.set_index(["benchmark", "subset", "quantity"])["estimate"]
    assert rho["composite", "full", "volume"] > 0.9
    assert rho["composite", "full", "net"] < -0.6
    known = flips[(flips["benchmark"] == "sciq")].merge(cohort, on="label")
    expected = stats.spearmanr(known["kl_mean"], known["z"], nan_policy="omit").statistic
    assert rho["sciq", "full", "z"] == pytest.approx(expected)


def test_quants_without_flips_are_left_out_of_direction_by_name(study, flips):
    quiet = flips.copy()
    quiet.loc[quiet["label"] == "torchao-8-g32", ["improvement_fraction", "z"]] = np.nan
    settings = Resampling(confidence=0.95, resamples=200, permutations=99, seed=1)
    members = zone_members(study[0], rule="kld_cut", cut=0.05)
    table = direction_table(quiet, study[0], members, resampling=settings)
    row = table[(table["quantity"] == "z") & (table["subset"] == "full") & (table["benchmark"] == "sciq")].iloc[0]
    assert row["n"] <= 21
    assert "left out: no answer changed" in row["note"]


def test_reliabilities_stand_beside_the_correlations(study, flips):
    cohort, items = study
    members = zone_members(cohort, rule="kld_cut", cut=0.05)
    quants = cohort["role"] == "quant"
    subsets = {"full": list(cohort.loc[quants, "label"]), "zone": list(cohort.loc[members, "label"])}
    known = direction_reliability(items, subsets, reference="reference", benchmarks=list(BENCHMARKS), tasks=[])
    settings = Resampling(confidence=0.95, resamples=100, permutations=99, seed=1)
    single = flips[flips["benchmark"] != "composite"]
    table = direction_table(single, cohort, members, resampling=settings, reliability=known)
    keys = ["benchmark", "subset", "quantity"]
    expected = known.set_index(keys)["reliability"].loc[pd.MultiIndex.from_frame(table[keys])]
    np.testing.assert_array_equal(table["reliability"], expected)
    assert direction_table(single, cohort, members, resampling=settings)["reliability"].isna().all()


def test_columns_are_the_schema_s(study, flips):
    registered("flips").check(flips.columns)
    members = zone_members(study[0], rule="kld_cut", cut=0.05)
    settings = Resampling(confidence=0.95, resamples=100, permutations=99, seed=1)
    registered("volume_direction").check(direction_table(flips, study[0], members, resampling=settings).columns)
