"""Item noise against its definition, and the identities that hold exactly."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from simulated_answers import answered_study, labels_of, noise_of

from qkld.errors import StatisticsError
from qkld.statistics.flips.flips import count_flips
from qkld.statistics.items.covariance import (
    benchmark_noise,
    composite_noise,
    item_covariance,
    net_differences,
    noise_by_benchmark,
)
from qkld.statistics.items.scores import correct_matrix
from qkld.statistics.items.units import unit_sums

QUANTS = labels_of(8)


@pytest.fixture
def items(rng):
    return answered_study(rng)[0]


def test_net_is_leapfrogs_minus_drops_exactly(items):
    noise = benchmark_noise(items, "easy", reference="ref", quants=QUANTS)
    matrix = correct_matrix(items, "easy")
    for label, net in zip(QUANTS, noise.net, strict=True):
        flips = count_flips(matrix["ref"], matrix[label])
        assert net == float(Fraction(flips.leapfrogs - flips.drops, flips.items))
    assert (noise.items, noise.units) == (400, 400)


def test_covariance_is_that_of_the_mean(items):
    noise = benchmark_noise(items, "easy", reference="ref", quants=QUANTS)
    differences = net_differences(correct_matrix(items, "easy"), "ref", QUANTS)
    assert noise.covariance == pytest.approx(np.cov(differences.T) / 400, rel=1e-12, abs=1e-18)


def test_covariance_is_that_of_scores_on_other_items(rng):
    differences = rng.choice([-1, 0, 0, 0, 1], size=(300, 3))
    differences[:, 2] = differences[:, 0]
    means = np.stack([differences[rng.integers(0, 300, 300)].mean(axis=0) for _ in range(4000)])
    assert item_covariance(differences) == pytest.approx(np.cov(means.T), rel=0.1, abs=2e-5)


def test_clusters_of_one_item_change_nothing_and_clusters_of_copies_do(rng):
    differences = rng.choice([-1, 0, 1], size=(60, 4))
    alone = item_covariance(differences)
    assert item_covariance(differences, np.arange(60)) == pytest.approx(alone, rel=1e-12)
    copies = item_covariance(np.repeat(differences, 5, axis=0), np.repeat(np.arange(60), 5))
    assert copies == pytest.approx(alone, rel=1e-12)


def test_clusters_are_summed_as_cr1_says(rng):
    differences = rng.choice([-1, 0, 1], size=(90, 2)).astype(float)
    clusters = np.array([f"passage {i}" for i in rng.integers(0, 12, 90)])
    deviations = differences - differences.mean(axis=0)
    sums = [deviations[clusters == name].sum(axis=0) for name in np.unique(clusters)]
    literal = sum(np.outer(s, s) for s in sums) / 90**2 * len(sums) / (len(sums) - 1)
    assert item_covariance(differences, clusters) == pytest.approx(literal, rel=1e-12)
    assert unit_sums(differences, clusters).sum() == differences.sum()


def test_order_of_items_changes_nothing(items, rng):
    shuffled = items.sample(frac=1, random_state=4)
    first, again = (benchmark_noise(t, "hard", reference="ref", quants=QUANTS) for t in (items, shuffled))
    assert (first.net == again.net).all()
    assert (first.covariance == again.covariance).all()


def test_swapping_reference_and_quant_flips_the_sign(items):
    there, back = (benchmark_noise(items, "easy", reference=a, quants=[b]) for a, b in (("ref", "q05"), ("q05", "ref")))
    assert there.net[0] == -back.net[0] != 0
    assert there.covariance == pytest.approx(back.covariance, rel=1e-12)


def test_contrasts_of_quants_do_not_depend_on_the_reference(items):
    with_reference, without = (benchmark_noise(items, "easy", reference=r, quants=QUANTS) for r in ("ref", None))
    contrast = np.eye(8) - 1 / 8
    assert contrast @ with_reference.net == pytest.approx(contrast @ without.net, abs=1e-15)
    spreads = [contrast @ noise.covariance @ contrast for noise in (with_reference, without)]
    assert spreads[0] == pytest.approx(spreads[1], abs=1e-16)
    assert with_reference.has_reference
    assert not without.has_reference


def test_composite_is_the_mean_with_squared_weights(items):
    noises = noise_by_benchmark(
        items, reference="ref", quants=QUANTS, benchmarks=["easy", "hard"], tasks=["easy", "hard"]
    )
    easy, hard = noises["easy"], noises["hard"]
    assert noises["composite"].net == pytest.approx((easy.net + hard.net) / 2, abs=1e-16)
    assert noises["composite"].covariance == pytest.approx((easy.covariance + hard.covariance) / 4, rel=1e-12)
    assert noises["composite"].items == 800
    weighted = composite_noise([easy, hard], [3, 1])
    assert weighted.covariance == pytest.approx((9 * easy.covariance + hard.covariance) / 16, rel=1e-12)
    assert set(noise_by_benchmark(items, reference="ref", quants=QUANTS, benchmarks=["easy"], tasks=[])) == {"easy"}


def test_what_runs_change_is_in_the_item_noise_once(rng):
    """Answers that 2 % of runs flip: the variance of scores over items and runs is the one stated, with no addition."""
    contrast = np.eye(8) - 1 / 8
    nets, stated = [], []
    for _ in range(600):
        right = rng.random(1000) < 0.7
        answers = right[:, None] ^ (rng.random((1000, 9)) < 0.02)
        differences = answers[:, 1:].astype(int) - answers[:, :1]
        nets.append(differences.mean(axis=0))
        stated.append(np.trace(contrast @ item_covariance(differences)) / 7)
    found = np.trace(contrast @ np.cov(np.array(nets).T)) / 7
    assert np.mean(stated) == pytest.approx(found, rel=0.06)
    assert found == pytest.approx(0.02 * 0.98 / 1000, rel=0.06)


def test_a_cluster_column_is_read(items):
    clustered = items.assign(cluster=items["item"].str[:4])
    noise = benchmark_noise(clustered, "easy", reference="ref", quants=QUANTS)
    assert noise.units == 40
    assert noise.items == 400
    torn = clustered.assign(cluster=np.where(clustered["model"] == "q01", "other", clustered["cluster"]))
    with pytest.raises(StatisticsError, match="400 items with several"):
        benchmark_noise(torn, "easy", reference="ref", quants=QUANTS)


def test_some_quants_keep_their_places(rng):
    covariance = np.diag([1.0, 2.0, 3.0])
    part = noise_of([0.1, 0.2, 0.3], covariance).of(["q02", "q00"])
    assert list(part.net) == [0.3, 0.1]
    assert list(np.diag(part.covariance)) == [3.0, 1.0]
    with pytest.raises(StatisticsError, match="no items of q09"):
        part.of(["q09"])


def test_bad_input_is_named(items):
    with pytest.raises(StatisticsError, match="none of q77"):
        benchmark_noise(items, "easy", reference="ref", quants=["q00", "q77"])
    with pytest.raises(StatisticsError, match=r"other values, for example \[2\]"):
        net_differences(pd.DataFrame({"ref": [0, 1], "a": [2, 1]}), "ref", ["a"])
    with pytest.raises(StatisticsError, match="different items"):
        benchmark_noise(
            items[(items["model"] != "q03") | (items["item"] > "00010")], "easy", reference="ref", quants=QUANTS
        )
    with pytest.raises(StatisticsError, match="at least 2 items"):
        item_covariance(np.ones((1, 3)))
    with pytest.raises(StatisticsError, match="one cluster for each of 4 items"):
        item_covariance(np.ones((4, 3)), [1, 2])
    with pytest.raises(StatisticsError, match="same quants"):
        composite_noise([])
