"""Tests of contrasts on few items: published laws, all sign flips counted one by one, and their sizes."""

from itertools import product

import numpy as np
import pingouin as pg
import pytest
from scipy import stats
from simulated_answers import labels_of

from qkld.statistics.items.covariance import NetNoise, composite_noise, noise_of_differences
from qkld.statistics.noise.contrast_tests import EVEN, hotelling_p, satterthwaite_df, sign_flip
from qkld.statistics.noise.heterogeneity import cochran_q, residual_heterogeneity
from validation.calibration.worlds import draw_cohort


@pytest.mark.parametrize(
    ("q", "quants", "items", "p"),
    [(136.4, 34, 50, 0.22), (53.6, 18, 20, 0.85), (53.7, 34, 100, 0.36), (30.6, 20, 80, 0.25), (45.5, 20, 98, 0.021)],
)
def test_what_studies_stated_as_chi_square_is_no_difference(q, quants, items, p):
    """Q of five tables, whose p by χ² was between 2e-14 and .05."""
    assert hotelling_p(q, quants - 1, items - 1) == pytest.approx(p, rel=0.05)
    assert stats.chi2.sf(q, quants - 1) < 0.05


def differences(rng, world: str, quants: int, items: int) -> tuple[np.ndarray, np.ndarray]:
    """Differences of answers from the reference's, and KLD."""
    cohort = draw_cohort(world, quants, quants, rng=rng)
    right = cohort.answers(items, rng=rng).astype(np.int8)
    return right[:, 1:] - right[:, :1], cohort.kld


def noise_on(rng, world: str, quants: int, items: tuple[int, ...], clusters: int = 0) -> tuple[NetNoise, np.ndarray]:
    """Noise of a cohort on the mean of benchmarks of so many items, in near equal clusters where asked for, and KLD."""
    cohort = draw_cohort(world, quants, quants, rng=rng)
    parts = []
    for task, count in enumerate(items):
        right = cohort.answers(count, rng=rng).astype(np.int8)
        groups = np.arange(count) % clusters if clusters else None
        moved = right[:, 1:] - right[:, :1]
        parts.append(noise_of_differences(f"task {task}", moved, labels_of(quants), groups))
    return (composite_noise(parts) if len(parts) > 1 else parts[0]), cohort.kld


def test_one_benchmark_is_hotelling_s_test_of_the_answers(rng):
    moved, _ = differences(rng, "W1", 6, 900)
    contrasts = moved[:, 1:] - moved[:, :1]
    known = pg.multivariate_ttest(contrasts.astype(float)).iloc[0]
    found = cochran_q(noise_of_differences("task", moved, labels_of(6))).tested
    assert found.test == "hotelling"
    assert found.statistic == pytest.approx(known["T2"], rel=1e-9)
    assert found.p == pytest.approx(known["pval"], rel=1e-9)


def test_degrees_of_freedom_of_one_part_are_its_own_and_of_equal_parts_add_up():
    assert satterthwaite_df([np.eye(4)], [29]) == pytest.approx(29)
    assert satterthwaite_df([np.eye(4) / 3] * 3, [29] * 3) == pytest.approx(87)


def test_a_composite_is_tested_by_its_parts(rng):
    noise, kld = noise_on(rng, "W1", 5, (400, 900))
    equal, left = cochran_q(noise), residual_heterogeneity(noise, kld)["sqrt"]
    assert (equal.test, left.test) == ("satterthwaite", "satterthwaite")
    assert 399 < equal.df < 399 + 899
    free = equal.df - 4 + 1
    assert equal.p == pytest.approx(stats.f.sf(equal.q() * free / (equal.df * 4), 4, free))


def test_sign_flips_are_those_of_whole_clusters(rng):
    """Eight clusters: all 256 patterns counted one by one."""
    moved = rng.choice([-1, 0, 0, 1], size=(96, 5)).astype(np.int8)
    clusters = np.repeat(np.arange(8), 12)
    noise = noise_of_differences("task", moved, labels_of(5), clusters)
    away = np.eye(5) - 1 / 5
    sums = np.add.reduceat(moved @ away, np.arange(0, 96, 12))
    errors = np.sqrt((sums**2).sum(axis=0))
    scale = errors * errors.mean()
    every = [((np.array(signs) @ sums) ** 2 / scale).sum() for signs in product((-1, 1), repeat=8)]
    found = sign_flip(noise, away)
    assert found.statistic == pytest.approx((sums.sum(axis=0) ** 2 / scale).sum(), rel=1e-12)
    exact = np.mean(np.array(every) >= found.statistic - 1e-9)
    assert found.p == pytest.approx(exact, abs=0.045)


@pytest.mark.parametrize(("clusters", "least"), [(3, 0.25), (5, 0.0625), (8, 0.0)])
def test_clusters_too_few_for_any_difference_are_noted(rng, clusters, least):
    """Three clusters have four patterns but for the sign of all: p is no less than a quarter."""
    moved = (rng.random((120, 6)) < [0.1, 0.2, 0.3, 0.4, 0.9, 0.95]).astype(np.int8)
    found = sign_flip(noise_of_differences("task", moved, labels_of(6), np.arange(120) % clusters), np.eye(6) - 1 / 6)
    assert found.p >= least - 0.02
    assert (f"no p below {least:.2g}" in found.note) == (least > 0)


