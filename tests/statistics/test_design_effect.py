"""Clusters of items: their design effect by hand, and decisions that do not profit from items counted twice."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_answers import answered_study, labels_of

from qkld.statistics.decision import decision_table, pair_table
from qkld.statistics.design_effect import design_effects, pair_design_effects
from qkld.statistics.paired import difference_interval, difference_p, equivalence_p, score_z


def doubled(values):
    """Every item twice, both in one cluster."""
    return {"task": np.repeat(values, 2, axis=0)}, {"task": np.repeat(np.arange(len(values)), 2)}


def test_items_counted_twice_double_the_variance(rng):
    moved, clusters = doubled(rng.integers(-1, 2, (50, 3)))
    assert design_effects(moved, clusters) == pytest.approx(np.full(3, 99 / 49))
    assert list(design_effects(moved, None)) == [1.0, 1.0, 1.0]
    one_by_one = {"task": np.arange(100)}
    assert design_effects(moved, one_by_one) == pytest.approx(np.ones(3))


def test_a_quant_that_never_differs_has_no_effect_and_none_lies_below_one(rng):
    moved = {"task": np.column_stack([np.zeros(40), np.tile([1, -1], 20)])}
    assert list(design_effects(moved, {"task": np.repeat(np.arange(20), 2)})) == [1.0, 1.0]


def test_pairs_are_the_differences_of_their_columns(rng):
    right, clusters = doubled(rng.integers(0, 2, (60, 4)).astype(float))
    a, b = np.triu_indices(4, 1)
    by_hand = design_effects({"task": right["task"][:, a] - right["task"][:, b]}, clusters)
    assert pair_design_effects(right, clusters, a, b) == pytest.approx(by_hand)
    assert list(pair_design_effects(right, None, a, b)) == [1.0] * 6


def test_a_design_effect_divides_z_by_its_root():
    counts = (np.array([[12]]), np.array([[30]]), np.array([400]))
    assert score_z(*counts, 0.01, 4.0) == pytest.approx(score_z(*counts, 0.01) / 2)
    assert difference_p(*counts, 2.0) > difference_p(*counts)
    assert equivalence_p(*counts, 0.1, 2.0) > equivalence_p(*counts, 0.1)
    wide = difference_interval(*counts, 0.95, 2.25)
    same = difference_interval(*counts, 2 * stats.norm.cdf(1.5 * stats.norm.ppf(0.975)) - 1)
    np.testing.assert_allclose(wide, same)


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
        assert list(two[p]) == pytest.approx(list(one[p]), rel=0.05, abs=1e-4)
        assert list(two["items"]) == [2 * n for n in one["items"]]


def _decided(items, cohort):
    tasks = ["easy", "hard"]
    decision = decision_table(
        items, cohort, reference="ref", benchmarks=tasks, tasks=tasks, margin=0.05, confidence=0.95
    )
    assert set(decision["label"]) == set(labels_of(4))
    return decision.sort_values(["benchmark", "label"]), pair_table(items, cohort, tasks=tasks, confidence=0.95)
