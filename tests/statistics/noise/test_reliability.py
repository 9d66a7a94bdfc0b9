"""Reliability against analysis of variance taken literally, against pingouin, and by what it promises."""

import numpy as np
import pandas as pd
import pingouin
import pytest
from numpy.typing import ArrayLike
from simulated_answers import answered_study, labels_of, noise_of
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import composite_noise, item_covariance, noise_by_benchmark
from qkld.statistics.items.scores import correct_matrix
from qkld.statistics.noise.reliability import (
    MeanSquares,
    Reliability,
    attainable,
    disattenuated,
    items_for_reliability,
    noise_mean_squares,
    reliability,
    spearman_brown,
)
from validation.calibration.worlds import draw_cohort


@pytest.fixture
def correct(rng):
    """Answers (items, quants)."""
    return draw_cohort("W1", 28, 8, rng=rng).answers(250, rng=rng)[:, 1:].astype(int)


def hoyt_mean_squares(correct: ArrayLike) -> MeanSquares:
    """Hoyt's (1941) mean squares of answers (items, quants) of 0 and 1: quants as persons, items as items."""
    answers = np.asarray(correct, dtype=float)
    items, quants = answers.shape
    by_quant, by_item, right = answers.mean(axis=0), answers.mean(axis=1), answers.mean()
    total = items * quants * right * (1 - right)
    between_quants = items * float(((by_quant - right) ** 2).sum())
    between_items = quants * float(((by_item - right) ** 2).sum())
    df_quants, df_residual = quants - 1, (quants - 1) * (items - 1)
    residual = (total - between_quants - between_items) / df_residual
    return MeanSquares(between_quants / df_quants, max(0.0, residual), df_quants, df_residual)


def test_alpha_is_cronbachs_of_pingouin(correct):
    expected, _ = pingouin.cronbach_alpha(data=pd.DataFrame(correct.T))
    assert reliability(hoyt_mean_squares(correct), 0.95).estimate == pytest.approx(expected, abs=1e-12)


def test_feldt_interval_is_pingouins(correct):
    _, interval = pingouin.cronbach_alpha(data=pd.DataFrame(correct.T), ci=0.95)
    alpha = reliability(hoyt_mean_squares(correct), 0.95)
    assert [alpha.low, alpha.high] == pytest.approx(interval, abs=6e-4)


def test_mean_squares_are_those_of_a_two_way_analysis_of_variance(correct):
    small = correct[:30]
    long = pd.DataFrame({"y": small.ravel(), "item": np.repeat(np.arange(30), 8), "quant": np.tile(np.arange(8), 30)})
    anova = anova_lm(ols("y ~ C(item) + C(quant)", long).fit())
    squares = hoyt_mean_squares(small)
    assert squares.quants == pytest.approx(anova.loc["C(quant)", "mean_sq"], rel=1e-9)
    assert squares.residual == pytest.approx(anova.loc["Residual", "mean_sq"], rel=1e-9)
    assert reliability(squares, 0.9).p == pytest.approx(anova.loc["C(quant)", "PR(>F)"], rel=1e-6)


def test_noise_gives_hoyts_mean_squares_exactly(correct):
    hoyt = hoyt_mean_squares(correct)
    own = noise_mean_squares(noise_of(correct.mean(axis=0), item_covariance(correct), len(correct)))
    assert own.quants == pytest.approx(hoyt.quants / 250, rel=1e-10)
    assert own.residual == pytest.approx(hoyt.residual / 250, rel=1e-10)
    assert (own.df_quants, own.df_residual) == (hoyt.df_quants, hoyt.df_residual)


def test_composite_gives_stratified_alpha(rng):
    items, _ = answered_study(rng)
    noises = noise_by_benchmark(
        items, reference="ref", quants=labels_of(8), benchmarks=["easy", "hard"], tasks=["easy", "hard"]
    )
    alphas, spreads = [], []
    for benchmark in ("easy", "hard"):
        answers = correct_matrix(items, benchmark)[labels_of(8)].to_numpy()
        alphas.append(reliability(hoyt_mean_squares(answers), 0.95).estimate)
        spreads.append(answers.mean(axis=0).var(ddof=1))
    both = composite_noise([noises["easy"], noises["hard"]])
    stratified = 1 - sum(0.25 * s * (1 - a) for s, a in zip(spreads, alphas, strict=True)) / both.net.var(ddof=1)
    assert reliability(noise_mean_squares(both), 0.95).estimate == pytest.approx(stratified, abs=1e-12)


