"""Clustered means and quantiles against statsmodels, definitions and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.tokens.clusters import ClusterBootstrap, Interval, clustered_mean, cr1_error, few_clusters_note


def clustered_sample(rng: np.random.Generator, groups: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Values that share an effect within their cluster; sizes differ."""
    clusters = np.repeat(np.arange(groups), rng.integers(1, 2 * size, groups))
    return rng.normal(size=groups)[clusters] + rng.normal(size=len(clusters)), clusters


def resamples(clusters: np.ndarray, *, bootstrap: int = 200, seed: int = 0) -> ClusterBootstrap:
    return ClusterBootstrap(clusters, 0.95, bootstrap=bootstrap, rng=np.random.default_rng(seed))


def drawn_again(values: np.ndarray, clusters: np.ndarray, *, bootstrap: int, seed: int) -> list[np.ndarray]:
    """The literal bootstrap: draw whole clusters and lay their values end to end."""
    rng, groups = np.random.default_rng(seed), int(clusters.max()) + 1
    drawn = [rng.integers(groups, size=groups) for _ in range(bootstrap)]
    return [np.concatenate([values[clusters == g] for g in chosen]) for chosen in drawn]


def test_the_interval_equals_statsmodels_cluster_covariance() -> None:
    values, clusters = clustered_sample(np.random.default_rng(1), 17, 6)
    found = clustered_mean(values, clusters, 0.95)
    model = sm.OLS(values, np.ones(len(values)))
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    low, high = fitted.conf_int()[0]
    assert found.estimate == pytest.approx(values.mean(), rel=1e-14)
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-10), pytest.approx(high, rel=1e-10))
    assert cr1_error(values, clusters) == pytest.approx(fitted.bse[0], rel=1e-10)


