"""Score noise without items: binomial errors, and the range that unknown overlap leaves."""

import numpy as np
import pandas as pd
import pytest

from qkld.calibration.worlds import draw_cohort
from qkld.errors import StatisticsError
from qkld.statistics.covariance import item_covariance
from qkld.statistics.from_counts import (
    binomial_variance,
    correlation_from_flips,
    counts_noise_table,
    reliability_range,
)
from qkld.statistics.reliability import hoyt_mean_squares, reliability


@pytest.fixture
def answers(rng):
    """Answers of 8 quants, (items, quants)."""
    return draw_cohort("W1", 28, 8, rng=rng).answers(2000, rng=rng)[:, 1:].astype(int)


def test_variance_is_that_of_the_items(answers):
    scores = answers.mean(axis=0)
    assert binomial_variance(scores, 2000) == pytest.approx(np.diag(item_covariance(answers)), rel=1e-3)


def test_the_reliability_of_the_items_lies_in_the_range(answers):
    scores = answers.mean(axis=0)
    found = reliability_range(scores, binomial_variance(scores, 2000), shared=(0.0, 1.0))
    true = reliability(hoyt_mean_squares(answers), 0.95).estimate
    assert found.least <= max(true, 0) <= found.most == 1
    low, high = found.attainable
    assert (low, high) == pytest.approx((np.sqrt(found.least), 1.0))


def test_the_true_overlap_gives_the_true_reliability(answers):
    scores = answers.mean(axis=0)
    overlap = np.corrcoef(answers.T)[np.triu_indices(8, 1)].mean()
    found = reliability_range(scores, binomial_variance(scores, 2000), shared=(overlap, overlap))
    assert found.least == pytest.approx(max(0, reliability(hoyt_mean_squares(answers), 0.95).estimate), abs=0.02)


def test_overlap_follows_from_flips(answers):
    a, b = answers[:, 0], answers[:, 7]
    score = (a.mean() + b.mean()) / 2
    assert correlation_from_flips(np.mean(a != b), score) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=0.01)
    assert correlation_from_flips(0.02, 0.72) == pytest.approx(0.95, abs=0.001)


def test_table_gives_each_score_and_their_mean():
    cohort = pd.DataFrame(
        {
            "label": list("rabcd"),
            "role": ["reference", *["quant"] * 4],
            "score_x": [0.8, 0.8, 0.7, 0.6, 0.5],
            "score_y": [0.5, 0.5, 0.5, 0.4, 0.4],
        }
    )
    members = cohort["label"].isin(["a", "b"])
    table = counts_noise_table(cohort, members, ["x", "y", "composite"], {"x": 400, "y": 100})
    full = table[table["subset"] == "full"].set_index("benchmark")
    assert full.loc["x", "mean_se"] == pytest.approx(np.sqrt(np.mean([0.16, 0.21, 0.24, 0.25]) / 400))
    assert full.loc["composite", "items"] == 500
    parts = binomial_variance([0.8, 0.7, 0.6, 0.5], 400) + binomial_variance([0.5, 0.5, 0.4, 0.4], 100)
    assert full.loc["composite", "mean_se"] == pytest.approx(np.sqrt((parts / 4).mean()))
    assert 0 <= full.loc["x", "attainable_low"] < full.loc["x", "attainable_high"] < 1
    zone = table[table["subset"] == "zone"]
    assert zone["attainable_low"].isna().all()
    assert zone["note"].str.contains("at least 3 quants").all()
    unknown = counts_noise_table(cohort, members, ["x", "composite"], {"y": 100})
    assert unknown["mean_se"].isna().all()
    assert unknown["note"].str.contains("number of items is not known").all()


def test_scores_that_are_no_shares_are_refused():
    with pytest.raises(StatisticsError, match="1 of 2 scores outside"):
        binomial_variance([0.5, 55.0], 100)
    with pytest.raises(StatisticsError, match="at least 1 item"):
        binomial_variance([0.5], 0)
    with pytest.raises(StatisticsError, match="1 distinct scores"):
        reliability_range([0.5, 0.5, 0.5], [0.1, 0.1, 0.1])
