"""Baselines, pairs on one prompt, drops and leapfrogs against their definitions and worlds whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from prompts_of_items import from_items
from simulated_study import BENCHMARKS, simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.core.auroc import auroc
from qkld.statistics.core.clustered import clustered_share, half_width
from qkld.statistics.prompts import signals
from qkld.statistics.prompts.prompt_rows import ALL_BENCHMARKS, ALL_QUANTS
from qkld.statistics.prompts.signals import FORMS, pairs_within

baseline_table = from_items(signals.baseline_table)
within_table = from_items(signals.within_table)
flip_signal_table = from_items(signals.flip_signal_table)

MODELS = ["torchao-8-g32", "torchao-4-g64", "hqq-2-g64"]
WHAT = {"models": MODELS, "divergence": "kl_choice_mean", "confidence": 0.95, "reference": "reference"}


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    table = simulated_study()[1]
    entropy = rng.random(table["item"].nunique())
    return table.assign(entropy_reference=entropy[table["item"].astype(int)])


def drawn(rng, prompts, quants, *, difficulty=1.0, own=0.0, direction=0.0):
    """Items whose KLD follows the prompt's difficulty, the quant's own failing there, or the way it flips."""
    hard = rng.standard_normal((prompts, 1))
    reference = hard[:, 0] + 0.5 * rng.standard_normal(prompts) < 0.3
    moved = rng.random((prompts, quants)) < 0.25
    failed = np.where(moved, reference[:, None], ~reference[:, None])
    drop, leap = moved & reference[:, None], moved & ~reference[:, None]
    logs = difficulty * hard + own * failed + direction * (drop.astype(float) - leap)
    logs = logs + rng.standard_normal((prompts, quants)) + np.linspace(0, 2, quants)
    names = ["ref", *(f"q{i}" for i in range(quants))]
    right = np.column_stack([reference, ~failed])
    kld = np.column_stack([np.full(prompts, np.nan), np.exp(logs)])
    frames = [
        pd.DataFrame({"model": name, "benchmark": "b", "item": [f"{i:05d}" for i in range(prompts)],
                      "correct": right[:, i].astype(int), "kl": kld[:, i], "prompt_tokens": 10 + hard[:, 0]})
        for i, name in enumerate(names)
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True), names[1:]


def call(names, **more):
    return {"models": names, "benchmarks": ["b"], "divergence": "kl", "confidence": 0.95, "reference": "ref"} | more


# --- baselines --------------------------------------------------------------------------------------------------------


def test_baselines_are_aurocs_of_their_columns(items):
    table = baseline_table(items, benchmarks=list(BENCHMARKS), minimum_failed=5, **WHAT)
    found = table.set_index(["benchmark", "predictor"])
    own = items[items["model"].isin(MODELS) & (items["benchmark"] == "sciq")]
    failed = own["correct"] == 0
    kld, entropy = (auroc(own[c], failed, own["model"]) for c in ("kl_choice_mean", "entropy_reference"))
    row = found.loc[("sciq", "entropy_reference")]
    assert row["auroc"] == pytest.approx(entropy.estimate)
    assert (row["low"], row["high"]) == pytest.approx(entropy.interval(own["item"], 0.95))
    half = half_width(kld.influence - entropy.influence, own["item"], 0.95)
    gain = kld.estimate - entropy.estimate
    assert (row["gain"], row["gain_low"], row["gain_high"]) == pytest.approx((gain, gain - half, gain + half))
    assert found.loc[("sciq", "kl_choice_mean"), "auroc"] == pytest.approx(kld.estimate)
    assert np.isnan(found.loc[("sciq", "kl_choice_mean"), "gain"])
    assert (found.loc[ALL_BENCHMARKS, "items"] == 3 * 1000).all()
    constant = found.loc[("sciq", "nll_reference")]
    assert constant["auroc"] == 0.5
    assert np.isnan(constant["low"])


def test_difficulty_alone_gives_kld_no_gain_over_it():
    rng = np.random.default_rng(5)
    items, names = drawn(rng, 700, 4)
    table = baseline_table(items, **call(names), minimum_failed=5).set_index("predictor")
    assert table.loc["kl", "low"] > 0.55
    assert table.loc["prompt_tokens", "gain_high"] < 0
    assert list(table.index) == ["kl", "prompt_tokens"]
    within = within_table(items, **call(names), epsilon=1e-12).set_index("form")
    assert within.loc["centred by quant", "low"] < 0.5 < within.loc["centred by quant", "high"]


def test_items_without_a_value_are_left_out_of_both(items):
    gaps = items.assign(entropy_reference=items["entropy_reference"].where(items["item"].astype(int) % 2 == 0))
    table = baseline_table(gaps, benchmarks=["sciq"], minimum_failed=5, **WHAT).set_index("predictor")
    assert table.loc["entropy_reference", "items"] == 3 * 150
    assert table.loc["kl_choice_mean", "items"] == 3 * 300


# --- quants on one prompt ---------------------------------------------------------------------------------------------


def test_pairs_within_a_prompt_are_counted_by_hand():
    values = np.array([[1.0, 2.0, 2.0], [5.0, 1.0, np.nan], [1.0, 2.0, 3.0]])
    failed = np.array([[True, True, False], [True, False, False], [True, True, True]])
    wins, pairs = pairs_within(values, failed)
    assert wins.tolist() == [0.5, 1.0, 0.0]
    assert pairs.tolist() == [2.0, 1.0, 0.0]


def test_within_prompt_auroc_is_the_share_of_pairs(items):
    items = items[items["item"].astype(int) < 40]
    table = within_table(items, benchmarks=["sciq", "arc_easy"], epsilon=1e-7, **WHAT).set_index(["benchmark", "form"])
    own = items[items["model"].isin(MODELS) & (items["benchmark"] == "sciq")]
    pairs = [
        (a.kl_choice_mean > b.kl_choice_mean) + 0.5 * (a.kl_choice_mean == b.kl_choice_mean)
        for _, part in own.groupby("item")
        for a in part.itertuples()
        for b in part.itertuples()
        if a.correct == 0 and b.correct == 1
    ]
    row = table.loc[("sciq", FORMS[0])]
    assert row["auroc"] == pytest.approx(np.mean(pairs))
    assert row["pairs"] == len(pairs)
    assert set(table.index.get_level_values("benchmark")) == {"sciq", "arc_easy", ALL_BENCHMARKS}


def test_centring_by_quant_takes_away_what_holds_for_a_whole_quant():
    rng = np.random.default_rng(6)
    items, names = drawn(rng, 200, 5)
    worse = items["model"].map({n: 3.0**i for i, n in enumerate(names)}).fillna(1.0)
    forms = within_table(items.assign(kl=items["kl"] * worse), **call(names), epsilon=1e-12).set_index("form")["auroc"]
    plain = within_table(items, **call(names), epsilon=1e-12).set_index("form")["auroc"]
    assert forms[FORMS[1]] == pytest.approx(plain[FORMS[1]])
    assert forms[FORMS[0]] != pytest.approx(plain[FORMS[0]])


def test_within_prompt_interval_covers_one_half_where_kld_knows_nothing():
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(400):
        hard = rng.standard_normal((60, 1))
        failed = hard + rng.standard_normal((60, 4)) > 0.3
        wins, pairs = pairs_within(2 * hard + rng.standard_normal((60, 4)), failed)
        _, low, high = clustered_share(wins, pairs, np.arange(60), 0.95)
        inside += low <= 0.5 <= high
    assert 0.91 <= inside / 400 <= 0.985


# --- drops and leapfrogs ----------------------------------------------------------------------------------------------


def test_flips_are_aurocs_of_two_sets_of_items(items):
    table = flip_signal_table(items, benchmarks=["sciq"], minimum_failed=5, **WHAT).set_index("label")
    wide = items[items["benchmark"] == "sciq"].pivot(index="item", columns="model", values="correct")
    own = items[(items["benchmark"] == "sciq") & (items["model"] == "hqq-2-g64")].set_index("item").loc[wide.index]
    known = wide["reference"] == 1
    drop = auroc(own.loc[known, "kl_choice_mean"], own.loc[known, "correct"] == 0)
    leap = auroc(own.loc[~known, "kl_choice_mean"], own.loc[~known, "correct"] == 1)
    row = table.loc["hqq-2-g64"]
    assert (row["auroc_drop"], row["auroc_leapfrog"]) == pytest.approx((drop.estimate, leap.estimate))
    assert row["drop_less_leapfrog"] == pytest.approx(drop.estimate - leap.estimate)
    counts = row[["drops", "stayed_right", "leapfrogs", "stayed_wrong"]]
    assert counts.sum() == 300
    assert counts["drops"] == (known & (wide["hqq-2-g64"] == 0)).sum()
    one, other = (half_width(a.influence, np.arange(a.influence.size), 0.95) for a in (drop, leap))
    half = row["drop_less_leapfrog_high"] - row["drop_less_leapfrog"]
    assert half == pytest.approx(np.hypot(one, other), rel=0.04)  # t has other degrees of freedom


@pytest.mark.parametrize(("direction", "found"), [(0.0, False), (1.0, True)])
def test_only_direction_sets_drops_and_leapfrogs_apart(direction, found):
    rng = np.random.default_rng(9)
    items, names = drawn(rng, 800, 4, difficulty=0.0, direction=direction)
    row = flip_signal_table(items, **call(names), minimum_failed=5).set_index("label").loc[ALL_QUANTS]
    assert (row["drop_less_leapfrog_low"] > 0) == found
    assert (row["auroc_drop_low"] > 0.5) == found
    assert (row["auroc_leapfrog_high"] < 0.5) == found


def test_too_few_flips_are_named(items):
    few = flip_signal_table(items, benchmarks=["sciq"], minimum_failed=40, **WHAT).set_index("label")
    note = few.loc["torchao-8-g32", "note"]
    assert "drops: Too few items of one outcome" in note
    assert "leapfrogs:" in note
    assert np.isnan(few.loc["torchao-8-g32", "drop_less_leapfrog"])
    with pytest.raises(StatisticsError, match="none of nobody"):
        flip_signal_table(items, benchmarks=["sciq"], minimum_failed=5, **WHAT | {"reference": "nobody"})
    with pytest.raises(StatisticsError, match="Flips are counted against a reference"):
        flip_signal_table(items, benchmarks=["sciq"], minimum_failed=5, **WHAT | {"reference": None})
