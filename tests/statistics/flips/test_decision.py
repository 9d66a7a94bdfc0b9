"""The deployer's tables: decisions by hand, Holm, the smallest, and which pairs are ordered."""

import numpy as np
import pandas as pd
import pytest
from simulated_study import BENCHMARKS, simulated_study
from statsmodels.stats.multitest import multipletests

from qkld.errors import StatisticsError
from qkld.statistics.flips.decision import (
    BETTER,
    EQUIVALENT,
    ORDERS,
    UNDECIDED,
    WORSE,
    decision_table,
    decisions,
    holm,
    holm_of_both,
    pair_counts,
    pair_table,
)
from qkld.statistics.flips.flips import flip_table
from qkld.statistics.items.score_differences import difference_p, equivalence_p
from qkld.study.registry import registered

TASKS = list(BENCHMARKS)


@pytest.fixture(scope="module")
def study() -> tuple[pd.DataFrame, pd.DataFrame]:
    return simulated_study()


@pytest.fixture(scope="module")
def decision(study) -> pd.DataFrame:
    cohort, items = study
    return decision_table(
        items, cohort, reference="reference", benchmarks=TASKS, tasks=TASKS, margin=0.03, confidence=0.95
    )


@pytest.fixture(scope="module")
def pairs(study) -> pd.DataFrame:
    return pair_table(study[1], study[0], tasks=TASKS, confidence=0.95)