def test_with_one_value_a_cluster_it_is_the_t_interval() -> None:
    values = np.random.default_rng(2).normal(size=12)
    found = clustered_mean(values, np.arange(12), 0.9)
    low, high = stats.t.interval(0.9, 11, values.mean(), stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_clustering_widens_the_interval_where_clusters_share_an_effect() -> None:
    values, clusters = clustered_sample(np.random.default_rng(3), 30, 20)
    clustered = clustered_mean(values, clusters, 0.95)
    independent = clustered_mean(values, np.arange(len(values)), 0.95)
    assert clustered.high - clustered.low > 2 * (independent.high - independent.low)


def test_the_bootstrap_equals_its_literal_definition() -> None:
    values, clusters = clustered_sample(np.random.default_rng(4), 9, 5)
    again = drawn_again(values, clusters, bootstrap=60, seed=11)
    made = resamples(clusters, bootstrap=60, seed=11)
    means = np.quantile([drawn.mean() for drawn in again], [0.025, 0.975])
    found = made.mean(values)
    assert (found.bootstrap_low, found.bootstrap_high) == pytest.approx(tuple(means), rel=1e-12)
    probabilities = (0.0, 0.31, 0.5, 0.95, 0.999, 1.0)
    drawn = np.array([np.quantile(values_again, probabilities) for values_again in again])
    ends = np.quantile(drawn, [0.025, 0.975], axis=0)
    for found, p, low, high in zip(made.quantiles(values, probabilities), probabilities, *ends, strict=True):
        assert found.estimate == np.quantile(values, p)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
        assert (found.bootstrap_low, found.bootstrap_high) == (found.low, found.high)


def test_a_mean_keeps_its_cr1_interval_beside_the_bootstraps() -> None:
    values, clusters = clustered_sample(np.random.default_rng(5), 25, 5)
    found, alone = resamples(clusters).mean(values), clustered_mean(values, clusters, 0.95)
    assert (found.estimate, found.low, found.high) == (alone.estimate, alone.low, alone.high)
    assert found.bootstrap_low < found.estimate < found.bootstrap_high


def test_intervals_of_means_cover_as_they_say() -> None:
    rng = np.random.default_rng(6)
    hits = np.zeros(2)
    for _ in range(1000):
        values, clusters = clustered_sample(rng, 60, 5)
        mean = ClusterBootstrap(clusters, 0.95, bootstrap=200, rng=rng).mean(values)
        hits += [mean.low <= 0 <= mean.high, mean.bootstrap_low <= 0 <= mean.bootstrap_high]
    cr1, resampled = hits / 1000  # Monte-Carlo standard error 0.007
    assert 0.93 <= cr1 <= 0.97
    assert 0.91 <= resampled <= 0.97


def test_intervals_of_quantiles_cover_as_they_say() -> None:
    rng = np.random.default_rng(7)
    true = stats.norm.ppf([0.5, 0.9]) * np.sqrt(2)
    hits = np.zeros(2)
    for _ in range(300):
        values, clusters = clustered_sample(rng, 60, 5)
        found = ClusterBootstrap(clusters, 0.95, bootstrap=200, rng=rng).quantiles(values, (0.5, 0.9))
        hits += [f.low <= q <= f.high for f, q in zip(found, true, strict=True)]
    assert (hits / 300 >= 0.90).all()  # Monte-Carlo standard error 0.013
    assert (hits / 300 <= 0.98).all()


def test_the_bootstrap_follows_its_generator() -> None:
    values, clusters = clustered_sample(np.random.default_rng(8), 20, 5)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (to see that the global state is left alone)
    assert resamples(clusters, seed=1).mean(values) == resamples(clusters, seed=1).mean(values)
    assert resamples(clusters, seed=1).mean(values) != resamples(clusters, seed=2).mean(values)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_names_and_order_of_clusters_change_nothing() -> None:
    values, clusters = clustered_sample(np.random.default_rng(9), 20, 5)
    shuffled = np.random.default_rng(1).permutation(len(values))
    named = np.array([f"document {c:02d}" for c in clusters])
    found = resamples(named[shuffled]).mean(values[shuffled])
    whole = resamples(clusters).mean(values)
    assert [found.estimate, found.low, found.bootstrap_high] == pytest.approx(
        [whole.estimate, whole.low, whole.bootstrap_high], rel=1e-12
    )


def test_one_cluster_gives_estimates_without_intervals() -> None:
    values, made = np.array([1.0, 2.0]), resamples(np.array([0, 0]))
    for found in (made.mean(values), *made.quantiles(values, (0.5,)), clustered_mean(values, made.index, 0.95)):
        assert found.estimate == 1.5
        assert np.isnan([found.low, found.high, found.bootstrap_low, found.bootstrap_high]).all()
    assert np.isnan(cr1_error(values, made.index))


def test_few_clusters_are_named() -> None:
    assert few_clusters_note(1) == "one cluster: no interval"
    assert "39 clusters" in few_clusters_note(39)
    assert few_clusters_note(40) == ""


def test_magnitudes_of_an_interval() -> None:
    assert Interval(-0.1, -0.3, 0.2, -0.4, -0.1).absolute() == Interval(0.1, 0.0, 0.3, 0.1, 0.4)
    assert Interval(-0.2, -0.3, -0.1, -0.3, 0.1).absolute() == Interval(0.2, 0.1, 0.3, 0.0, 0.3)
    assert np.isnan(Interval(0.2).absolute().low)


def test_a_rising_function_maps_the_estimate_and_every_end() -> None:
    assert Interval(1.0, 0.0, 2.0, 0.5, 1.5).mapped(lambda x: 2 * x) == Interval(2.0, 0.0, 4.0, 1.0, 3.0)


@pytest.mark.parametrize("values", [np.array([]), np.array([1.0, np.nan])])
def test_values_that_give_no_number_are_refused(values: np.ndarray) -> None:
    made = resamples(np.zeros(len(values), dtype=int))
    for give in (made.mean, lambda v: made.quantiles(v, (0.5,))):
        with pytest.raises(StatisticsError, match="finite values"):
            give(values)
