"""Tables of correlations: who enters, what is refused, dropped by name and left out, and published cohorts."""

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from correlation_columns import METHODS, scipy_correlation
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.metric_correlations import correlation_table
from qkld.statistics.correlation.twoway import draw_items
from qkld.study.registry import CORRELATION

SETTINGS = Resampling(confidence=0.95, resamples=400, permutations=199, seed=3)


def cohort_of(rng, quants=10, items=80):
    """A cohort with reference and floor rows, and its answers (models, items) on one task."""
    labels = ["reference", "floor", *(f"q{i}" for i in range(quants))]
    answers = rng.random((len(labels), items)) < np.linspace(0.8, 0.4, len(labels))[:, None]
    cohort = pd.DataFrame(
        {
            "label": labels,
            "role": ["reference", "floor"] + ["quant"] * quants,
            "family": ["a", "b"] * (len(labels) // 2),
            "kl_mean": np.exp(rng.normal(size=len(labels))),
            "score_t": answers.mean(axis=1),
            "composite": np.nan,
        }
    )
    return cohort, answers


def test_table_takes_quants_only(rng):
    cohort, _ = cohort_of(rng)
    table = correlation_table(cohort, ["kl_mean"], ["t", "composite"], resampling=SETTINGS)
    quants = cohort[cohort["role"] == "quant"]
    assert tuple(table.columns) == CORRELATION
    assert table["estimate"].iloc[0] == stats.spearmanr(quants["kl_mean"], quants["score_t"]).statistic
    assert table["n"].tolist() == [10, 10]
    assert table["range_metric"].iloc[0] == 1
    assert np.isnan(table["estimate"].iloc[1])
    assert "'composite' has missing values for some quants" in table["note"].iloc[1]
    assert "10 of 10 missing" in table["note"].iloc[1]


def test_scattered_gaps_are_named_and_refused_or_dropped(rng):
    cohort, _ = cohort_of(rng)
    cohort.loc[cohort["label"].isin(["q3", "q7"]), "score_t"] = np.nan
    with pytest.raises(StatisticsError, match="score_t of q3, score_t of q7"):
        correlation_table(cohort, ["kl_mean"], ["t"], resampling=SETTINGS)
    row = correlation_table(cohort, ["kl_mean"], ["t"], resampling=SETTINGS, missing="drop").iloc[0]
    kept = cohort[(cohort["role"] == "quant") & cohort["score_t"].notna()]
    assert row["n"] == 8
    assert row["estimate"] == stats.spearmanr(kept["kl_mean"], kept["score_t"]).statistic
    assert row["note"].startswith("left out for missing values: q3, q7")


@pytest.mark.parametrize("method", METHODS)
def test_items_give_the_two_way_interval(method, rng):
    cohort, answers = cohort_of(rng)
    items = draw_items({"t": answers}, cohort["label"], resamples=400, rng=SETTINGS.rng("items"))
    quants = cohort.set_index("label").drop(["reference", "floor"])
    row = correlation_table(cohort, ["kl_mean"], ["t"], resampling=SETTINGS, items=items, method=method).iloc[0]
    draws = []
    for counts, scores in zip(SETTINGS.counts(10).astype(int), items.redrawn["t"][:, 2:], strict=True):
        a, b = np.repeat(quants["kl_mean"].to_numpy(), counts), np.repeat(scores, counts)
        if np.ptp(a) and np.ptp(b):
            draws.append(scipy_correlation(a, b, method))
    assert (row["twoway_low"], row["twoway_high"]) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))
    assert not row["note"]


def test_two_way_interval_is_wider_where_items_are_few(rng):
    cohort, answers = cohort_of(rng, items=40)
    items = draw_items({"t": answers}, cohort["label"], resamples=400, rng=SETTINGS.rng("items"))
    with_items, without = (
        correlation_table(cohort, ["kl_mean"], ["t"], resampling=SETTINGS, items=i).iloc[0] for i in (items, None)
    )
    assert np.isnan(without["twoway_low"])
    assert with_items["twoway_high"] - with_items["twoway_low"] > with_items["high"] - with_items["low"]


def test_a_zero_left_out_of_logarithms_is_left_out_of_the_items_too(rng):
    cohort, answers = cohort_of(rng)
    cohort.loc[cohort["label"] == "q4", "kl_mean"] = 0.0
    items = draw_items({"t": answers}, cohort["label"], resamples=400, rng=SETTINGS.rng("items"))
    tables = {"resampling": SETTINGS, "items": items, "method": "pearson_log"}
    row = correlation_table(cohort, ["kl_mean"], ["t"], **tables).iloc[0]
    rest = correlation_table(cohort[cohort["label"] != "q4"], ["kl_mean"], ["t"], **tables).iloc[0]
    assert (row["n"], row["zeros"]) == (9, 1)
    assert row["twoway_low"] == rest["twoway_low"]
    assert row["p_within_families"] == rest["p_within_families"]


def published(name, scores):
    """A published cohort as a cohort of quants, its composite the mean of the benchmarks."""
    table = pd.read_csv(REPOSITORY / "src" / "qkld" / "report" / "published_tables" / f"{name}.csv")
    roles = np.where(table["quant"].str.lower().isin(["f16", "f32", "bf16"]), "reference", "quant")
    return table.assign(label=table["quant"], role=roles, composite=table[scores].mean(axis=1))


def test_published_cohort_with_a_collapse():
    scores = ["hellaswag", "winogrande", "mmlu", "arc_challenge", "truthfulqa"]
    cohort = published("apex_qwen3.5-35b-a3b", scores)
    full = correlation_table(cohort, ["kl_mean"], ["composite"], resampling=SETTINGS).iloc[0]
    zone = correlation_table(
        cohort[cohort["kl_mean"] < 0.02], ["kl_mean"], ["composite"], resampling=SETTINGS, whole=cohort
    ).iloc[0]
    assert (full["n"], zone["n"]) == (14, 9)
    assert full["estimate"] == pytest.approx(-0.55, abs=0.005)
    assert zone["estimate"] == pytest.approx(-0.02, abs=0.005)
    assert zone["range_metric"] < 0.6
    assert zone["zmax_low"] < full["estimate"] < zone["zmax_high"], "nine quants do not exclude the whole cohort's ρ"


def test_published_cohort_without_a_collapse():
    scores = ["arc_easy_norm", "hellaswag_norm", "piqa_norm", "winogrande"]
    cohort = published("evopress_llama3.1-8b-instruct", scores)
    reference = cohort.loc[cohort["role"] == "reference", "composite"].item()
    near = cohort[cohort["composite"] >= 0.99 * reference]
    texts = ["ppl_c4", "ppl_fineweb_edu", "ppl_wikitext2"]
    full = correlation_table(cohort, texts, ["composite"], resampling=SETTINGS)
    zone = correlation_table(near, texts, ["composite"], resampling=SETTINGS, whole=cohort)
    assert full["n"].tolist() == [27] * 3
    assert zone["n"].tolist() == [17] * 3
    assert full["estimate"].between(-0.97, -0.93).all()
    assert zone["estimate"].between(-0.845, -0.765).all()
    assert (zone["zmax_high"] < 0).all()