def made(n: int, flips: dict[str, tuple[int, int]], bits: dict[str, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Items of a reference that has the first half right, and of quants with these leapfrogs and drops."""
    right = np.arange(n) < n // 2
    answers = {"reference": right}
    for label, (up, down) in flips.items():
        answer = right.copy()
        answer[:down], answer[n // 2 : n // 2 + up] = False, True
        answers[label] = answer
    names = [f"{i:05}" for i in range(n)]
    items = pd.concat(
        pd.DataFrame({"model": model, "benchmark": "task", "item": names, "correct": answer.astype(int)})
        for model, answer in answers.items()
    )
    cohort = pd.DataFrame({"label": list(answers), "role": ["reference", *["quant"] * len(flips)]})
    cohort["bits_per_weight"] = cohort["label"].map(bits)
    cohort["kl_mean"] = np.arange(len(cohort)) / 100
    return cohort, items


def test_decisions_by_hand():
    found = decisions(
        np.array([0.0, -0.002, -0.05, 0.05, -0.01]),
        np.array([1.0, 0.01, 0.001, 0.001, 0.4]),
        np.array([0.01, 0.02, 0.9, 0.9, 0.3]),
        0.05,
    )
    assert list(found) == [EQUIVALENT, EQUIVALENT, WORSE, BETTER, UNDECIDED]


def test_a_deployer_s_cohort():
    """Same answers, equal by many flips, worse, and too few items to say; the smallest equivalent is q4."""
    flips = {"q8": (0, 0), "q4": (20, 20), "q3": (60, 62), "q2": (10, 150)}
    cohort, items = made(4000, flips, {"q8": 8.5, "q4": 4.5, "q3": 3.5, "q2": 2.5, "reference": 16})
    table = decision_table(
        items, cohort, reference="reference", benchmarks=["task"], tasks=[], margin=0.005, confidence=0.95
    )
    assert list(table["label"]) == ["q8", "q4", "q3", "q2"]
    assert list(table["decision"]) == [EQUIVALENT, EQUIVALENT, UNDECIDED, WORSE]
    assert list(table["smallest"]) == [False, True, False, False]
    assert table["items_needed"].notna().tolist() == [False, False, True, False]
    assert table["items_needed"].iloc[2] > 4000


def test_smallest_of_equal_sizes_are_all_and_an_unknown_size_is_never_it():
    flips = {"a": (1, 1), "b": (2, 2), "c": (0, 0)}
    cohort, items = made(3000, flips, {"a": 4.5, "b": 4.5})
    table = decision_table(
        items, cohort, reference="reference", benchmarks=["task"], tasks=[], margin=0.01, confidence=0.95
    )
    assert table.set_index("label")["smallest"].to_dict() == {"a": True, "b": True, "c": False}
    unknown = decision_table(
        items, cohort.drop(columns="bits_per_weight"), reference="reference", benchmarks=["task"], tasks=[],
        margin=0.01, confidence=0.95,
    )  # fmt: skip
    assert not unknown["smallest"].any()
    assert (unknown["decision"] == EQUIVALENT).all()


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.02])), [0.03, 0.04, 0.04])
    assert holm(np.array([])).size == 0


def test_holm_is_statsmodels(rng):
    p = np.concatenate([rng.random(30) ** 3, [0.01, 0.01, 1.0, 0.0]])
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-14)


def test_one_error_rate_holds_for_both_tests_of_all_quants(rng):
    """5 quants without a difference and 5 at the margin: a family each at 5 % calls .04 + .04 of the cohorts wrong."""
    quants, items, flips, margin = 5, 3000, 0.02, 0.01
    at = [[flips / 2 - net / 2, flips / 2 + net / 2, 1 - flips] for net in (0.0, margin)]
    drawn = np.concatenate([rng.multinomial(items, shares, size=(2000, quants)) for shares in at], axis=1)
    counts = drawn[..., [0]], drawn[..., [1]], np.array([items])
    p = difference_p(*counts), equivalence_p(*counts, margin)
    adjusted = np.array([holm_of_both(*both) for both in zip(*p, strict=True)])
    wrong = (adjusted[:, 0, :quants] <= 0.05).any(axis=1) | (adjusted[:, 1, quants:] <= 0.05).any(axis=1)
    assert wrong.mean() <= 0.06
    apart = [(holm(a)[:quants] <= 0.05).any() or (holm(b)[quants:] <= 0.05).any() for a, b in zip(*p, strict=True)]
    assert np.mean(apart) > 0.07


def test_both_tests_adjusted_by_hand():
    """3 quants: .01 × 3, .012 × 3, then q1 has no test left, so .02 × 2; and never less than a smaller p's."""
    difference, equivalent = holm_of_both(np.array([0.01, 0.02, 0.3]), np.array([0.012, 0.9, 0.021]))
    np.testing.assert_allclose(difference, [0.03, 0.04, 0.6])
    np.testing.assert_allclose(equivalent, [0.036, 0.9, 0.042])


def test_columns_agree_with_flips_and_with_the_tests(study, decision):
    flips = flip_table(study[1], reference="reference", benchmarks=TASKS, tasks=TASKS, confidence=0.95)
    both = decision.merge(flips, on=["label", "benchmark"], suffixes=("", "_flips"))
    assert len(both) == len(decision) == 4 * 22
    for column in ("items", "flip_rate", "net", "net_low", "net_high"):
        np.testing.assert_allclose(both[column], both[f"{column}_flips"], atol=1e-12)
    single = both[both["benchmark"] == "sciq"]
    counts = [single[[c]].to_numpy() for c in ("leapfrogs", "drops", "items")]
    np.testing.assert_allclose(single["p_equivalent"], equivalence_p(*counts, 0.03))
    np.testing.assert_allclose(single["p_difference"], difference_p(*counts))
    assert (decision["p_equivalent_holm"] >= decision["p_equivalent"]).all()
    inside = (decision["equivalence_low"] > -0.03) & (decision["equivalence_high"] < 0.03)
    np.testing.assert_array_equal(inside, decision["p_equivalent"] < 0.05)


def test_a_world_where_kld_orders_the_quants(decision, pairs):
    """22 quants whose loss grows with KLD: the two-bit ones are worse, and every ordered pair agrees with KLD."""
    composite = decision[decision["benchmark"] == "composite"].set_index("label")
    assert composite.loc["torchao-2-g64", "decision"] == WORSE
    assert set(composite["decision"]) <= {EQUIVALENT, WORSE, BETTER, UNDECIDED}
    counts = pair_counts(pairs)
    assert counts["pairs"] == 22 * 21 // 2
    assert 20 < counts["ordered"] < counts["pairs"]
    assert counts["metric_right"] >= 0.95 * counts["ordered"]


def test_more_items_are_needed_than_did_not_decide(decision, pairs):
    """At the level that Holm asks for, so never a number that is there already."""
    undecided = decision[decision["decision"] == UNDECIDED]
    assert len(undecided) > 10
    assert (undecided["items_needed"] > undecided["items"]).all()
    assert decision.loc[decision["decision"] != UNDECIDED, "items_needed"].isna().all()
    open_pairs = pairs[(pairs["order"] == ORDERS[0]) & (pairs["difference"] != 0)]
    assert (open_pairs["items_needed"] > open_pairs["items"]).all()
    assert pairs.loc[pairs["order"] != ORDERS[0], "items_needed"].isna().all()


def test_pairs_are_the_models_answers_against_each_other(study, pairs):
    row = pairs[(pairs["label_a"] == "torchao-8-g32") & (pairs["label_b"] == "torchao-3-g64")].iloc[0]
    cohort = study[0].set_index("label")["composite"]
    assert row["difference"] == pytest.approx(cohort["torchao-8-g32"] - cohort["torchao-3-g64"], abs=1e-12)
    assert row["order"] == ORDERS[1]
    assert row["low"] <= row["difference"] <= row["high"]
    assert (pairs["p_holm"] >= pairs["p"]).all()


def test_a_pair_with_the_quants_swapped_says_the_opposite(study):
    cohort, items = study
    two = cohort[cohort["label"].isin(["hqq-8-g64", "hqq-2-g64"])]
    one, other = (pair_table(items, rows, tasks=["sciq"], confidence=0.95).iloc[0] for rows in (two, two.iloc[::-1]))
    assert one["difference"] == -other["difference"]
    assert {one["order"], other["order"]} == set(ORDERS[1:])
    assert one["metric_right"] == other["metric_right"] == 1
    assert one["p"] == other["p"]


def test_quants_with_the_same_answers_are_not_ordered():
    cohort, items = made(500, {"a": (3, 4), "b": (3, 4)}, {"a": 4, "b": 5})
    row = pair_table(items, cohort, tasks=["task"], confidence=0.95).iloc[0]
    assert (row["p"], row["order"]) == (1.0, ORDERS[0])
    assert np.isnan([row["metric_right"], row["items_needed"]]).all()


def test_one_quant_is_no_pair(study):
    cohort, items = study
    with pytest.raises(StatisticsError, match="at least 2 quants"):
        pair_table(items, cohort[cohort["label"] == "hqq-8-g64"], tasks=TASKS, confidence=0.95)


def test_a_quant_without_items_is_named(study):
    cohort, items = study
    with pytest.raises(StatisticsError, match="none of hqq-8-g64"):
        pair_table(items[items["model"] != "hqq-8-g64"], cohort, tasks=TASKS, confidence=0.95)


def test_columns_are_the_schema_s(decision, pairs):
    registered("decision").check(decision.columns)
    registered("pairs").check(pairs.columns)


def few_items(counts: dict[str, tuple[int, int]], tasks: dict[str, int]) -> pd.DataFrame:
    """Items of a reference that has every item right but ten, and of quants with so many drops on each task."""
    rows = []
    for place, (task, n) in enumerate(tasks.items()):
        right = (np.arange(n) >= 10).astype(int)
        answers = {"ref": right} | {q: np.where(np.arange(n) >= n - d[place], 0, right) for q, d in counts.items()}
        names = [f"{i:04}" for i in range(n)]
        rows += [pd.DataFrame({"model": m, "benchmark": task, "item": names, "correct": c}) for m, c in answers.items()]
    return pd.concat(rows, ignore_index=True)


def test_what_one_item_makes_and_decides_is_said():
    """98 items as the demo's: one drop of 18 is 2.78 points. On 300, four drops are a loss, and three are none."""
    counts = {"one": (0, 1), "two": (1, 1), "many": (8, 1)}
    items = few_items(counts, {"arc_easy": 80, "sciq": 18})
    cohort = pd.DataFrame({"label": ["ref", *counts], "role": ["reference", "quant", "quant", "quant"]})
    common = {"reference": "ref", "margin": 0.05, "confidence": 0.95}
    tasks = ["arc_easy", "sciq"]
    table = decision_table(items, cohort, benchmarks=tasks, tasks=tasks, **common)
    rows = table[table["benchmark"] == "composite"].set_index("label")
    assert rows["item_weight"].to_numpy() == pytest.approx(1 / 36)
    assert list(rows.loc[["one", "two"], "note"]) == [
        "one item makes −2.78 of −2.78 points",
        "one item makes −2.78 of −3.40 points",
    ]
    assert rows.loc["two", "one_item"] == pytest.approx((1 / 36) / (1 / 36 + 1 / 160))
    assert rows.loc["many", "note"] == ""
    single = few_items({"loss": (6,)}, {"arc_easy": 300})
    alone = cohort.iloc[:2].assign(label=["ref", "loss"])
    decided = decision_table(single, alone, benchmarks=["arc_easy"], tasks=[], **common | {"margin": 0.001}).iloc[0]
    assert (decided["decision"], decided["decision_alone"]) == ("worse", "worse")
    single = few_items({"loss": (4,)}, {"arc_easy": 300})
    decided = decision_table(single, alone, benchmarks=["arc_easy"], tasks=[], **common | {"margin": 0.001}).iloc[0]
    assert decided["note"] == "worse rests on one item: undecided without it"


def test_no_quant_and_no_margin_are_refused(study):
    cohort, items = study
    common = {"reference": "reference", "benchmarks": TASKS, "tasks": [], "confidence": 0.95}
    with pytest.raises(StatisticsError, match="at least 1 quant"):
        decision_table(items, cohort[cohort["role"] != "quant"], margin=0.05, **common)
    with pytest.raises(StatisticsError, match="a fraction between 0 and 1"):
        decision_table(items, cohort, margin=0.0, **common)