def test_alpha_is_at_most_one_and_ignores_the_order_of_items(correct, rng):
    alpha = reliability(hoyt_mean_squares(correct), 0.95)
    again = reliability(hoyt_mean_squares(correct[rng.permutation(250)]), 0.95)
    assert alpha.low < alpha.estimate < alpha.high <= 1
    assert again.estimate == pytest.approx(alpha.estimate, abs=1e-13)
    assert reliability(hoyt_mean_squares(np.tile([[0, 0, 1, 1]], (20, 1))), 0.95).estimate == 1


def test_split_halves_stepped_up_agree_with_alpha(rng):
    correct = draw_cohort("W1", 28, 16, rng=rng).answers(3000, rng=rng)[:, 1:].astype(int)
    stepped = []
    for _ in range(60):
        order = rng.permutation(3000)
        halves = np.corrcoef(correct[order[:1500]].mean(axis=0), correct[order[1500:]].mean(axis=0))
        stepped.append(spearman_brown(halves[0, 1], 2))
    assert np.mean(stepped) == pytest.approx(reliability(hoyt_mean_squares(correct), 0.95).estimate, abs=0.06)


def test_feldt_interval_covers_the_reliability(rng):
    """Normal quant effects and independent errors: the model that Feldt's interval is for."""
    held = 0
    for _ in range(300):
        scores = rng.normal(0, 0.02, 12)[None] + rng.normal(0, 0.4, (400, 12))
        squares = noise_mean_squares(noise_of(scores.mean(axis=0), item_covariance(scores), 400))
        alpha = reliability(squares, 0.9)
        held += alpha.low <= 0.02**2 / (0.02**2 + 0.4**2 / 400) <= alpha.high
    assert 0.85 <= held / 300 <= 0.95


def test_a_perfect_predictor_shows_the_attainable_correlation(rng):
    truth = rng.normal(size=200_000)
    alpha = 0.4
    noisy = truth + rng.normal(0, np.sqrt(1 / alpha - 1), truth.size)
    assert np.corrcoef(truth, noisy)[0, 1] == pytest.approx(attainable(alpha), abs=0.01)
    assert attainable(-0.2) == 0


def test_spearman_brown_and_the_items_it_asks_for():
    assert spearman_brown(0.5, 2) == pytest.approx(2 / 3)
    items = items_for_reliability(1000, 0.3, 0.8)
    assert spearman_brown(0.3, items / 1000) == pytest.approx(0.8, abs=1e-4)
    assert np.isnan(items_for_reliability(1000, -0.1, 0.8))


def test_a_correlation_is_corrected_only_where_noise_leaves_enough():
    sure = Reliability(0.81, 0.6, 0.9, 1 / 0.19, 1e-6)
    assert disattenuated(-0.45, sure) == pytest.approx(-0.5)
    assert disattenuated(-0.45, sure, 0.25) == pytest.approx(-1.0)
    assert disattenuated(0.99, sure) == 1
    with pytest.raises(StatisticsError, match=r"0\.50 \[0\.30, 0\.80\]"):
        disattenuated(-0.45, Reliability(0.5, 0.3, 0.8, 2, 0.1))


def test_constant_scores_and_too_few_quants_have_no_reliability():
    with pytest.raises(StatisticsError, match="at least 2 distinct scores"):
        reliability(hoyt_mean_squares([[0, 1, 0], [1, 0, 1], [1, 1, 1], [1, 1, 1]][:2] * 2), 0.95)
    with pytest.raises(StatisticsError, match="at least 3 quants"):
        noise_mean_squares(noise_of([0.0, 0.1], np.eye(2)))
