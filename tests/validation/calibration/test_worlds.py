"""The simulated worlds against their own items, and against what their table says of them."""

import numpy as np
import pytest
from scipy import stats

from qkld.statistics.items.covariance import item_covariance
from validation.calibration.worlds import BROKEN, KLD_RANGE, RIGHT, WORLDS, draw_cohort, true_r2

ITEMS = 200_000


@pytest.mark.parametrize("world", ["WN", "W0", "W1", "W2", "W3:.05"])
def test_exact_scores_and_covariance_are_those_of_many_items(world, rng):
    cohort = draw_cohort(world, 28, 6, rng=rng)
    right = cohort.answers(ITEMS, rng=rng).astype(int)
    moved = right[:, 1:] - right[:, :1]
    seen = item_covariance(moved) * ITEMS
    error = np.sqrt(np.diag(cohort.item_covariance) / ITEMS)
    assert np.abs((moved.mean(axis=0) - cohort.net) / error).max() < 4
    assert np.diag(seen) / np.diag(cohort.item_covariance) == pytest.approx(np.ones(6), abs=0.06)
    scale = np.sqrt(np.outer(np.diag(seen), np.diag(seen)))
    assert seen / scale == pytest.approx(cohort.item_covariance / scale, abs=0.06)
    assert right[:, 0].mean() == pytest.approx(RIGHT, abs=0.005)


def test_truth_is_what_each_world_says(rng):
    cohorts = {world: [draw_cohort(world, 41, 16, rng=rng) for _ in range(60)] for world in WORLDS}
    assert max(np.abs(c.net).max() for c in cohorts["WN"]) < 1e-12
    for world in ("W0", "W2"):
        assert all(stats.spearmanr(c.kld, c.net).statistic == pytest.approx(-1) for c in cohorts[world])
    shares = {w: np.nanmedian([true_r2(c.net, c.kld)[0] for c in cs]) for w, cs in cohorts.items() if w != "WN"}
    assert shares["W0"] > 0.97
    assert shares["W2"] > 0.99
    assert shares["W2"] > shares["W3:.03"] > shares["W3:.05"] > shares["W3:.08"] > shares["W3:.12"] > shares["W1"]
    assert shares["W1"] < 0.25


def test_a_zone_is_the_lowest_of_its_cohort(rng):
    cohort = draw_cohort("W0", 41, 16, rng=rng)
    assert cohort.kld.size == 16
    assert (np.diff(cohort.kld) > 0).all()
    assert KLD_RANGE[0] <= cohort.kld[0] < cohort.kld[-1] < KLD_RANGE[1]
    assert BROKEN == -0.03


def test_true_share_is_that_of_a_line_in_the_root():
    kld = np.array([0.01, 0.02, 0.05, 0.1])
    assert true_r2(-np.sqrt(kld), kld) == (pytest.approx(1), -1)
    net = np.array([0.0, 0.1, 0.0, 0.1])
    assert true_r2(net, kld)[0] == pytest.approx(stats.pearsonr(np.sqrt(kld), net).statistic ** 2)
    assert np.isnan(true_r2(np.zeros(4), kld)[0])


def test_an_unknown_world_is_refused(rng):
    with pytest.raises(ValueError, match="W9"):
        draw_cohort("W9", 28, 12, rng=rng)
