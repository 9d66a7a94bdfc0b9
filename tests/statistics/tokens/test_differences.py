"""Paired differences against definitions, known sample sizes and simulation; tables that do not pair are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_tokens import moved, token_table
from statsmodels.stats.power import TTestPower

from qkld.errors import StatisticsError
from qkld.statistics.tokens.clusters import clustered_mean
from qkld.statistics.tokens.differences import (
    clusters_needed,
    detectable_difference,
    floor_means,
    paired_difference,
    paired_table,
    same_tokens,
    sign_test,
    t_p_value,
)
from qkld.study.registry import registered

HOW = {"confidence": 0.95, "bootstrap": 100, "power": 0.8}


def compared(a: pd.DataFrame, b: pd.DataFrame, seed: int = 0, **more: object) -> pd.Series:
    return paired_difference(a, b, ("a", "b"), **{**HOW, **more}, rng=np.random.default_rng(seed)).iloc[0]


# --- the same tokens


@pytest.mark.parametrize(
    ("column", "value"), [("token", 1001), ("position", 99), ("cluster", 77), ("corpus", "code"), ("context", 64)]
)
def test_tables_of_other_tokens_are_refused(rng: np.random.Generator, column: str, value: object) -> None:
    a = token_table(rng)
    b = a.copy()
    b.loc[60, column] = value
    with pytest.raises(StatisticsError, match=f"not measured on the same tokens[^!]*{column} {value}"):
        same_tokens(a, b, ("a", "b"))


def test_tables_of_other_lengths_are_refused(rng: np.random.Generator) -> None:
    a = token_table(rng)
    with pytest.raises(StatisticsError, match=r"400 tokens, corpus prose.*position 511(.|\n)*399 tokens, none"):
        compared(a, a[:-1])
    with pytest.raises(StatisticsError, match=r"window 0, position 463"):
        compared(a, a[1:])


def test_tables_of_other_windows_are_refused(rng: np.random.Generator) -> None:
    a = token_table(rng)
    with pytest.raises(StatisticsError, match=r"window 7, position 462(.|\n)*window 8, position 462"):
        compared(a, a.assign(window=a["window"].replace(7, 8)))


def test_the_order_of_rows_changes_nothing(rng: np.random.Generator) -> None:
    a = token_table(rng)
    b = moved(a, rng, by=0.001, spread=0.001)
    shuffled = b.sample(frac=1, random_state=3)
    pd.testing.assert_series_equal(compared(a, b), compared(a, shuffled), rtol=1e-12)


# --- one pair


def test_the_difference_equals_its_definitions(rng: np.random.Generator) -> None:
    a = token_table(rng)
    b = moved(a, rng, by=0.001, spread=0.002)
    found = compared(a, b)
    difference = (b["kl"] - a["kl"]).to_numpy()
    alone = clustered_mean(difference, a["cluster"].to_numpy(), 0.95)
    assert found["kld_difference"] == pytest.approx(b["kl"].mean() - a["kl"].mean(), rel=1e-12)
    assert (found["kld_a"], found["kld_b"]) == (a["kl"].mean(), b["kl"].mean())
    assert (found["low"], found["high"]) == pytest.approx((alone.low, alone.high), rel=1e-12)
    # windows are of one size, so the test is the one-sample t test of the windows' means
    means = pd.Series(difference).groupby(a["cluster"]).mean()
    assert found["t_p"] == pytest.approx(stats.ttest_1samp(means, 0).pvalue, rel=1e-9)
    assert found["lower_a"] == (means > 0).sum()
    assert found["sign_p"] == stats.binomtest(int((means > 0).sum()), 8).pvalue
    assert found["windows_needed"] == clusters_needed(means.mean() / means.std(ddof=1), confidence=0.95, power=0.8)
    assert list(found.index) == list(registered("paired_fidelity").columns)


def test_swapping_the_quants_turns_the_sign_and_nothing_else(rng: np.random.Generator) -> None:
    a = token_table(rng)
    b = moved(a, rng, by=0.001, spread=0.002)
    one, other = compared(a, b), compared(b, a)
    assert other["kld_difference"] == -one["kld_difference"]
    assert (other["low"], other["high"]) == (-one["high"], -one["low"])
    assert (other["lower_a"], other["lower_b"]) == (one["lower_b"], one["lower_a"])
    for column in ("t_p", "sign_p", "windows_needed", "detectable", "tied_clusters"):
        assert other[column] == one[column]


def test_pairing_finds_what_two_separate_intervals_hide(rng: np.random.Generator) -> None:
    a = token_table(rng)
    found = compared(a, moved(a, rng, by=0.001, spread=0.0005))
    alone = clustered_mean(a["kl"].to_numpy(), a["cluster"].to_numpy(), 0.95)
    assert found["t_p"] < 0.01
    assert alone.high - alone.low > 5 * (found["high"] - found["low"])


def test_a_quant_against_itself_is_no_difference_and_needs_endless_windows(rng: np.random.Generator) -> None:
    a = token_table(rng)
    found = compared(a, a)
    assert (found["kld_difference"], found["low"], found["high"]) == (0.0, 0.0, 0.0)
    assert (found["tied_clusters"], found["lower_a"], found["lower_b"]) == (8, 0, 0)
    assert found["windows_needed"] == np.inf
    assert np.isnan([found["t_p"], found["t_p_holm"], found["sign_p"]]).all()
    assert found["note"] == "no difference at any token"


def test_tokens_that_are_not_finite_in_either_are_left_out_and_counted(rng: np.random.Generator) -> None:
    a = token_table(rng)
    b = moved(a, rng, by=0.001, spread=0.001)
    a.loc[3, "kl"] = b.loc[4, "kl"] = b.loc[5, "kl"] = np.nan
    found = compared(a, b)
    assert (found["nonfinite"], found["tokens"]) == (3, 397)
    both = a["kl"].notna() & b["kl"].notna()
    assert found["kld_a"] == pytest.approx(a["kl"][both].mean(), rel=1e-12)
    with pytest.raises(StatisticsError, match="have no token of corpus 'prose'"):
        compared(a, b.assign(kl=np.nan))


def test_one_cluster_gives_a_difference_without_interval_or_test(rng: np.random.Generator) -> None:
    a = token_table(rng, windows=1)
    found = compared(a, moved(a, rng, by=0.001))
    assert found["kld_difference"] == pytest.approx(0.001)
    assert found[["low", "bootstrap_low", "t_p", "windows_needed", "detectable"]].isna().all()
    assert (found["sign_p"], found["note"]) == (1.0, "one cluster: no interval")


def test_the_interval_and_the_tests_hold_their_level() -> None:
    rng = np.random.default_rng(9)
    covered, rejected = 0, np.zeros(2)
    for _ in range(200):
        a = token_table(rng, windows=20, tokens=4)
        found = compared(a, moved(a, rng, by=0.0, spread=0.003), bootstrap=2)
        covered += found["low"] <= 0 <= found["high"]
        rejected += [found["t_p"] < 0.05, found["sign_p"] < 0.05]
    assert 0.90 <= covered / 200 <= 0.99  # Monte-Carlo standard error 0.015
    assert rejected[0] == 200 - covered
    assert rejected[1] / 200 <= 0.08  # the sign test of 20 clusters rejects in 4.1 %


# --- sign test and t


def test_ties_are_left_out_of_the_sign_test_and_counted() -> None:
    found = sign_test(np.array([0.1, 0.2, 0.3, 0.4, 0.5, -0.1, 0.0, 0.0]))
    assert found["tied_clusters"] == 2
    assert (found["lower_a"], found["lower_b"]) == (5, 1)
    assert found["sign_p"] == pytest.approx(2 * (1 + 6) / 2**6)  # P(X ≥ 5) of six throws, twice
    assert np.isnan(sign_test(np.zeros(3))["sign_p"])


def test_the_t_test_without_error_is_certain_and_without_both_empty() -> None:
    assert t_p_value(1.0, 0.0, 5) == 0.0
    assert np.isnan(t_p_value(0.0, 0.0, 5))
    assert np.isnan(t_p_value(1.0, 0.1, 1))
    assert t_p_value(-2.0, 1.0, 11) == pytest.approx(2 * stats.t.cdf(-2, 10))


# --- power


@pytest.mark.parametrize(("effect", "expected"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_sample_sizes_are_those_of_gpower(effect: float, expected: int) -> None:
    """G*Power 3.1, difference from a constant (one sample), two-sided α 0.05, power 0.8, at Cohen's three effects."""
    assert clusters_needed(effect, confidence=0.95, power=0.8) == expected
    assert clusters_needed(-effect, confidence=0.95, power=0.8) == expected


