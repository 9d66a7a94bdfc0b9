"""The zone's edge: what tells quants apart is McNemar's test, the law is that of the simulated worlds."""

import numpy as np
import pytest
from simulated_answers import answered_study, labels_of

from qkld.errors import StatisticsError
from qkld.statistics.flips.flips import count_flips
from qkld.statistics.items.covariance import noise_by_benchmark
from qkld.statistics.items.scores import correct_matrix
from qkld.statistics.noise.reliability import noise_mean_squares, reliability, spearman_brown
from qkld.statistics.zone.edge import (
    CRITICAL_Z,
    Answers,
    answers_of,
    answers_reliability,
    edge,
    halvings,
    log_slope,
    subset,
    told_apart,
    zone_edge_table,
)
from qkld.study.registry import registered
from validation.calibration.worlds import draw_cohort

QUANTS = labels_of(8)


@pytest.fixture
def study(rng):
    return answered_study(rng, "W2", items=800)


def test_quants_are_told_apart_by_mcnemar(study):
    items, _ = study
    matrix = correct_matrix(items, "easy")
    flips = [count_flips(matrix["ref"], matrix[label]) for label in QUANTS]
    told = told_apart(answers_of(items, reference="ref", quants=QUANTS, benchmarks=["easy"]))
    assert list(told) == [abs(f.z) > CRITICAL_Z for f in flips]
    assert told.any()


def test_a_quant_without_flips_is_not_told_apart():
    assert list(told_apart([Answers(np.zeros((50, 2)), np.ones(50))])) == [False, False]


def test_reliability_is_that_of_the_noise_clustered_or_not(study):
    items, _ = study
    both = ["easy", "hard"]
    for table in (items, items.assign(cluster=items["item"].str[:4])):
        answers = answers_of(table, reference="ref", quants=QUANTS, benchmarks=both)
        noise = noise_by_benchmark(table, reference="ref", quants=QUANTS, benchmarks=both, tasks=both)["composite"]
        expected = reliability(noise_mean_squares(noise), 0.95).estimate
        assert answers_reliability(answers) == pytest.approx(expected, abs=1e-10)


def test_subsets_are_of_the_size_asked_for_and_drawn_anew(study, rng):
    answers = answers_of(study[0], reference="ref", quants=QUANTS, benchmarks=["easy", "hard"])
    half = subset(answers, 0.5, 30, rng=rng)
    assert (half.items, half.draws) == (800, 30)
    assert ((half.rejected >= 0) & (half.rejected <= 1)).all()
    assert set(np.unique(half.rejected)) - {0.0, 1.0}
    whole = subset(answers, 1.0, 30, rng=rng)
    assert (whole.items, whole.draws) == (1600, 1)
    assert whole.reliability == answers_reliability(answers)


def test_same_seed_same_subsets(study):
    answers = answers_of(study[0], reference="ref", quants=QUANTS, benchmarks=["easy"])
    first, same, other = (subset(answers, 0.25, 9, rng=np.random.default_rng(s)).rejected for s in (1, 1, 2))
    assert (first == same).all()
    assert (first != other).any()


def test_edge_is_where_half_are_told_apart():
    kld = np.exp(np.arange(5.0))
    assert edge(kld, [0, 0.2, 0.4, 0.8, 1]) == pytest.approx(np.exp(2.25))
    assert edge(kld, [0, 0.2, 0.6, 0.2, 1]) == pytest.approx(np.exp(3 + 1 / 6))
    assert edge(kld[::-1], [1, 0.8, 0.4, 0.2, 0]) == pytest.approx(np.exp(2.25))
    assert edge(np.append(0, kld), [1, 0, 0.2, 0.4, 0.8, 1]) == pytest.approx(np.exp(2.25))


def test_no_edge_is_no_number():
    with pytest.raises(StatisticsError, match="above the largest KLD of 3"):
        edge([0.1, 0.2, 0.3], [0, 0.1, 0.4])
    with pytest.raises(StatisticsError, match="below the smallest KLD of 3"):
        edge([0.1, 0.2, 0.3], [0.5, 0.8, 0.9])
    with pytest.raises(StatisticsError, match="at least 3 numbers of items with an edge"):
        log_slope([100, 200, 400], [0.1, np.nan, 0.05])


def test_slope_is_the_power_of_the_items():
    items = np.array([500, 1000, 2000, 4000])
    assert log_slope(items, 3 * items ** (-2 / 3)) == pytest.approx(-2 / 3)
    assert log_slope([*items, 9000], [*(7 / items), np.nan]) == pytest.approx(-1)


def test_halvings_keep_enough_items(study):
    answers = answers_of(study[0], reference="ref", quants=QUANTS, benchmarks=["easy", "hard"])
    assert halvings(answers) == [1, 0.5, 0.25, 0.125, 0.0625]


def test_a_smooth_loss_has_a_smooth_losses_law(rng):
    """W0, many quants and items: the edge shrinks about as N^(−2/3) to N^(−.8)."""
    cohort = draw_cohort("W0", 60, 60, rng=rng)
    right = cohort.answers(20_000, rng=rng).astype(int)
    answers = [Answers((right[:, 1:] - right[:, :1]).astype(float), np.ones(20_000))]
    shares = [0.5, 0.25, 0.125, 0.0625]
    found = [subset(answers, share, 12, rng=rng) for share in shares]
    slope = log_slope([one.items for one in found], [edge(cohort.kld, one.rejected) for one in found])
    assert -1.1 < slope < -0.45


def test_table_has_its_columns_and_says_why_there_is_no_edge(study, rng):
    items, cohort = study
    tasks = {"easy": ["easy"], "composite": ["easy", "hard"]}
    table = zone_edge_table(items, cohort, reference="ref", tasks=tasks, draws=12, rng=rng)
    assert tuple(table.columns) == registered("zone_edge").columns
    assert list(table["items"]) == [800, 400, 200, 100, 50, 1600, 800, 400, 200, 100]
    assert (table["edge"].isna() <= (table["note"] != "")).all()
    whole = table.iloc[0]
    assert whole["draws"] == 1
    assert table["expected_reliability"].iloc[1] == pytest.approx(spearman_brown(whole["reliability"], 0.5))
    few = zone_edge_table(items[items["item"] < "00060"], cohort, reference="ref", tasks=tasks, draws=5, rng=rng)
    assert few["edge_slope"].isna().all()
    assert few["note"].str.contains("at least 3 numbers of items with an edge").all()
