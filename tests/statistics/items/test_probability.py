"""The probability of the right choice, its paired differences, and the noise that verdicts rest on."""

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import benchmark_noise, composite_noise, noise_by_benchmark
from qkld.statistics.items.paired_means import paired_means, volume_and_direction
from qkld.statistics.items.probability import choice_scores, probability_differences, probability_right


def test_the_scores_have_the_metrics_order_and_the_scale_of_an_answer(rng):
    logp, lengths = -rng.exponential(40, size=5), rng.integers(3, 90, size=5)
    by_length = choice_scores(logp, lengths)
    assert (np.argsort(by_length) == np.argsort(logp / lengths)).all()
    assert choice_scores(logp, np.full(5, 7.0)) == pytest.approx(logp)
    assert probability_right(logp, 2, lengths) == pytest.approx(special.softmax(lengths.mean() * logp / lengths)[2])
    assert probability_right(logp - 700, 2) == pytest.approx(special.softmax(logp)[2])


def long(values, task="own"):
    """Probabilities (items, models), the first model the reference's, as rows."""
    names = ["ref", *(f"q{i}" for i in range(values.shape[1] - 1))]
    return pd.concat(
        pd.DataFrame({"model": name, "benchmark": task, "item": [f"{i:05}" for i in range(len(values))],
                      "correct": (column > 0.5).astype(int), "probability_right": column})
        for name, column in zip(names, values.T, strict=True)
    )  # fmt: skip


def heavy(rng, items, quants, *, net=0.0):
    """Probabilities that most quants hardly move and a few items a lot: t on 2 degrees of freedom, cut at 0 and 1."""
    own = rng.beta(0.6, 0.6, size=(items, 1))
    moved = own + 0.02 * stats.t.rvs(2, size=(items, quants), random_state=rng) + net
    return np.clip(np.hstack([own, moved]), 0, 1)


def test_noise_of_probabilities_is_their_covariance(rng):
    values = heavy(rng, 400, 3)
    noise = benchmark_noise(long(values), "own", reference="ref", quants=["q0", "q1", "q2"], score="probability")
    moved = values[:, 1:] - values[:, :1]
    assert noise.net == pytest.approx(moved.mean(axis=0), abs=1e-9)
    assert noise.covariance == pytest.approx(np.cov(moved.T) / 400, rel=1e-6)
    assert (noise.items, noise.units) == (400, 400)


def test_sums_under_random_signs_do_not_depend_on_the_order_of_items(rng):
    values = heavy(rng, 300, 2)
    differences = probability_differences(pd.DataFrame(values, columns=["ref", "q0", "q1"]), "ref", ["q0", "q1"])
    assert differences.sum(axis=0).tolist() == differences[rng.permutation(300)].sum(axis=0).tolist()
    assert np.abs(differences - (values[:, 1:] - values[:, :1])).max() < 2e-9


def test_composites_take_both_scores_alike(rng):
    items = pd.concat([long(heavy(rng, 200, 4)), long(heavy(rng, 90, 4), "other")])
    call = {"reference": "ref", "quants": [f"q{i}" for i in range(4)], "benchmarks": ["own", "other"]}
    found = noise_by_benchmark(items, **call, tasks=["own", "other"], score="probability")
    again = composite_noise([found["own"], found["other"]])
    assert found["composite"].net.tolist() == again.net.tolist()
    assert len(found["composite"].parts) == 2


@pytest.mark.parametrize("broken", [np.nan, 1.5, -0.2])
def test_values_that_are_no_probabilities(rng, broken):
    table = pd.DataFrame(rng.random((5, 2)), columns=["ref", "q0"])
    table.loc[3, "q0"] = broken
    with pytest.raises(StatisticsError, match=r"not a probability|no probability"):
        probability_differences(table, "ref", ["q0"])


# --- paired differences -----------------------------------------------------------------------------------------------


