"""The two-way bootstrap against its definition, draw by draw, and what must not change it."""

import numpy as np
import pytest
from correlation_columns import METHODS, scipy_correlation

from qkld.errors import StatisticsError
from qkld.statistics.core.correlations_of_resamples import resample_counts
from qkld.statistics.correlation.twoway import TwoWay, draw_items

LABELS = [f"q{i}" for i in range(7)]


def answers(rng, items=60, models=7):
    return rng.random((models, items)) < np.linspace(0.4, 0.8, models)[:, None]


def drawn(correct, seed=1, resamples=40, **more):
    return draw_items(correct, LABELS, resamples=resamples, rng=np.random.default_rng(seed), **more)


def test_scores_of_a_draw_are_those_of_the_items_drawn(rng):
    correct = answers(rng)
    order = np.lexsort(correct[::-1])
    counts = resample_counts(60, 40, rng=np.random.default_rng(1))
    expected = [np.repeat(correct[:, order], count.astype(int), axis=1).mean(axis=1) for count in counts]
    assert drawn({"t": correct}).redrawn["t"] == pytest.approx(np.array(expected), abs=1e-15)
    assert (drawn({"t": correct}).observed["t"] == correct.mean(axis=1)).all()


def test_redrawn_scores_have_the_noise_of_their_items(rng):
    correct = answers(rng, items=400)
    redrawn = drawn({"t": correct}, resamples=4000).redrawn["t"]
    assert redrawn.mean(axis=0) == pytest.approx(correct.mean(axis=1), abs=0.003)
    assert np.cov(redrawn.T) == pytest.approx(np.cov(correct, ddof=0) / 400, abs=6e-5)


def test_permuting_items_changes_nothing(rng):
    correct, order = answers(rng), rng.permutation(60)
    passages = rng.integers(0, 15, 60)
    first, other = drawn({"t": correct}), drawn({"t": correct[:, order]})
    assert (first.redrawn["t"] == other.redrawn["t"]).all()
    first = drawn({"t": correct}, clusters={"t": passages})
    other = drawn({"t": correct[:, order]}, clusters={"t": passages[order]})
    assert (first.redrawn["t"] == other.redrawn["t"]).all()


def test_clusters_are_drawn_whole(rng):
    correct = np.repeat(answers(rng, items=12), 5, axis=1)
    passages = np.repeat(np.arange(12), 5)
    whole = drawn({"t": correct}, resamples=3000, clusters={"t": passages}).redrawn["t"].std(axis=0)
    single = drawn({"t": correct}, resamples=3000).redrawn["t"].std(axis=0)
    assert whole / single == pytest.approx(np.full(7, np.sqrt(5)), rel=0.06)
    named = {"t": [f"passage {p}" for p in passages]}
    assert drawn({"t": correct}, clusters=named).redrawn["t"].shape == (40, 7)


def test_clusters_of_one_item_are_items(rng):
    correct = answers(rng)
    single = drawn({"t": correct}, clusters={"t": np.arange(60)})
    assert (single.redrawn["t"] == drawn({"t": correct}).redrawn["t"]).all()


def test_the_composite_is_the_mean_of_its_tasks(rng):
    draws = drawn({"a": answers(rng), "b": answers(rng, items=31), "c": answers(rng)}, tasks=["a", "b"])
    assert draws.redrawn["composite"] == pytest.approx((draws.redrawn["a"] + draws.redrawn["b"]) / 2, abs=1e-11)
    assert draws.observed["composite"] == pytest.approx((draws.observed["a"] + draws.observed["b"]) / 2, abs=1e-11)
    assert "composite" not in drawn({"a": answers(rng)}).redrawn


@pytest.mark.parametrize("method", METHODS)
def test_two_way_draws_are_correlations_of_drawn_quants_with_redrawn_scores(method, rng):
    x, scores = np.exp(rng.normal(size=7)), np.round(rng.random((50, 7)), 1)
    counts = resample_counts(7, 50, rng=rng)
    fast = TwoWay(counts, scores).correlations(np.log(x) if method == "pearson_log" else x, method)
    for value, count, row in zip(fast, counts.astype(int), scores, strict=True):
        a, b = np.repeat(x, count), np.repeat(row, count)
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(scipy_correlation(a, b, method), abs=1e-12)


def test_same_seed_same_draws(rng):
    correct = {"t": answers(rng)}
    assert (drawn(correct).redrawn["t"] == drawn(correct).redrawn["t"]).all()
    assert (drawn(correct).redrawn["t"] != drawn(correct, seed=2).redrawn["t"]).any()


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.full((7, 9), 0.5), "values"),
        (np.ones((6, 9)), "7 rows"),
        (np.ones((7, 1)), "at least 2 items"),
    ],
)
def test_what_is_no_table_of_answers_is_refused(matrix, message):
    with pytest.raises(StatisticsError, match=message):
        drawn({"mmlu": matrix})


def test_items_must_be_those_of_the_table(rng):
    correct = answers(rng)
    draws, scores = drawn({"t": correct}), correct.mean(axis=1)
    assert (draws.of("t", ["q3", "q1"], scores[[3, 1]]) == draws.redrawn["t"][:, [3, 1]]).all()
    with pytest.raises(StatisticsError, match="found:    q1"):
        draws.of("t", ["q3", "q1"], scores[[3, 2]])
    with pytest.raises(StatisticsError, match="none for q9"):
        draws.of("t", ["q9"], [0.5])
    with pytest.raises(StatisticsError, match="numbers of resamples of quants and items differ"):
        TwoWay(np.ones((30, 7)), draws.redrawn["t"])
