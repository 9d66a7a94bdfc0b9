"""Mean KLD of the later half of the positions over that of the earlier half, and its interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from simulated_tokens import token_table

from qkld.statistics.tokens.breakdown import breakdown
from qkld.statistics.tokens.halves import half_ratios, later_over_earlier

HOW = {"confidence": 0.95, "bootstrap": 100}


def growing(rng: np.random.Generator, times: float, **more: int) -> pd.DataFrame:
    """Tokens whose KL is as many times as large in the later half of each window."""
    table = token_table(rng, **more)
    later = table["position"] >= table["position"].quantile(0.5, interpolation="higher")
    return table.assign(kl=table["kl"] * np.where(later, times, 1.0))


def of(table: pd.DataFrame, label: str = "q", **more: object) -> pd.DataFrame:
    return breakdown(table, label, **HOW, **more, rng=np.random.default_rng(1))


def test_the_ratio_is_that_of_both_halves_of_the_windows(rng: np.random.Generator) -> None:
    table = growing(rng, 1.4, windows=60)
    found = half_ratios(of(table)).loc["q"]
    later = table["position"] >= found["split"]
    assert later.mean() == pytest.approx(0.5)
    assert found["estimate"] == pytest.approx(table["kl"][later].mean() / table["kl"][~later].mean(), rel=1e-12)
    assert found["low"] < 1.4 < found["high"]


def test_its_interval_is_that_of_resampled_windows_which_both_halves_share(rng: np.random.Generator) -> None:
    """Windows differ by more than their halves do, so halves taken as apart would have an interval twice as wide."""
    hard = np.exp(rng.normal(0, 0.8, 200))
    table = growing(rng, 1.0, windows=200).assign(kl=lambda t: t["kl"] * hard[t["window"]])
    later, windows = (table["position"] >= 487).to_numpy(), table["window"].to_numpy()
    found = later_over_earlier(table["kl"].to_numpy(), later, windows, 0.95)
    sums = [table["kl"].where(half, 0.0).groupby(windows).sum().to_numpy() for half in (later, ~later)]
    drawn = rng.integers(200, size=(4000, 200))
    ends = np.quantile(sums[0][drawn].sum(1) / sums[1][drawn].sum(1), [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(tuple(ends), rel=0.02)
    apart = np.sqrt(sum(s.var() / s.mean() ** 2 / 200 for s in sums))
    assert np.log(found.high / found.low) < 0.6 * 2 * 1.96 * apart


def test_the_interval_holds_one_as_often_as_it_says() -> None:
    held = []
    for seed in range(400):
        table = token_table(np.random.default_rng(seed), windows=40, tokens=20)
        later = (table["position"] >= 502).to_numpy()
        found = later_over_earlier(table["kl"].to_numpy(), later, table["window"].to_numpy(), 0.95)
        held.append(found.low <= 1 <= found.high)
    assert 0.92 <= np.mean(held) <= 0.98


@pytest.mark.parametrize("halves", ["one position", "no KLD in the earlier half"])
def test_without_two_halves_there_is_no_ratio(rng: np.random.Generator, halves: str) -> None:
    table = growing(rng, 1.0)
    if halves == "one position":
        table = table[table["position"] == 500]
    else:
        table["kl"] = table["kl"].where(table["position"] >= 487, 0.0)
    row = of(table).query("metric == 'kl_ratio'").iloc[0]
    assert np.isnan(row["estimate"])
    assert row["note"] == "a half without KLD: no ratio"


def test_tables_that_were_made_before_give_it_by_their_buckets(rng: np.random.Generator) -> None:
    made = pd.concat([of(growing(rng, 1.5, windows=30), label) for label in ("q", "kept")])
    older = made[(made["label"] == "q") | (made["metric"] != "kl_ratio")]
    found = half_ratios(older)
    assert found.loc["kept", "estimate"] == pytest.approx(half_ratios(made).loc["kept", "estimate"], rel=0.02)
    assert found["low"].notna().to_dict() == {"q": True, "kept": False}
    alone = half_ratios(older[(older["by"] != "position") | (older["bucket"] == 0)])
    assert np.isnan(alone.loc["kept", "estimate"])