def test_flips_of_benchmarks_are_independent_and_have_the_noise_s_covariance(rng):
    noise, _ = noise_on(rng, "WN", 6, (80, 80))
    first, second = (part.flipped for part in noise.parts)
    assert abs(np.corrcoef(first[:, 5], second[:, 5])[0, 1]) < 0.1
    away = np.eye(6) - 1 / 6
    drawn = np.cov(((first + second) @ away).T)
    moment = away @ sum(part.moment for part in noise.parts) @ away
    assert np.diag(drawn) == pytest.approx(np.diag(moment), rel=0.15)


def test_order_of_quants_and_the_reference_change_nothing(rng):
    cohort = draw_cohort("W1", 20, 20, rng=rng)
    right, order = cohort.answers(60, rng=rng).astype(np.int8), rng.permutation(20)
    moved = right[:, 1:] - right[:, :1]
    first = cochran_q(noise_of_differences("task", moved, labels_of(20))).tested
    again = cochran_q(noise_of_differences("task", moved[:, order], labels_of(20))).tested
    plain = cochran_q(noise_of_differences("task", right[:, 1:], labels_of(20), has_reference=False)).tested
    assert first.test == "sign-flip"
    for other in (again, plain):
        assert (other.statistic, other.p) == pytest.approx((first.statistic, first.p), rel=1e-9)


def test_some_quants_are_flipped_as_they_are_among_all(rng):
    moved, _ = differences(rng, "W1", 20, 60)
    whole, kept = noise_of_differences("task", moved, labels_of(20)), [3, 4, 7, 11, 12, 15]
    alone = noise_of_differences("task", moved[:, kept], [labels_of(20)[i] for i in kept])
    part = whole.of([labels_of(20)[i] for i in kept])
    assert cochran_q(part).tested == cochran_q(alone).tested


def test_noise_that_is_larger_makes_differences_smaller(rng):
    for items in ((60,), (2000,)):
        noise, _ = noise_on(rng, "W1", 8, items)
        p = [cochran_q(noise.noisier(times)).p for times in (0.5, 1.0, 1.3, 3.0)]
        assert p == sorted(p)
        assert p[-1] > p[0]


@pytest.mark.parametrize(
    ("quants", "items", "clusters", "test"),
    [
        (20, (98,), 0, "sign-flip"),
        (20, (40,), 0, "sign-flip"),
        (12, (600,), 10, "sign-flip"),
        (12, (600,), 57, ""),
        (20, (80, 18), 0, "sign-flip"),
        (5, (300,), 0, "hotelling"),
        (5, (300, 200), 0, "satterthwaite"),
    ],
)
def test_equal_quants_are_found_to_differ_in_one_cohort_of_twenty(rng, quants, items, clusters, test):
    """χ² found differences in .155 (98 items), .725 (40), 1.000 (ten clusters), .175 (57) and .53 (80 + 18)."""
    rejected, taken, runs = 0, [], 120
    for _ in range(runs):
        noise, kld = noise_on(rng, "WN", quants, items, clusters)
        equal = cochran_q(noise)
        taken.append(equal.test)
        rejected += equal.p < 0.05
        assert 0 < residual_heterogeneity(noise, kld)["sqrt"].p <= 1
    assert not test or taken.count(test) > 0.9 * runs
    assert stats.binomtest(rejected, runs, 0.06, alternative="greater").pvalue > 0.01


def test_differences_are_found_on_few_items(rng):
    """20 quants of which five have lost 15 points, on 98 items: F would find them in a fifth of the cohorts."""
    found = 0
    for _ in range(40):
        right = rng.random((98, 21)) < np.where(np.arange(21) > 15, 0.65, 0.8)
        moved = right[:, 1:].astype(np.int8) - right[:, :1]
        found += cochran_q(noise_of_differences("task", moved, labels_of(20))).p < 0.05
    assert found > 30


def test_a_quant_that_flips_much_does_not_hide_the_others(rng):
    """Half of 11 quants have lost 6 points; the twelfth flips 40 % of the items and has lost nothing."""
    found, share = 0, np.append(np.full(11, 0.04), 0.4)
    for _ in range(40):
        flips = rng.random((98, 12)) < share
        up = rng.random((98, 12)) < np.append(np.where(np.arange(11) > 5, 0.0, 0.5), 0.5)
        moved = np.where(flips | ((np.arange(12) > 5) & (np.arange(12) < 11) & (rng.random((98, 12)) < 0.05)), -1, 0)
        moved = np.where(flips & up, 1, moved).astype(np.int8)
        found += cochran_q(noise_of_differences("task", moved, labels_of(12))).p < 0.05
    assert found > 28


def test_unequal_clusters_are_flipped_and_not_inverted(rng):
    moved, _ = differences(rng, "WN", 5, 600)
    even, uneven = np.arange(600) % 100, np.minimum(np.arange(600) // 2, 60)
    found = [noise_of_differences("task", moved, labels_of(5), clusters) for clusters in (even, uneven)]
    assert [cochran_q(noise).test for noise in found] == ["hotelling", "sign-flip"]
    assert found[1].parts[0].units.effective < EVEN * found[1].units


def test_a_certain_difference_is_no_division_by_nothing(rng):
    """One quant right on every item, one on none, noise between two others: fewer directions than contrasts vary."""
    moved = np.zeros((40, 4), dtype=np.int8)
    moved[:, 0], moved[:, 1], moved[:, 2] = 1, -1, rng.integers(0, 2, 40)
    found = cochran_q(noise_of_differences("task", moved, labels_of(4))).tested
    assert found.test == "sign-flip"
    assert np.isfinite(found.statistic)
    assert found.p == pytest.approx(1 / 2000)
