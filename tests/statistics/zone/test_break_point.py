"""The hinge against least squares at every break, and its test against straight lines and bends."""

import numpy as np
import pandas as pd
import pytest

from qkld.errors import StatisticsError
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.zone.break_point import break_cuts, break_point, break_table

SETTINGS = Resampling(confidence=0.95, resamples=199, permutations=99, seed=3)


def cohort_of(kld, scores):
    labels = [f"q{i}" for i in range(len(kld))]
    columns = {"label": labels, "role": "quant", "kl_mean": kld, "score_t": scores, "composite": np.nan}
    return pd.DataFrame(columns)


def residual_sum(x, y, cut):
    design = np.column_stack([np.ones(x.size), x, np.maximum(0, x - cut)])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    return ((y - design @ coefficients) ** 2).sum(), coefficients


def test_the_break_is_the_best_of_all_hinges(rng):
    kld = np.exp(rng.uniform(-6, 0, 24))
    scores = 0.7 - 0.05 * np.maximum(0, np.log(kld) + 3) + rng.normal(0, 0.01, 24)
    found = break_point(kld, scores, resamples=99, rng=rng)
    x = np.log(kld)
    candidates = [c for c in x if (x <= c).sum() >= 5 and (x > c).sum() >= 5]
    sums = [residual_sum(x, scores, c)[0] for c in candidates]
    best = candidates[int(np.argmin(sums))]
    assert found.cut == pytest.approx(np.exp(best))
    assert break_cuts(kld, [scores, -scores]) == pytest.approx(np.exp([best, best]))
    _, coefficients = residual_sum(x, scores, best)
    assert found.slope_below == pytest.approx(coefficients[1])
    assert found.slope_above == pytest.approx(coefficients[1] + coefficients[2])


def test_a_bend_is_found_and_its_sign_follows_the_score(rng):
    kld = np.exp(np.linspace(-6, 0, 30))
    scores = 0.7 - 0.1 * np.maximum(0, np.log(kld) + 3) + rng.normal(0, 0.005, 30)
    one = break_point(kld, scores, resamples=199, rng=np.random.default_rng(1))
    other = break_point(kld, -scores, resamples=199, rng=np.random.default_rng(1))
    assert one.p_break == 1 / 200
    assert one.cut == pytest.approx(np.exp(-3), rel=0.3)
    assert one.hinge_gain > 10
    assert (other.p_break, other.cut) == (one.p_break, one.cut)
    assert other.slope_above == pytest.approx(-one.slope_above)


def test_a_straight_line_with_growing_spread_is_rarely_refused():
    rng, refused = np.random.default_rng(5), 0
    for _ in range(300):
        x = np.sort(rng.uniform(0, 5.3, 28))
        scores = -0.5 * x + np.exp(0.5 * x) * rng.normal(size=28)
        refused += break_point(np.exp(x), scores, resamples=99, rng=rng).p_break <= 0.05
    assert refused / 300 < 0.1


def test_a_steady_loss_is_no_break(rng):
    kld = np.exp(np.linspace(-6, 0, 30))
    cohort = cohort_of(kld, 0.7 - 0.2 * kld + rng.normal(0, 0.004, 30))
    row = break_table(cohort, ["t"], resampling=SETTINGS).iloc[0]
    assert row["p_break"] <= 0.05
    assert row["hinge_gain"] < 0
    assert row["note"] == "a loss linear in KLD fits as well as the break"


def test_quants_without_divergence_are_counted_and_left_out(rng):
    kld, scores = np.exp(rng.uniform(-6, 0, 20)), rng.normal(size=20)
    row = break_table(cohort_of([0.0, *kld], [1.0, *scores]), ["t", "composite"], resampling=SETTINGS)
    rest = break_table(cohort_of(kld, scores), ["t"], resampling=SETTINGS)
    assert (row["n"].iloc[0], row["zeros"].iloc[0]) == (20, 1)
    assert row["p_break"].iloc[0] == rest["p_break"].iloc[0]
    assert np.isnan(row["p_break"].iloc[1])
    assert "composite" in row["note"].iloc[1]


def test_too_few_quants_on_a_side_are_refused(rng):
    with pytest.raises(StatisticsError, match="at least 10 quants"):
        break_point(np.exp(rng.normal(size=9)), rng.normal(size=9), resamples=9, rng=rng)
