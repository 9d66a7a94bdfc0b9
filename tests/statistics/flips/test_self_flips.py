"""The self-flip floor against simulated runs."""

import numpy as np
import pandas as pd
import pytest
from simulated_answers import answered_study, labels_of

from qkld.errors import StatisticsError
from qkld.statistics.flips.self_flips import (
    excess_flips,
    run_variance,
    self_flip_table,
    self_flips,
)
from qkld.statistics.items.scores import correct_matrix
from qkld.study.registry import registered


def test_two_sampled_runs_flip_as_often_as_expected(rng):
    p = rng.random(200_000)
    floor = self_flips(rng.random(p.size) < p, rng.random(p.size) < p)
    assert floor.flip_rate == pytest.approx(2 * (p * (1 - p)).mean(), abs=0.004)


def test_run_variance_is_that_of_one_models_score(rng):
    p = rng.random(400)
    scores = (rng.random((4000, 400)) < p).mean(axis=1)
    variances = [run_variance(self_flips(*(rng.random((2, 400)) < p))) for _ in range(300)]
    assert np.mean(variances) == pytest.approx(scores.var(), rel=0.08)


def test_excess_is_the_difference_of_flip_rates_and_covers(rng):
    held = 0
    for _ in range(400):
        right = rng.random(500) < 0.7
        again, quant = (right ^ (rng.random(500) < share) for share in (0.02, 0.05))
        found = excess_flips(right, again, quant, 0.95)
        assert found.estimate == pytest.approx(np.mean(right != quant) - np.mean(right != again))
        held += found.low <= 0.03 <= found.high
    assert held / 400 == pytest.approx(0.95, abs=0.035)


def test_excess_of_several_answers_to_one_item_is_clustered(rng):
    spread, half = [], []
    for _ in range(300):
        right, question = np.ones(400, dtype=int), np.repeat(np.arange(40), 10)
        quant = (rng.random(400) < np.repeat(rng.beta(0.5, 0.8, 40), 10)).astype(int)
        found = excess_flips(right, right, quant, 0.95, question)
        spread.append(found.estimate)
        half.append(found.high - found.estimate)
    assert np.mean(half) == pytest.approx(2.02 * np.std(spread), rel=0.12)  # t on 39 degrees of freedom
    with pytest.raises(StatisticsError, match="clusters of them"):
        excess_flips([1, 0], [1, 0], [0, 0], 0.95, ["one", "one"])


def test_a_quant_no_worse_than_the_reference_with_itself_shows_nothing(rng):
    right = rng.random(2000) < 0.7
    again, quant = (right ^ (rng.random(2000) < 0.03) for _ in range(2))
    found = excess_flips(right, again, quant, 0.99)
    assert found.low < 0 < found.high


def test_table_is_each_quant_beside_the_floor(rng):
    items, _ = answered_study(rng, quants=3, items=300)
    second = items[items["model"] == "q00"].assign(model="ref again")
    table = self_flip_table(
        pd.concat([items, second]),
        reference="ref",
        again="ref again",
        quants=labels_of(3),
        benchmarks=["easy", "hard"],
        tasks=["easy", "hard"],
        confidence=0.95,
    )
    assert tuple(table.columns) == registered("self_flips").columns
    own = table[table["label"] == "q00"]
    assert (own["excess"] == 0).all()
    assert (own["flip_rate"] == own["self_flip_rate"]).all()
    assert (own["excess_low"] == own["excess_high"]).all()
    matrix = correct_matrix(items, "hard")
    row = table[(table["label"] == "q02") & (table["benchmark"] == "hard")].iloc[0]
    assert row["flip_rate"] == pytest.approx((matrix["ref"] != matrix["q02"]).mean())
    assert row["run_variance"] == run_variance(self_flips(matrix["ref"], matrix["q00"]))
    alone = self_flip_table(
        items, reference="ref", again=None, quants=labels_of(3), benchmarks=["hard"], tasks=[], confidence=0.95
    )
    assert alone.columns.equals(table.columns)
    assert alone["flip_rate"].iloc[2] == row["flip_rate"]
    assert alone[["self_flips", "excess", "run_variance"]].isna().all(axis=None)
    assert set(alone["note"]) == {"the reference was not run a second time"}
    with pytest.raises(StatisticsError, match="none of ref again"):
        self_flip_table(
            items, reference="ref", again="ref again", quants=["q00"], benchmarks=["easy"], tasks=[], confidence=0.95
        )
    whole = table.query("label == 'q02' and benchmark == 'composite'").iloc[0]
    parts = table.query("label == 'q02' and benchmark != 'composite'")
    assert whole["excess"] == pytest.approx(parts["excess"].mean())
    assert whole["items"] == parts["items"].sum()
    assert whole["run_variance"] == pytest.approx(parts["run_variance"].sum() / 4)
    half = (parts["excess_high"] - parts["excess"]) ** 2
    assert whole["excess_high"] - whole["excess"] == pytest.approx(np.sqrt(half.sum()) / 2)


def test_bad_input_is_named():
    with pytest.raises(StatisticsError, match="columns of 0 and 1"):
        excess_flips([0, 1], [0, 2], [0, 1], 0.95)
    with pytest.raises(StatisticsError, match="at least 2 items"):
        excess_flips([1], [1], [0], 0.95)