def test_one_task_is_scipys_paired_t(rng):
    values = heavy(rng, 250, 3)
    found = paired_means({"own": values[:, 1:] - values[:, :1]})
    test = stats.ttest_rel(values[:, 1:], values[:, :1])
    assert found.difference_p() == pytest.approx(test.pvalue)
    low, high = found.interval(0.95)
    assert low == pytest.approx(test.confidence_interval(0.95).low)
    assert high == pytest.approx(test.confidence_interval(0.95).high)


def test_two_tasks_are_welch(rng):
    """The mean of two tasks' differences is half of Welch's difference of one and the other's negative."""
    one, other = rng.standard_t(4, size=60), 3 * rng.standard_t(4, size=25)
    found = paired_means({"a": one[:, None], "b": other[:, None]})
    welch = stats.ttest_ind(one, -other, equal_var=False)
    assert (found.t()[0], found.df[0]) == pytest.approx((welch.statistic, welch.df))


def test_equivalence_is_an_interval_within_the_margin(rng):
    moved = 0.05 * rng.standard_normal((400, 60)) + np.linspace(-0.02, 0.02, 60)
    found = paired_means({"own": moved})
    low, high = found.interval(0.90)
    inside = (low > -0.01) & (high < 0.01)
    assert ((found.equivalence_p(0.01) < 0.05) == inside).all()
    assert 0 < inside.sum() < 60
    with pytest.raises(StatisticsError, match="margin of equivalence"):
        found.equivalence_p(1.5)


def test_clusters_are_drawn_together(rng):
    clusters = np.repeat(np.arange(30), 20)
    moved = 0.05 * rng.standard_normal((600, 1)) + 0.1 * rng.standard_normal((30, 1))[clusters]
    alone, together = paired_means({"a": moved}), paired_means({"a": moved}, {"a": clusters})
    assert together.error[0] == pytest.approx(moved.reshape(30, 20).mean(axis=1).std(ddof=1) / np.sqrt(30))
    assert together.df[0] == 29
    assert together.error[0] > 3 * alone.error[0]


def test_a_quant_that_changes_nothing_is_equal():
    found = paired_means({"a": np.zeros((50, 1))})
    assert found.difference_p() == [1.0]
    assert found.equivalence_p(0.01) == [0.0]
    assert np.isnan(found.items_to_decide(50, 0.01, 0.05)).all()
    volume, direction = volume_and_direction({"a": np.zeros((50, 1))})
    assert volume.net == [0.0]
    assert np.isnan(direction.net).all()


def test_volume_and_direction(rng):
    moved = rng.standard_t(3, size=(500, 2)) * 0.05 + [0.0, 0.05]
    volume, direction = volume_and_direction({"a": moved})
    assert volume.net == pytest.approx(np.abs(moved).mean(axis=0))
    assert direction.net == pytest.approx(moved.mean(axis=0) / np.abs(moved).mean(axis=0))
    draws = moved[rng.integers(500, size=(2000, 500))]
    spread = (draws.mean(axis=1) / np.abs(draws).mean(axis=1)).std(axis=0)
    assert direction.error == pytest.approx(spread, rel=0.1)


def test_the_items_needed_decide_with_the_power_stated(rng):
    """At the number stated, four of five cohorts of the same kind are decided."""
    seen = paired_means({"a": np.where(np.arange(400) % 2, 0.05, -0.05)[:, None] + 0.001})
    needed = int(seen.items_to_decide(400, 0.01, 0.05)[0])
    draws = np.where(rng.random((1500, needed)) < 0.5, 0.05, -0.05) + 0.001
    decided = [paired_means({"a": d[:, None]}).equivalence_p(0.01)[0] <= 0.05 for d in draws]
    assert np.mean(decided) == pytest.approx(0.8, abs=0.04)


def test_coverage_where_differences_are_heavy_tailed(rng):
    """95 % intervals of the mean difference over 300 items hold the true one, which a million items give."""
    true = np.diff(heavy(np.random.default_rng(1), 1_000_000, 1, net=0.004), axis=1).mean()
    held = 0
    for _ in range(800):
        low, high = paired_means({"a": np.diff(heavy(rng, 300, 1, net=0.004), axis=1)}).interval(0.95)
        held += bool(low[0] <= true <= high[0])
    assert 0.93 <= held / 800 <= 0.975