@pytest.mark.parametrize("effect", [0.04, 0.1, 0.6, 1.5, 4.0])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_as_many_clusters_have_the_power_and_one_less_has_not(effect: float, power: float) -> None:
    groups = clusters_needed(effect, confidence=0.9, power=power)
    assert TTestPower().power(effect, groups, 0.1) >= power
    assert groups == 2 or TTestPower().power(effect, groups - 1, 0.1) < power


def test_the_normal_form_for_large_samples_agrees_with_t() -> None:
    assert clusters_needed(0.005, confidence=0.95, power=0.8) == 313_956  # (1.95996 + 0.84162)² / 0.005²
    beyond, within = (clusters_needed(e, confidence=0.95, power=0.8) * e**2 for e in (0.0279, 0.0281))
    assert beyond == pytest.approx(within, rel=1e-3)


def test_the_planned_windows_find_the_difference_as_often_as_asked(rng: np.random.Generator) -> None:
    groups = int(clusters_needed(0.6, confidence=0.95, power=0.8))
    p = stats.ttest_1samp(rng.normal(0.6, 1.0, (4000, groups)), 0, axis=1).pvalue
    assert 0.78 <= (p < 0.05).mean() <= 0.84  # standard error 0.006; the whole number lies a little above 0.8


def test_no_effect_needs_endless_windows_and_an_unknown_one_is_unknown() -> None:
    assert clusters_needed(0.0, confidence=0.95, power=0.8) == np.inf
    assert clusters_needed(np.inf, confidence=0.95, power=0.8) == 2
    assert np.isnan(clusters_needed(np.nan, confidence=0.95, power=0.8))


