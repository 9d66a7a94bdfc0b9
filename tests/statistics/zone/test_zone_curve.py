"""ρ for every cut, and the envelope under a monotone truth."""

import numpy as np
import pytest
from scipy import optimize, stats
from simulated_study import BENCHMARKS, simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.items.covariance import noise_by_benchmark
from qkld.statistics.zone.zone_curve import Envelope, zone_curve

SETTINGS = Resampling(confidence=0.95, resamples=200, permutations=99, seed=3)


@pytest.fixture(scope="module")
def study():
    return simulated_study()


@pytest.fixture(scope="module")
def cohort(study):
    return study[0]


@pytest.fixture(scope="module")
def noise(study):
    cohort, items = study
    labels = list(cohort.loc[cohort["role"] == "quant", "label"])
    tasks = list(BENCHMARKS)
    return noise_by_benchmark(items, reference="reference", quants=labels, benchmarks=tasks, tasks=tasks)["composite"]


def test_curve_is_the_correlation_below_each_cut(cohort):
    curve = zone_curve(cohort, least=8, resampling=SETTINGS)
    quants = cohort[cohort["role"] == "quant"]
    assert curve["n"].min() >= 8
    assert curve["n"].max() == 22
    assert len(curve) == (quants["kl_mean"].rank(method="max").unique() >= 8).sum()
    for row in curve.itertuples():
        below = quants[quants["kl_mean"] <= row.cut]
        assert row.n == len(below)
        assert row.estimate == pytest.approx(stats.spearmanr(below["kl_mean"], below["composite"]).statistic)
        assert row.low <= row.high
        assert row.distinct_score == below["composite"].nunique()
        logs = np.log(below["kl_mean"]).std(ddof=0), np.log(quants["kl_mean"]).std(ddof=0)
        assert row.range_metric == pytest.approx(logs[0] / logs[1])
    assert curve["null_low"].isna().all()


def test_curve_of_too_few_quants_says_so(cohort):
    curve = zone_curve(cohort[cohort["role"] == "quant"].head(3), least=4, resampling=SETTINGS)
    assert curve["estimate"].isna().all()
    assert "no cut has 4 quants" in curve["note"].item()


def test_curve_without_scores_keeps_its_cuts(cohort, noise):
    curve = zone_curve(cohort.assign(composite=np.nan), least=8, resampling=SETTINGS, envelope=Envelope(noise))
    assert curve["estimate"].isna().all()
    assert curve["null_low"].isna().all()
    assert curve["note"].str.contains("missing").all()


def test_envelope_is_that_of_the_fitted_monotone_truth(cohort, noise):
    curve = zone_curve(cohort, least=8, resampling=SETTINGS, envelope=Envelope(noise, draws=1500))
    quants = cohort[cohort["role"] == "quant"].sort_values("kl_mean")
    own = noise.of(list(quants["label"]))
    kld, variance = quants["kl_mean"].to_numpy(), np.diag(own.covariance)
    _, group = np.unique(kld, return_inverse=True)
    weights = np.bincount(group, 1 / variance)
    means = np.bincount(group, own.net / variance) / weights
    truth = np.minimum(optimize.isotonic_regression(means, weights=weights, increasing=False).x, 0)[group]
    drawn = np.random.default_rng(8).multivariate_normal(truth, own.covariance, 1500)
    for row in (curve.iloc[0], curve.iloc[-1]):
        literal = [stats.spearmanr(kld[: row["n"]], net[: row["n"]]).statistic for net in drawn]
        expected = np.quantile(literal, [0.05, 0.5, 0.95])
        assert row[["null_low", "null_median", "null_high"]].to_numpy(float) == pytest.approx(expected, abs=0.07)
    assert (curve["null_low"] < curve["null_high"]).all()


def test_wider_coverage_is_wider_and_the_same_seed_the_same(cohort, noise):
    narrow, wide, again = (
        zone_curve(cohort, least=8, resampling=SETTINGS, envelope=Envelope(noise, draws=300, coverage=c))
        for c in (0.5, 0.9, 0.9)
    )
    assert (wide["null_low"] < narrow["null_low"]).all()
    assert wide.equals(again)


def test_order_of_rows_changes_nothing(cohort, noise):
    shuffled = cohort.sample(frac=1, random_state=2)
    one, other = (zone_curve(c, least=8, resampling=SETTINGS, envelope=Envelope(noise)) for c in (cohort, shuffled))
    known = cohort.loc[cohort["role"] == "quant", "kl_mean"]
    assert one["estimate"].to_numpy() == pytest.approx(other["estimate"].to_numpy(), abs=1e-12)
    if not known.duplicated().any():
        assert one["null_low"].to_numpy() == pytest.approx(other["null_low"].to_numpy(), abs=1e-9)


def test_gaps_are_refused_or_dropped(cohort, noise):
    gap = cohort.assign(composite=cohort["composite"].mask(cohort["label"] == "hqq-6-g64"))
    with pytest.raises(StatisticsError, match="composite of hqq-6-g64"):
        zone_curve(gap, least=8, resampling=SETTINGS)
    curve = zone_curve(gap, least=8, resampling=SETTINGS, missing="drop", envelope=Envelope(noise, draws=50))
    assert curve["n"].max() == 21
    assert curve["note"].str.contains("hqq-6-g64").all()
    with pytest.raises(StatisticsError, match="no items of"):
        zone_curve(cohort, least=8, resampling=SETTINGS, envelope=Envelope(noise.of(list(noise.labels[:9]))))


def test_the_curve_of_a_metric_that_falls_starts_at_the_reference_too(cohort):
    """Top-1 agreement, made from KLD so that it ranks the other way round: the same quants, ρ with the other sign."""
    turned = cohort.assign(top1=100 - 10 * cohort["kl_mean"])
    one = zone_curve(cohort, least=8, resampling=SETTINGS)
    other = zone_curve(turned, least=8, resampling=SETTINGS, metric="top1", falling=True)
    assert other["n"].tolist() == one["n"].tolist()
    assert other["cut"].is_monotonic_decreasing
    assert other["estimate"].tolist() == pytest.approx([-e for e in one["estimate"]])
    below = zone_curve(turned, least=8, resampling=SETTINGS, metric="top1")
    assert below["estimate"].iloc[0] != pytest.approx(other["estimate"].iloc[0])
