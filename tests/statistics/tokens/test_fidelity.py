"""Fidelity metrics of a token table against their definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from simulated_tokens import token_table

from qkld.errors import StatisticsError
from qkld.statistics.tokens.fidelity import METRICS, QUANTILES, SECOND_WALK, summarise


def summary(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    made = summarise(table, "q", confidence=0.95, bootstrap=200, rng=np.random.default_rng(seed))
    return made.set_index(["corpus", "context", "metric"])


def test_every_metric_equals_its_definition() -> None:
    table = token_table(np.random.default_rng(1))
    found = summary(table).loc[("prose", 512), "estimate"]
    shift = table["p_quant"] - table["p_reference"]
    ratio = np.exp((table["nll_quant"] - table["nll_reference"]).mean())
    expected = {
        "kl_mean": table["kl"].mean(),
        **{name: table["kl"].quantile(q) for name, q in QUANTILES.items()},
        "kl_max": table["kl"].max(),
        "kl_reverse_mean": table["kl_reverse"].mean(),
        "ppl": np.exp(table["nll_quant"].mean()),
        "ppl_reference": np.exp(table["nll_reference"].mean()),
        "ppl_ratio": ratio,
        "abs_log_ppl_ratio": abs(np.log(ratio)),
        "top1_agreement": table["same_top1"].mean(),
        "top5_agreement": table["top5_shared"].mean(),
        "dp_mean": shift.mean(),
        "dp_rms": np.sqrt((shift**2).mean()),
    }
    assert dict(found) == pytest.approx(expected, rel=1e-12)
    assert set(METRICS) | set(QUANTILES) == set(expected) | set(SECOND_WALK)


def test_the_second_walk_adds_its_metrics_and_changes_no_other() -> None:
    table = token_table(np.random.default_rng(1))
    rng = np.random.default_rng(6)
    walked = table.assign(
        total_variation=rng.uniform(0, 0.2, len(table)), jensen_shannon=rng.uniform(0, 0.1, len(table))
    )
    found = summary(walked).loc[("prose", 512), "estimate"]
    assert found["acceptance_rate"] == pytest.approx(1 - walked["total_variation"].mean(), rel=1e-12)
    assert found["jensen_shannon_mean"] == pytest.approx(walked["jensen_shannon"].mean(), rel=1e-12)
    pd.testing.assert_frame_equal(summary(walked).drop(index=list(SECOND_WALK), level="metric"), summary(table))


def test_every_interval_holds_its_estimate_and_stays_in_its_range() -> None:
    made = summary(token_table(np.random.default_rng(2)))
    for low, high in (("low", "high"), ("bootstrap_low", "bootstrap_high")):
        with_ends = made[made[low].notna()]
        assert (with_ends[low] <= with_ends["estimate"] + 1e-12).all()
        assert (with_ends["estimate"] <= with_ends[high] + 1e-12).all()
    assert made.xs("top1_agreement", level="metric")["high"].max() <= 1.0
    assert made.xs("kl_max", level="metric")["low"].isna().all()


def test_tokens_that_are_not_finite_are_counted_and_left_out() -> None:
    table = token_table(np.random.default_rng(3))
    broken = table.copy()
    broken.loc[:9, ["kl", "kl_reverse", "nll_reference", "nll_quant", "p_reference", "p_quant"]] = np.nan
    made = summary(broken)
    assert (made["nonfinite"] == 10).all()
    assert (made["tokens"] == 390).all()
    assert made.loc[("prose", 512, "kl_mean"), "estimate"] == pytest.approx(table["kl"][10:].mean())


def test_a_corpus_without_a_finite_token_is_refused() -> None:
    table = token_table(np.random.default_rng(4))
    table["kl"] = np.nan
    with pytest.raises(StatisticsError, match="400 of 400 tokens not finite"):
        summary(table)


def test_corpora_and_contexts_are_kept_apart() -> None:
    rng = np.random.default_rng(5)
    both = pd.concat([token_table(rng), token_table(rng, corpus="code", windows=2)])
    made = summary(both)
    assert made.loc[("code", 512, "kl_mean"), "tokens"] == 100
    assert made.loc[("prose", 512, "kl_mean"), "clusters"] == 8


def test_the_order_of_tokens_changes_nothing() -> None:
    table = token_table(np.random.default_rng(6))
    shuffled = table.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(summary(table), summary(shuffled), rtol=1e-10)


def test_means_have_both_intervals_and_quantiles_the_bootstraps() -> None:
    made = summary(token_table(np.random.default_rng(7))).loc[("prose", 512)]
    ends = made[["low", "high", "bootstrap_low", "bootstrap_high"]]
    assert ends.drop(index="kl_max").notna().all(axis=None)
    quantiles = ends.loc[list(QUANTILES)].to_numpy()
    assert (quantiles[:, :2] == quantiles[:, 2:]).all()
    means = ends.loc[["kl_mean", "ppl_ratio", "top1_agreement"]].to_numpy()
    assert (means[:, :2] != means[:, 2:]).any(axis=1).all()


def test_few_clusters_are_noted_in_every_row() -> None:
    table = token_table(np.random.default_rng(8))
    few = summary(table)["note"].xs("prose", level="corpus").droplevel("context")
    assert few.str.startswith("8 clusters: intervals are rough below 40").all()
    enough = summary(table.assign(cluster=np.arange(len(table)) // 10))["note"].droplevel(["corpus", "context"])
    assert set(enough[enough != ""].index) == {"kl_p90", "kl_p95", "kl_p99", "kl_p99_9"}  # 40 to 0.4 of 400 tokens
    assert enough["kl_p99"] == "fewer than 5 tokens lie beyond it"


@pytest.mark.parametrize(("windows", "noted"), [(40, {"kl_p99", "kl_p99_9"}), (600, set())])
def test_tails_that_few_windows_hold_are_noted(windows: int, noted: set[str]) -> None:
    """128 tokens a window, a tenth of the variance of ln KLD common to each: at 40 the p99 interval held it in .92."""
    rng = np.random.default_rng(9)
    whole = token_table(rng, windows=windows, tokens=128)
    common = rng.standard_normal(windows)[whole["window"]]
    log_kl = np.sqrt(0.1) * common + np.sqrt(0.9) * rng.standard_normal(len(whole))
    notes = summary(whole.assign(kl=np.exp(log_kl)))["note"]
    found = notes[notes.str.contains("clusters hold tokens beyond it")].index.get_level_values("metric")
    assert set(found) - {"kl_p95"} == noted
