"""Clusters of items: their design effect by hand, and decisions that do not profit from items counted twice."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_answers import answered_study, labels_of

from qkld.statistics.flips.decision import decision_table, holm, pair_table
from qkld.statistics.flips.design_effect import design_effects, pair_design_effects
from qkld.statistics.flips.direction import flip_counts
from qkld.statistics.items.covariance import item_covariance
from qkld.statistics.items.score_differences import difference_interval, difference_p, equivalence_p, score_z


def doubled(values):
    """Every item twice, both in one cluster."""
    return {"task": np.repeat(values, 2, axis=0)}, {"task": np.repeat(np.arange(len(values)), 2)}


def test_items_counted_twice_double_the_variance(rng):
    moved, clusters = doubled(rng.integers(-1, 2, (50, 3)))
    assert design_effects(moved, clusters).effect == pytest.approx(np.full(3, 99 / 49))
    assert list(design_effects(moved, None).effect) == [1.0, 1.0, 1.0]
    one_by_one = {"task": np.arange(100)}
    alone = design_effects(moved, one_by_one)
    assert alone.effect == pytest.approx(np.ones(3))
    assert np.isinf(alone.df).all()


def test_a_quant_that_never_differs_has_no_effect_and_none_lies_below_one(rng):
    moved = {"task": np.column_stack([np.zeros(40), np.tile([1, -1], 20)])}
    assert list(design_effects(moved, {"task": np.repeat(np.arange(20), 2)}).effect) == [1.0, 1.0]


def test_pairs_are_the_differences_of_their_columns(rng):
    right, clusters = doubled(rng.integers(0, 2, (60, 4)).astype(float))
    a, b = np.triu_indices(4, 1)
    by_hand = design_effects({"task": right["task"][:, a] - right["task"][:, b]}, clusters)
    np.testing.assert_allclose(pair_design_effects(right, clusters, a, b), by_hand)
    assert list(pair_design_effects(right, None, a, b).effect) == [1.0] * 6


def test_a_design_effect_divides_z_by_its_root():
    counts = (np.array([[12]]), np.array([[30]]), np.array([400]))
    assert score_z(*counts, 0.01, 4.0) == pytest.approx(score_z(*counts, 0.01) / 2)
    assert difference_p(*counts, 2.0) > difference_p(*counts)
    assert equivalence_p(*counts, 0.1, 2.0) > equivalence_p(*counts, 0.1)
    wide = difference_interval(*counts, 0.95, 2.25)
    same = difference_interval(*counts, 2 * stats.norm.cdf(1.5 * stats.norm.ppf(0.975)) - 1)
    np.testing.assert_allclose(wide, same)


def test_few_clusters_take_students_t():
    counts = (np.array([[12]]), np.array([[30]]), np.array([400]))
    t = score_z(*counts, 0.0, 2.0).item()
    assert difference_p(*counts, 2.0, 9) == pytest.approx(2 * stats.t.sf(abs(t), 9))
    assert equivalence_p(*counts, 0.1, 2.0, 9) == pytest.approx(stats.t.sf(score_z(*counts, -0.1, 2.0), 9))
    low, high = difference_interval(*counts, 0.95, 2.0, 9)
    for end, sign in ((low, 1), (high, -1)):
        assert score_z(*counts, end, 2.0) == pytest.approx(sign * stats.t.ppf(0.975, 9), abs=1e-9)
    assert score_z(*counts, 0.0, 2.0, 1e6) == pytest.approx(t, rel=1e-4)


def test_scores_beyond_every_tail_stay_finite():
    assert np.isfinite(score_z([[0]], [[4000]], [4000], 0.0, 1.0, 5000)).all()


def test_degrees_of_freedom_by_hand(rng):
    moved = {"a": rng.integers(-1, 2, (40, 2)), "b": rng.integers(-1, 2, (60, 2))}
    a, b = np.repeat(np.arange(10), 4), np.repeat(np.arange(3), [10, 20, 30])
    assert design_effects({"a": moved["a"]}, {"a": a}).df == pytest.approx(9)
    assert design_effects({"b": moved["b"]}, {"b": b}).df == pytest.approx(60**2 / 1400 - 1)
    parts = [np.diag(item_covariance(moved[t], c)) for t, c in (("a", a), ("b", b))]
    both = (parts[0] + parts[1]) ** 2 / (parts[0] ** 2 / 9 + parts[1] ** 2 / (60**2 / 1400 - 1))
    assert design_effects(moved, {"a": a, "b": b}).df == pytest.approx(both)
    single = (parts[0] + np.diag(item_covariance(moved["b"]))) ** 2 / (parts[0] ** 2 / 9)
    assert design_effects(moved, {"a": a, "b": np.arange(60)}).df == pytest.approx(single)


@pytest.mark.parametrize(("clusters", "each"), [(5, 120), (10, 60)])
def test_one_error_rate_holds_where_clusters_are_few(rng, clusters, each):
    """Twenty quants as good as the reference: some difference is found in no more than 5 % of cohorts."""
    named, wrong, by_normal = np.repeat(np.arange(clusters), each), 0, 0
    for _ in range(200):
        moved = clustered_answers(rng, named, quants=20)
        counts, wider = flip_counts({"task": moved}), design_effects({"task": moved}, {"task": named})
        wrong += holm(difference_p(*counts, *wider)).min() <= 0.05
        by_normal += holm(difference_p(*counts, wider.effect)).min() <= 0.05
    assert wrong <= 200 * 0.05 + 3 * np.sqrt(200 * 0.05 * 0.95)
    assert by_normal > 2 * 200 * 0.05


def clustered_answers(rng, named, quants):
    """Differences to the reference (items, quants) of models with one true score, alike within clusters."""
    shared = 0.5 * rng.standard_normal((named.max() + 1, 1))[named] + 0.87 * rng.standard_normal((named.size, 1))
    own = 0.4 * rng.standard_normal((named.max() + 1, quants))[named] + 0.92 * rng.standard_normal((named.size, quants))
    return (shared + 0.35 * own > 0).astype(int) - (shared > 0).astype(int)


def test_decisions_do_not_profit_from_items_counted_twice(rng):
    items, cohort = answered_study(rng, quants=4, items=300)
    again = items.assign(item=items["item"].astype(str) + " again")
    twice = pd.concat([items.assign(item=items["item"].astype(str)), again], ignore_index=True)
    twice["cluster"] = twice["item"].str.removesuffix(" again")
    tables = [_decided(part, cohort) for part in (items, twice)]
    for name, one, two in zip(("decision", "pairs"), *tables, strict=True):
        p = "p_difference" if name == "decision" else "p"
        assert two["design_effect"].between(1.99, 2.02).all()
        assert (one["design_effect"] == 1).all()
        of_clusters = 2 * stats.t.sf(stats.norm.isf(one[p] / 2), 299)
        assert list(two[p]) == pytest.approx(list(of_clusters), rel=0.05, abs=1e-4)
        assert list(two["items"]) == [2 * n for n in one["items"]]


def _decided(items, cohort):
    tasks = ["easy", "hard"]
    decision = decision_table(
        items, cohort, reference="ref", benchmarks=tasks, tasks=tasks, margin=0.05, confidence=0.95
    )
    assert set(decision["label"]) == set(labels_of(4))
    return decision.sort_values(["benchmark", "label"]), pair_table(items, cohort, tasks=tasks, confidence=0.95)
