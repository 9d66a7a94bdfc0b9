"""Bounds of noise from scores alone: they hold the truth wherever items are known, and published tables fit them."""

import numpy as np
import pandas as pd
import pytest
from simulated_study import BENCHMARKS, simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import noise_by_benchmark
from qkld.statistics.noise.reliability import noise_mean_squares, reliability
from qkld.statistics.noise.score_noise import noise_bounds, not_whole, reliability_range, score_noise_table


def test_bounds_by_hand():
    """Scores .5, .6 and .8 of 100 items: gaps .1, .2, .3."""
    least, most = noise_bounds([0.5, 0.6, 0.8], 100)
    assert least == pytest.approx(0.5 * np.mean([0.09, 0.16, 0.21]) / 100)
    assert most == pytest.approx(np.mean([0.25, 0.24, 0.16]) / 100)


def test_the_range_holds_what_items_give():
    cohort, items = simulated_study()
    labels = list(cohort.loc[cohort["role"] == "quant", "label"])
    tasks = list(BENCHMARKS)
    noises = noise_by_benchmark(items, reference="reference", quants=labels, benchmarks=tasks, tasks=tasks)
    sizes = {task: n for task, (n, _) in BENCHMARKS.items()}
    members = cohort["kl_mean"].le(0.05) & (cohort["role"] == "quant")
    table = score_noise_table(cohort, members, sizes, tasks).set_index(["benchmark", "subset"])
    assert set(table.index.get_level_values(0)) == {*tasks, "composite"}
    inside = list(cohort.loc[members, "label"])
    for (benchmark, subset), row in table.iterrows():
        known = reliability(noise_mean_squares(noises[benchmark].of(labels if subset == "full" else inside)), 0.95)
        assert row["reliability_low"] - 1e-12 <= max(0, known.estimate) <= row["reliability_high"] + 1e-12
        assert row["attainable_high"] == pytest.approx(np.sqrt(row["reliability_high"]))
    assert table.loc[("sciq", "full"), "score_se"] == pytest.approx(
        np.sqrt((cohort.loc[cohort["role"] == "quant", "se_sciq"] ** 2).mean())
    )


def test_independent_answers_reach_the_lower_end(rng):
    """Models that answer independently: KR-20 is the lower bound, up to sampling."""
    ability = rng.uniform(0.3, 0.7, 12)
    right = (rng.random((5000, 12)) < ability).astype(float)
    low, _ = reliability_range([right.mean(axis=0)], [5000])
    noise = right.var(axis=0, ddof=1).mean() - np.cov(right.T)[~np.eye(12, dtype=bool)].mean()
    assert low == pytest.approx(1 - noise / 5000 / right.mean(axis=0).var(ddof=1), abs=0.01)


def test_only_benchmarks_with_items_and_no_composite_of_a_part():
    cohort, _ = simulated_study()
    members = pd.Series(False, index=cohort.index)
    table = score_noise_table(cohort, members, {"sciq": 300}, ["sciq", "arc_easy"])
    assert set(table["benchmark"]) == {"sciq"}
    zone = table[table["subset"] == "zone"].iloc[0]
    assert np.isnan(zone["score_se"])
    assert "at least 2 quants" in zone["note"]


def test_constant_scores_have_no_range():
    with pytest.raises(StatisticsError, match="1 distinct among 3"):
        reliability_range([[0.5, 0.5, 0.5]], [100])


def test_scores_that_are_no_counts_are_noticed():
    assert not not_whole([0.568562, 0.551839], 299, 1e-6)
    assert not_whole([0.568562, 0.551839], 300, 1e-6)
    assert not not_whole([0.57, 0.55], 299, 0.01), "rounded too coarsely to tell"
