"""Sentences that answer a notebook's questions: true of their tables, honest where a number is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from qkld.report import sentences
from qkld.report.numbers import printed
from qkld.report.sentences import VERDICTS
from qkld.statistics.prompts.prompt_rows import ALL_QUANTS

SCORE = "composite"


@pytest.fixture
def table(simulated):
    return simulated.analysis


def test_the_correlation_is_that_of_its_table(table, simulated):
    correlation = table("correlation")
    said = sentences.correlation_sentence(correlation, SCORE)
    row = correlation.query("metric == 'kl_mean' and benchmark == @SCORE and method == 'spearman' and subset == 'full'")
    assert f"Over {len(simulated.quants)} quants" in said
    assert printed(row["estimate"].iloc[0]) in said
    assert f"[{printed(row['low'].iloc[0])}, {printed(row['high'].iloc[0])}]" in said


def test_the_zone_says_how_many_of_how_many_and_its_cut(table):
    zone, members = table("zone"), table("zone_members")
    said = sentences.zone_sentence(zone, SCORE)
    assert said.startswith(
        f"{int(members['in_zone'].sum())} of {len(members)} quants are in the zone with a mean KLD of at"
    )
    assert f"{zone['cut'].iloc[0]:g} nats; inside, ρ = " in said


def test_the_verdict_is_explained_and_names_what_would_settle_it(table):
    verdict = table("verdict").query("benchmark == @SCORE and subset == 'zone'").iloc[0]
    said = sentences.verdict_sentence(table("verdict"), SCORE)
    assert said.startswith(f"*{verdict['verdict']}*: {VERDICTS[verdict['verdict']].format(metric='KLD')}.")
    assert (" settle it (now" in said) == pd.notna(verdict["items_to_settle"])
    share = f"KLD accounts for {printed(verdict['r2'])} [{printed(verdict['r2_low'])}, {printed(verdict['r2_high'])}]"
    assert (share in said) == (verdict["verdict"] != "noise-limited")


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (26_000.0, "(90 % interval). About 26,000 items would settle it (now 260)."),
        (
            26_001.0,
            "(90 % interval). It would take more than 100 times the items to settle it (now 260).",
        ),
        (np.nan, "(90 % interval)."),
    ],
)
def test_a_share_near_one_half_is_not_settled_by_items(about, said):
    row = {"benchmark": SCORE, "subset": "zone", "verdict": "undetermined", "rests_on": "", "items": 260,
           "r2": 0.52, "r2_low": 0.33, "r2_high": 0.64, "items_to_settle": about, "items_at_least": 9889.0}  # fmt: skip
    told = sentences.verdict_sentence(pd.DataFrame([row]), SCORE)
    assert told.endswith(f" KLD accounts for 0.52 [0.33, 0.64] of the variance of the true scores {said}")


@pytest.mark.parametrize(
    ("least", "said"), [(390.0, "No fewer than 390 items could settle it (now 260)."), (250.0, None)]
)
def test_where_no_true_difference_is_seen_the_fewest_items_are_named(least, said):
    row = {"benchmark": SCORE, "subset": "zone", "verdict": "noise-limited", "rests_on": "", "items": 260}
    told = sentences.verdict_sentence(pd.DataFrame([row | {"items_to_settle": np.nan, "items_at_least": least}]), SCORE)
    assert told.endswith(said or "for or against KLD.")


@pytest.mark.parametrize("name", sorted(VERDICTS))
def test_leaving_quants_out_says_which_change_the_verdict(name):
    own = pd.DataFrame({"benchmark": [SCORE], "subset": ["zone"], "verdict": [name]})
    same = pd.DataFrame({"benchmark": SCORE, "subset": "zone", "left_out": ["a", "b"], "verdict": [name, name]})
    assert sentences.left_out_sentence(same, own, SCORE) == (
        "Whichever of the 2 quants is left out, the verdict is the same."
    )
    other = next(verdict for verdict in VERDICTS if verdict != name)
    said = sentences.left_out_sentence(same.assign(verdict=[name, other]), own, SCORE)
    assert said == f"The verdict changes in 1 of 2 cases (without b: {other})."
    both = sentences.left_out_sentence(same.assign(verdict=""), own, SCORE)
    assert both == "The verdict changes in 2 of 2 cases (without a, b: no verdict)."
    none = sentences.left_out_sentence(same.assign(verdict=""), own.assign(verdict=""), SCORE)
    assert none == "Leaving single quants out: not available."


def test_other_cuts_and_variants_are_counted_over_those_that_have_a_number():
    curve = pd.DataFrame(
        {"cut": [0.01, 0.1, 1.0], "n": [4, 8, 12], "estimate": [None, -0.2, -0.9], "low": [None, -0.8, -0.99],
         "high": [None, 0.5, -0.6]}
    )  # fmt: skip
    assert sentences.curve_sentence(curve) == (
        "With the zone's cut moved from 0.1 to 1 nats (8 to 12 quants), ρ goes from −0.20 to −0.90; its interval "
        "excludes 0 at 1 of 2 cuts."
    )
    assert "not available" in sentences.curve_sentence(curve.iloc[:1])
    variants = pd.DataFrame(
        {"metric": ["kl_mean", "kl_p99", "ppl"], "subset": "zone", "estimate": [-0.5, -0.6, None],
         "p_adjusted": [0.2, 0.01, None]}
    )  # fmt: skip
    assert sentences.variants_sentence(variants) == (
        "In the zone, 1 of 2 measurement variants has a ρ that differs from 0 (all together at 0.05) (kl_p99)."
    )
    assert "none of 2 measurement variants" in sentences.variants_sentence(variants.assign(p_adjusted=0.5))
    assert "not available" in sentences.variants_sentence(variants.assign(subset="full"))


def test_decisions_are_counted_and_add_up(table, simulated):
    decision = table("decision")
    said = sentences.decision_sentence(decision, SCORE)
    own = decision[decision["benchmark"] == SCORE]["decision"].value_counts()
    assert all(f"{number} {word}" in said for word, number in own.items())
    assert f"Of {len(simulated.quants)} quants" in said
    smallest = sorted(decision.loc[(decision["benchmark"] == SCORE) & decision["smallest"].astype(bool), "label"])
    assert said.endswith(f" The smallest equivalent quants are {', '.join(smallest)}.")
    one = decision.assign(smallest=decision["label"] == smallest[0])
    assert sentences.decision_sentence(one, SCORE).endswith(f" The smallest equivalent quant is {smallest[0]}.")
    nothing = decision.assign(smallest=False)
    assert sentences.decision_sentence(nothing, SCORE).endswith("No quant is shown to be equivalent.")


def test_whose_decision_and_verdict_it_is_stands_before_them(table):
    for score, name in (("accuracy", "accuracy"), ("probability", "the probability of the right choice")):
        decided = sentences.decision_sentence(table("decision"), SCORE, score)
        assert decided.startswith(f"By {name}, the primary score: of 22 quants, within")
        assert sentences.verdict_sentence(table("verdict"), SCORE, score).startswith(f"By {name}, the primary score: *")


def test_both_scores_are_told_with_their_errors_and_the_sentence_of_their_table(table):
    both = table("two_scores")
    row = both.query("benchmark == @SCORE and subset == 'zone'").iloc[0]
    said = sentences.two_scores_sentence(both, SCORE)
    assert said.endswith(row["says"])
    for score in ("accuracy", "probability"):
        assert printed(row[f"estimate_{score}"]) in said
        assert f"{printed(row[f'mean_se_{score}'], percent=True)} points" in said


def test_what_scale_explains_is_counted_by_reading(table):
    second = table("probability")
    said = sentences.scale_sentence(second, SCORE)
    own = second[second["benchmark"] == SCORE]
    for word, number in own["reading"].replace("", "not clear").value_counts().items():
        assert f"*{word}* ({number})" in said
    assert f"for {(own['says'] != '').sum()} of them accuracy decides otherwise" in said
    old = own.assign(net=float("nan"), note="the second score is not available")
    assert sentences.scale_sentence(old, SCORE).endswith("not available (the second score is not available).")


def test_benchmarks_of_the_composite_are_named(table):
    composite = table("composite")
    said = sentences.composite_sentence(composite)
    enter = composite.loc[composite["in_composite"], "benchmark"].tolist()
    assert said.startswith(f"{len(enter)} of {len(composite)} benchmark")
    assert said.endswith(f"part of the composite: {', '.join(enter)}.")
    none = sentences.composite_sentence(composite.assign(in_composite=False))
    assert none == f"None of {len(composite)} benchmarks can be part of the composite."


@pytest.mark.parametrize(("below", "words"), [(0, "no quants are"), (1, "1 quant is"), (3, "3 quants are")])
def test_quants_at_the_floor_are_counted(below, words):
    floors = pd.DataFrame({"kl_mean": [2.05e-11], "quants_below": [below]}, index=["floor-dtype"])
    assert sentences.floor_sentence(floors) == (
        f"The reference in a wider dtype has a mean KLD of 2.1e-11 nats; {words} at this floor."
    )
    assert "not available" in sentences.floor_sentence(floors.assign(kl_mean=float("nan")))


def test_kld_by_entropy_is_told_from_the_lowest_to_the_highest_group():
    entropy = pd.DataFrame([[0.1, 0.2, 0.3], [0.2, 0.5, 1.0], [1.0, 1.0, 7.0]], columns=[0, 1, 2])
    assert "mean KLD is 5.0 times what it is where the entropy is lowest" in sentences.entropy_sentence(entropy)
    assert sentences.entropy_sentence(entropy[[0]]) == "KLD by the reference's entropy: not available."


def test_kld_along_the_text_is_told_quant_by_quant_with_intervals_where_they_are():
    ratios = pd.DataFrame(
        {"split": 384.0, "estimate": [1.4, 0.95, float("nan")], "low": [1.1, 0.8, float("nan")], "high": [1.7, 1.2, 1]},
        index=["kv-q4", "q8", "same"],
    )
    assert sentences.position_sentence(ratios) == (
        "Mean KLD from position 384 on, over that before it: kv-q4 1.40 [1.10, 1.70], q8 0.95 [0.80, 1.20]. "
        "The interval excludes 1 for 1 of 2 quants."
    )
    kept = sentences.position_sentence(ratios.assign(low=float("nan"), high=float("nan")))
    assert kept.endswith("kv-q4 1.40, q8 0.95. Intervals need the tokens, which are not kept here.")
    assert sentences.position_sentence(ratios.iloc[2:]) == "KLD by position: not available."


def test_other_rules_are_told_with_their_zones(table):
    rules = table("zone_rules")
    said = sentences.rules_sentence(rules)
    for row in rules.iloc[1:].to_dict("records"):
        assert f"{row['rule']}, ρ = {printed(row['estimate'])} ({sentences.count(int(row['n_zone']))})" in said


def test_baselines_prompts_and_flips_are_told_from_their_tables(table):
    baselines, within, flips = (table(f"prompt_{name}") for name in ("baselines", "within", "flips"))
    known = baselines[baselines["gain"].notna()]
    better = int((known["gain_low"] > 0).sum())
    counted = sentences.count(len(known), "baseline")
    assert f"better than {better} of {counted}" in sentences.baselines_sentence(baselines)
    said = sentences.within_sentence(within)
    assert all(printed(value) in said for value in within["auroc"].dropna())
    pooled = flips[(flips["label"] == ALL_QUANTS) & flips["drop_less_leapfrog"].notna()]
    said = sentences.flip_signal_sentence(flips, ALL_QUANTS)
    assert len(pooled)
    assert all(f"difference {printed(value)}" in said for value in pooled["drop_less_leapfrog"])
    assert "not available" in sentences.flip_signal_sentence(flips.iloc[:0], ALL_QUANTS)


def test_a_study_without_builds_says_so(table):
    assert sentences.builds_sentence(table("builds")) == (
        "Builds of recipes: not available (the study has no builds of recipes: no quant's entry has `builds`)."
    )


def test_builds_are_told_by_kind_and_score():
    rows = [
        {"basis_kind": "rotate", "by_score": "accuracy", "subset": subset, "component": part, "recipes": 10,
         "builds": 30, "sd": sd, "sd_low": 0.0, "sd_high": 0.01, "p_zero": 0.2, "note": ""}
        for subset in ("full", "zone") for part, sd in (("within", 0.004), ("between", 0.0))
    ]  # fmt: skip
    assert sentences.builds_sentence(pd.DataFrame(rows)) == (
        "Over 30 builds of 10 recipes by rotate, accuracy at equal KLD differs between builds of one recipe by 0.40 "
        "points [0.00, 1.00], p 0.200 and between recipes by 0.00 points [0.00, 1.00], p 0.200 (standard deviations). "
        "In the zone, over 30 builds of 10 recipes: between builds of one recipe by 0.40 points [0.00, 1.00], p 0.200 "
        "and between recipes by 0.00 points [0.00, 1.00], p 0.200."
    )
    of_zone_alone = [row | {"sd": np.nan, "note": "too few"} if row["subset"] == "full" else row for row in rows]
    assert sentences.builds_sentence(pd.DataFrame(of_zone_alone)).startswith(
        "Builds by rotate, accuracy: not available"
    )


def test_means_of_recipes_are_told_in_the_zone_and_over_all():
    rows = [
        {
            "basis_kind": "rotate",
            "by_score": score,
            "subset": subset,
            "level": level,
            "n": n,
            "estimate": -0.8,
            "p": 0.002,
        }
        for score in ("accuracy", "probability")
        for subset in ("full", "zone")
        for level, n in (("recipes", 11), ("builds", 22))
    ]
    assert sentences.recipe_means_sentence(pd.DataFrame(rows), "probability") == (
        "ρ(mean KLD, the probability of the right choice) over the means of recipes: "
        "in the zone (n = 11) −0.80, p 0.002; over all (n = 11) −0.80, p 0.002."
    )
    assert sentences.recipe_means_sentence(pd.DataFrame(rows).assign(estimate=np.nan), "accuracy") == ""


def test_pairs_count_those_in_order_and_those_that_kld_has_right():
    pairs = pd.DataFrame({"p_holm": [0.001, 0.04, 0.2], "metric_right": [True, False, True]})
    assert sentences.pairs_sentence(pairs) == "The items put 2 of 3 pairs of quants in order; KLD has 1 of these right."
    assert sentences.pairs_sentence(pairs.assign(p_holm=1.0)) == "The items put none of 3 pairs of quants in order."
    assert sentences.pairs_sentence(pairs.iloc[:0]) == "There are no pairs of quants to order."


def test_every_sentence_of_a_simulated_study_has_its_numbers(table):
    said = [
        sentences.partial_sentence(table("partial"), SCORE),
        sentences.neighbours_sentence(table("paired_fidelity")),
        sentences.noise_sentence(table("noise"), SCORE),
        sentences.left_out_sentence(table("leave_one_out"), table("verdict"), SCORE),
        sentences.volume_sentence(table("volume_direction"), SCORE),
        sentences.prompts_sentence(table("prompts"), "all quants"),
        sentences.router_sentence(table("router"), "all pairs"),
        sentences.directional_sentence(table("directional")),
    ]
    assert all(line.endswith(".") and any(c.isdigit() for c in line) for line in said)
    assert not any("not available" in line or "nan" in line for line in said)


@pytest.mark.parametrize(
    ("sentence", "arguments"),
    [
        (sentences.correlation_sentence, [["metric", "benchmark", "method", "subset"], SCORE]),
        (sentences.partial_sentence, [["metric", "benchmark", "subset"], SCORE]),
        (sentences.noise_sentence, [["benchmark", "subset"], SCORE]),
        (sentences.prompts_sentence, [["label"], "all quants"]),
        (sentences.router_sentence, [["label_a"], "all pairs"]),
        (sentences.decision_sentence, [["benchmark"], SCORE]),
    ],
)
def test_without_a_row_nothing_is_claimed(sentence, arguments):
    columns, name = arguments
    assert "not available" in sentence(pd.DataFrame(columns=columns), name)


def test_a_missing_number_gives_the_table_s_reason():
    row = {"metric": "kl_mean", "benchmark": SCORE, "method": "spearman", "subset": "full", "n": 3, "estimate": None}
    said = sentences.correlation_sentence(pd.DataFrame([row | {"note": "at least 4 quants"}]), SCORE)
    assert said == "Mean KLD and composite: not available (at least 4 quants)."
