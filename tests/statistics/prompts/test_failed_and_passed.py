"""Failed-to-passed ratio and AUROC against their definitions, and the interval's coverage."""

import numpy as np
import pandas as pd
import pytest
from prompts_of_items import from_items
from scipy import stats
from simulated_study import BENCHMARKS, simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.core.auroc import auroc
from qkld.statistics.prompts import failed_and_passed
from qkld.statistics.prompts.failed_and_passed import log_ratio, ratio_interval
from qkld.statistics.prompts.prompt_rows import ALL_BENCHMARKS, ALL_QUANTS, prompt_rows, short_benchmarks

prompt_table = from_items(failed_and_passed.prompt_table)

SETTINGS = {"divergence": "kl_choice_mean", "minimum_failed": 10, "epsilon": 1e-7, "confidence": 0.95}


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    return simulated_study()[1]


def draw(rng, n=120):
    return np.exp(rng.normal(size=n)), rng.random(n) < 0.4


def test_ratio_is_that_of_geometric_means(rng):
    kld, failed = draw(rng)
    ratio = np.exp(log_ratio(kld, failed, epsilon=1e-300).estimate)
    assert ratio == pytest.approx(stats.gmean(kld[failed]) / stats.gmean(kld[~failed]), rel=1e-12)


def test_epsilon_gives_a_zero_a_logarithm(rng):
    kld, failed = draw(rng)
    kld[:3] = 0
    assert np.isfinite(log_ratio(kld, failed, epsilon=1e-7).estimate)


def test_swapping_failed_and_passed_inverts_the_ratio(rng):
    kld, failed = draw(rng)
    one, other = log_ratio(kld, failed, epsilon=1e-7), log_ratio(kld, ~failed, epsilon=1e-7)
    assert one.estimate == pytest.approx(-other.estimate)
    clusters = np.arange(kld.size)
    low, high = ratio_interval(one.estimate, one.influence, clusters, 0.95)
    assert ratio_interval(other.estimate, other.influence, clusters, 0.95) == pytest.approx((1 / high, 1 / low))


def test_order_of_items_does_not_matter(rng):
    kld, failed = draw(rng)
    order = rng.permutation(kld.size)
    one, other = (log_ratio(k, f, epsilon=1e-7) for k, f in ((kld, failed), (kld[order], failed[order])))
    assert one.estimate == pytest.approx(other.estimate)
    assert one.within_sd == pytest.approx(other.within_sd)


def test_interval_is_close_to_welchs_with_one_row_a_prompt(rng):
    kld, failed = draw(rng, 400)
    result = log_ratio(kld, failed, epsilon=1e-7)
    logs = np.log(kld + 1e-7)
    welch = stats.ttest_ind(logs[failed], logs[~failed], equal_var=False).confidence_interval(0.95)
    low, high = ratio_interval(result.estimate, result.influence, np.arange(400), 0.95)
    assert np.log([low, high]) == pytest.approx([welch.low, welch.high], abs=0.01)


def test_clustered_interval_covers_where_prompts_are_shared(rng):
    inside = naive = 0
    for _ in range(300):
        shared = rng.normal(size=80)
        failed = (np.repeat(0.8 * rng.normal(size=80), 5) + rng.normal(size=400)) > 0.3
        logs = np.repeat(shared, 5) + 0.5 * rng.normal(size=400)
        result = log_ratio(np.exp(logs), failed, epsilon=1e-12)
        prompts = np.repeat(np.arange(80), 5)
        low, high = ratio_interval(result.estimate, result.influence, prompts, 0.95)
        inside += low <= 1 <= high
        low, high = ratio_interval(result.estimate, result.influence, np.arange(400), 0.95)
        naive += low <= 1 <= high
    assert 0.91 <= inside / 300 <= 0.985
    assert naive < inside


@pytest.mark.parametrize(
    ("kld", "failed", "found"),
    [
        ([1.0, 2.0, 3.0], [True, False, False], "1 failed, 2 passed"),
        ([1.0, np.nan, 3.0, 4.0], [True, True, False, False], "1 missing or negative"),
        ([1.0, -2.0, 3.0, 4.0], [True, True, False, False], "1 missing or negative"),
    ],
)
def test_refusals(kld, failed, found):
    with pytest.raises(StatisticsError, match=found):
        log_ratio(kld, failed, epsilon=1e-7)


def test_table_names_what_it_leaves_out(items):
    models = ["torchao-8-g32", "torchao-4-g64", "hqq-2-g64"]
    few = items[(items["benchmark"] != "sciq") | (items["item"].astype(int) < 12)]
    table = prompt_table(few, models=models, benchmarks=list(BENCHMARKS), **SETTINGS).set_index(["benchmark", "label"])
    assert len(table) == 4 * 4  # three benchmarks and all, three quants and all
    row = table.loc["sciq", "torchao-8-g32"]
    assert np.isnan(row["ratio"])
    assert "at least 10 of each" in row["note"]
    row = table.loc["arc_easy", "torchao-4-g64"]
    own = items[(items["model"] == "torchao-4-g64") & (items["benchmark"] == "arc_easy")]
    failed = own["correct"] == 0
    kld = own["kl_choice_mean"] + 1e-7
    assert row["ratio"] == pytest.approx(stats.gmean(kld[failed]) / stats.gmean(kld[~failed]))
    assert row["failed"] == failed.sum()
    assert row["low"] < row["ratio"] < row["high"]