def test_the_detectable_difference_is_found_with_the_power_asked(rng: np.random.Generator) -> None:
    true = detectable_difference(1 / np.sqrt(30), 30, confidence=0.95, power=0.8)
    assert true == pytest.approx((stats.t.ppf(0.975, 29) + stats.t.ppf(0.8, 29)) / np.sqrt(30))
    p = stats.ttest_1samp(rng.normal(true, 1.0, (4000, 30)), 0, axis=1).pvalue
    assert 0.77 <= (p < 0.05).mean() <= 0.83
    assert np.isnan(detectable_difference(np.nan, 1, confidence=0.95, power=0.8))


@pytest.mark.parametrize("power", [0.0, 1.0, np.nan])
def test_what_is_no_power_is_refused(power: float) -> None:
    with pytest.raises(StatisticsError, match="statistical power is out of range"):
        clusters_needed(0.5, confidence=0.95, power=power)


# --- many pairs


def test_neighbours_are_compared_with_two_tables_at_a_time(rng: np.random.Generator) -> None:
    first = pd.concat([token_table(rng), token_table(rng, corpus="code", windows=4)], ignore_index=True)
    tables = {"a": first, "b": moved(first, rng, by=0.001, spread=1e-4), "c": moved(first, rng, by=0.01, spread=0.01)}
    asked = []

    def tokens_of(label: str) -> pd.DataFrame:
        asked.append(label)
        return tables[label]

    table = paired_table(tokens_of, [("a", "b"), ("b", "c")], **HOW, seed=1, floor={("prose", 512): 0.002})
    assert asked == ["a", "b", "c"]
    assert list(zip(table["label_a"], table["label_b"], table["corpus"], strict=True)) == [
        ("a", "b", "code"), ("a", "b", "prose"), ("b", "c", "code"), ("b", "c", "prose"),
    ]  # fmt: skip
    assert table["floor_kld"].tolist()[1::2] == [0.002, 0.002]
    assert table["floor_kld"].isna().tolist() == [True, False, True, False]
    prose = table[table["corpus"] == "prose"]
    smaller, larger = sorted(prose["t_p"])
    assert sorted(prose["t_p_holm"]) == pytest.approx([min(1, 2 * smaller), max(2 * smaller, larger)])


def test_no_pair_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(StatisticsError, match="needs two quants"):
        paired_table(lambda _: token_table(rng), [], **HOW, seed=1)


def test_the_floor_is_read_from_its_own_rows() -> None:
    rows = [("floor-dtype", "kl_mean", 0.001), ("floor-dtype", "ppl", 9.0), ("q", "kl_mean", 0.5)]
    fidelity = pd.DataFrame(rows, columns=["quant", "metric", "estimate"]).assign(corpus="prose", context=512)
    assert floor_means(fidelity, "floor-dtype") == {("prose", 512): 0.001}
