"""Reliability of volume and direction against KR-20, a bootstrap over items, and what must not matter."""

from itertools import product

import numpy as np
import pandas as pd
import pingouin
import pytest
from simulated_study import BENCHMARKS, simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.flips.direction import (
    differences,
    direction_reliability,
    influences,
    noise_variance,
    quantity_values,
    reliability_of,
)
from qkld.statistics.flips.flips import QUANTITIES, flip_table

TASKS = list(BENCHMARKS)
LABELS = ["torchao-5-g32", "torchao-4-g64", "torchao-3-g64", "hqq-5-g64", "hqq-3-g64", "float8-8-g1"]


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    return simulated_study()[1]


def answers_that_differ(rng, n=400, quants=7):
    """(items, quants) of D with flip rates between 5 and 40 %."""
    rate = np.linspace(0.05, 0.4, quants)
    return np.where(rng.random((n, quants)) < rate, rng.choice([-1, 1], (n, quants), p=[0.6, 0.4]), 0)


def test_quantities_are_the_flip_table_s(items):
    table = flip_table(items, reference="reference", benchmarks=TASKS, tasks=TASKS, confidence=0.95)
    for quantity, (benchmark, tasks) in product(QUANTITIES, (("sciq", ["sciq"]), ("composite", TASKS))):
        moved = differences(items, reference="reference", tasks=tasks, labels=LABELS)
        expected = table[table["benchmark"] == benchmark].set_index("label").loc[LABELS, quantity]
        np.testing.assert_allclose(quantity_values(moved, quantity), expected, atol=1e-14)


@pytest.mark.parametrize("quantity", ["leapfrogs", "drops", "volume", "flip_rate", "net"])
def test_influences_of_linear_quantities_add_up_to_them(rng, quantity):
    moved = {"a": answers_that_differ(rng), "b": answers_that_differ(rng, 133)}
    total = sum(part.sum(axis=0) for part in influences(moved, quantity))
    np.testing.assert_allclose(total, quantity_values(moved, quantity), atol=1e-12)


@pytest.mark.parametrize("quantity", ["improvement_fraction", "z"])
def test_influences_are_derivatives(rng, quantity):
    d = answers_that_differ(rng)
    (part,) = influences({"a": d}, quantity)
    doubled = quantity_values({"a": np.vstack([d, d[:1]])}, quantity) - quantity_values({"a": d}, quantity)
    np.testing.assert_allclose(part[0], doubled, atol=2e-2)
    assert np.abs(part.sum(axis=0) - (quantity_values({"a": d}, "z") / 2 if quantity == "z" else 0)).max() < 1e-9


def test_reliability_of_the_net_is_kr20(rng):
    """Hoyt's and Cronbach's α of the score, quants as persons and items as items, for any reference."""
    ability = rng.normal(0, 0.4, 9)
    right = (rng.normal(size=(300, 1)) + ability + rng.normal(size=(300, 9)) > 0).astype(int)
    alpha, _ = pingouin.cronbach_alpha(data=pd.DataFrame(right.T.astype(float)))
    reference = rng.integers(0, 2, (300, 1))
    assert reliability_of({"a": right - reference}, "net") == pytest.approx(alpha, abs=1e-12)


def test_noise_is_that_of_drawing_other_items(rng):
    """Against 1,000 bootstrap samples of items: mean variance less mean covariance of the quants' values."""
    moved = {"a": answers_that_differ(rng), "b": answers_that_differ(rng, 250)}
    draws = {quantity: [] for quantity in QUANTITIES}
    for _ in range(1000):
        sample = {task: d[rng.integers(0, len(d), len(d))] for task, d in moved.items()}
        for quantity in QUANTITIES:
            draws[quantity].append(quantity_values(sample, quantity))
    for quantity in QUANTITIES:
        v = np.cov(np.array(draws[quantity]).T)
        expected = np.trace((np.eye(len(v)) - 1 / len(v)) @ v) / (len(v) - 1)
        assert noise_variance(influences(moved, quantity)) == pytest.approx(expected, rel=0.12), quantity


def test_items_of_one_cluster_are_drawn_together(rng):
    """Every item three times: as many clusters as distinct items, so the noise is theirs and not a third of it."""
    d = answers_that_differ(rng)
    thrice, clusters = np.repeat(d, 3, axis=0), np.repeat(np.arange(len(d)), 3)
    assert reliability_of({"a": thrice}, "net", {"a": clusters}) == pytest.approx(reliability_of({"a": d}, "net"))
    assert reliability_of({"a": thrice}, "net") > reliability_of({"a": d}, "net")


def test_volume_is_reliable_where_the_net_is_not(rng):
    """Flips that go either way with equal chance: the quants' true nets are all 0, their volumes differ."""
    rate = np.linspace(0.02, 0.2, 12)
    flips = np.where(rng.random((1500, 12)) < rate, rng.choice([-1, 1], (1500, 12)), 0)
    assert reliability_of({"a": flips}, "volume") > 0.9
    assert reliability_of({"a": flips}, "net") < 0.6


def test_order_of_items_and_quants_does_not_matter(rng):
    d = answers_that_differ(rng)
    again = d[rng.permutation(len(d))][:, rng.permutation(d.shape[1])]
    for quantity in QUANTITIES:
        assert reliability_of({"a": again}, quantity) == pytest.approx(reliability_of({"a": d}, quantity), abs=1e-12)
    assert reliability_of({"a": -d}, "z") == pytest.approx(reliability_of({"a": d}, "z"), abs=1e-12)


def test_table_has_a_row_for_each_and_says_why_one_is_empty(items):
    subsets = {"full": LABELS, "zone": LABELS[:1], "empty": []}
    table = direction_reliability(items, subsets, reference="reference", benchmarks=["sciq"], tasks=TASKS)
    assert len(table) == 2 * 3 * len(QUANTITIES)
    full = table[table["subset"] == "full"]
    assert (full["reliability"] <= 1).all()
    assert (full["note"] == "").all()
    zone = table[table["subset"] != "full"]
    assert zone["reliability"].isna().all()
    assert zone["note"].str.contains("at least 2 quants").all()


def test_equal_quants_have_no_reliability(rng):
    d = answers_that_differ(rng, quants=1)
    with pytest.raises(StatisticsError, match="1 distinct values among 3 quants"):
        reliability_of({"a": np.repeat(d, 3, axis=1)}, "net")


def test_a_model_without_items_is_named(items):
    with pytest.raises(StatisticsError, match="none of absent"):
        differences(items, reference="reference", tasks=["sciq"], labels=["absent"])
    wrong = items.assign(correct=items["correct"].astype(int) * 2)
    with pytest.raises(StatisticsError, match="0 and 1"):
        differences(wrong, reference="reference", tasks=["sciq"], labels=LABELS)