def test_pool_is_the_geometric_mean_of_the_ratios(items):
    models = ["torchao-8-g32", "torchao-4-g64", "hqq-2-g64"]
    table = prompt_table(items, models=models, benchmarks=["arc_easy"], **SETTINGS).set_index("label")
    assert table.loc[ALL_QUANTS, "ratio"] == pytest.approx(stats.gmean(table.loc[models, "ratio"]))
    assert "3 of 3 quants" in table.loc[ALL_QUANTS, "note"]
    assert table.loc[ALL_QUANTS, "low"] < table.loc[ALL_QUANTS, "ratio"] < table.loc[ALL_QUANTS, "high"]


def test_pooled_auroc_compares_items_of_one_quant(items):
    models = ["torchao-8-g32", "torchao-4-g64", "hqq-2-g64"]
    table = prompt_table(items, models=models, benchmarks=list(BENCHMARKS), **SETTINGS).set_index(
        ["benchmark", "label"]
    )
    part = items[items["model"].isin(models)]
    own = part[part["benchmark"] == "arc_easy"]
    expected = auroc(own["kl_choice_mean"], own["correct"] == 0, own["model"])
    row = table.loc[("arc_easy", ALL_QUANTS)]
    assert row["auroc"] == pytest.approx(expected.estimate)
    assert (row["auroc_low"], row["auroc_high"]) == pytest.approx(expected.interval(own["item"], 0.95))
    raised = items.assign(kl_choice_mean=items["kl_choice_mean"] * items["model"].map({models[0]: 1e3}).fillna(1.0))
    again = prompt_table(raised, models=models, benchmarks=["arc_easy"], **SETTINGS).set_index("label")
    assert again.loc[ALL_QUANTS, "auroc"] == pytest.approx(row["auroc"])
    whole = table.loc[(ALL_BENCHMARKS, ALL_QUANTS)]
    assert whole["ratio"] == pytest.approx(
        stats.gmean([table.loc[(b, m), "ratio"] for b in BENCHMARKS for m in models])
    )
    assert whole["items"] == len(part)
    assert "3 of 3 quants and 3 of 3 benchmarks" in whole["note"]


def test_questions_on_one_passage_are_one_cluster(items):
    own = items[items["model"].isin(["torchao-4-g64"])]
    passages = own.assign(cluster=own["item"].astype(int) // 20)
    alone, together = (
        prompt_table(rows, models=["torchao-4-g64"], benchmarks=["arc_easy"], **SETTINGS).iloc[0]
        for rows in (own, passages)
    )
    logs, failed = np.log(own["kl_choice_mean"] + 1e-7), own["correct"] == 0
    kept = (own["benchmark"] == "arc_easy").to_numpy()
    expected = log_ratio(np.exp(logs[kept]) - 1e-7, failed[kept], epsilon=1e-7)
    assert (together["low"], together["high"]) == pytest.approx(
        ratio_interval(expected.estimate, expected.influence, passages["cluster"][kept], 0.95)
    )
    assert alone["ratio"] == together["ratio"]
    assert alone["low"] != together["low"]


def test_a_reference_at_its_floor_or_ceiling_is_left_out(items):
    known = items["model"] == "reference"
    weak = items.assign(
        correct=items["correct"]
        .mask(known & (items["benchmark"] == "openbookqa"), 0)
        .mask(known & (items["benchmark"] == "sciq"), 1)
    )
    models = ["torchao-4-g64", "hqq-2-g64"]
    table = prompt_table(
        weak, models=models, benchmarks=list(BENCHMARKS), reference="reference", minimum_reference=20, **SETTINGS
    ).set_index(["benchmark", "label"])
    for benchmark, note in (("openbookqa", "floor: 0 items right and 300 wrong"), ("sciq", "ceiling: 300 items right")):
        assert table.loc[benchmark, "ratio"].isna().all()
        assert table.loc[benchmark, "note"].str.contains(note).all()
    ratios = table["ratio"]
    assert ratios[ALL_BENCHMARKS, ALL_QUANTS] == pytest.approx(ratios["arc_easy", ALL_QUANTS])
    rows = prompt_rows(
        weak, models=models, benchmarks=list(BENCHMARKS), reference="reference", needs=["kl_choice_mean"]
    )
    together = {"openbookqa": "science", "sciq": "science"}
    assert short_benchmarks(rows, 20, together) == {}  # 300 right and 300 wrong between them
    assert set(short_benchmarks(rows, 301, together)) == {*together, "arc_easy"}
    assert short_benchmarks(rows, 301, together)["sciq"].startswith("family science: reference at the")
    passages = weak.assign(cluster=weak["item"].str[-1])  # ten clusters a benchmark
    clustered = prompt_rows(
        passages, models=models, benchmarks=["arc_easy"], reference="reference", needs=["kl_choice_mean"]
    )
    assert "10 items right and 10 wrong" in short_benchmarks(clustered, 11)["arc_easy"]
    assert short_benchmarks(clustered, 10) == {}
    with pytest.raises(StatisticsError, match="none of nobody"):
        prompt_table(items, models=["nobody"], benchmarks=["sciq"], **SETTINGS)
    with pytest.raises(StatisticsError, match="no kl_answer"):
        prompt_table(items, models=models, benchmarks=["sciq"], **SETTINGS | {"divergence": "kl_answer"})


def test_zeros_and_missing_divergences_are_counted(items):
    own = items[items["model"].isin(["torchao-8-g32", "torchao-4-g64"])].copy()
    target = own.index[(own["model"] == "torchao-8-g32") & (own["benchmark"] == "arc_easy")]
    own.loc[target[:40], "kl_choice_mean"] = 0.0
    own.loc[target[40:45], "kl_choice_mean"] = np.nan
    table = prompt_table(own, models=["torchao-8-g32", "torchao-4-g64"], benchmarks=["arc_easy"], **SETTINGS)
    row = table.iloc[0]
    assert (row["zeros"], row["missing"], row["items"]) == (40, 5, 395)
    assert row["share_zero"] == pytest.approx(40 / 395)
