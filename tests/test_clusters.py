"""Clustered means and quantiles against statsmodels, definitions and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from qkld.clusters import clustered_mean, clustered_quantiles
from qkld.errors import StatisticsError


def clustered_sample(rng: np.random.Generator, groups: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Values that share an effect within their cluster; sizes differ."""
    clusters = np.repeat(np.arange(groups), rng.integers(1, 2 * size, groups))
    return rng.normal(size=groups)[clusters] + rng.normal(size=len(clusters)), clusters


def test_the_interval_equals_statsmodels_cluster_covariance() -> None:
    values, clusters = clustered_sample(np.random.default_rng(1), 17, 6)
    found = clustered_mean(values, clusters, 0.95)
    model = sm.OLS(values, np.ones(len(values)))
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    low, high = fitted.conf_int()[0]
    assert found.estimate == pytest.approx(values.mean(), rel=1e-14)
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-10), pytest.approx(high, rel=1e-10))


def test_with_one_value_a_cluster_it_is_the_t_interval() -> None:
    from scipy import stats

    values = np.random.default_rng(2).normal(size=12)
    found = clustered_mean(values, np.arange(12), 0.9)
    low, high = stats.t.interval(0.9, 11, values.mean(), stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_clustering_widens_the_interval_where_clusters_share_an_effect() -> None:
    values, clusters = clustered_sample(np.random.default_rng(3), 30, 20)
    clustered = clustered_mean(values, clusters, 0.95)
    independent = clustered_mean(values, np.arange(len(values)), 0.95)
    assert clustered.high - clustered.low > 2 * (independent.high - independent.low)


def test_intervals_of_means_cover_as_they_say() -> None:
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(1000):
        interval = clustered_mean(*clustered_sample(rng, 40, 5), 0.95)
        hits += interval.low <= 0 <= interval.high
    assert 0.93 <= hits / 1000 <= 0.97  # Monte-Carlo standard error 0.007


def test_quantiles_are_numpys_and_their_intervals_cover_the_true_median() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        values, clusters = clustered_sample(rng, 40, 5)
        median, high = clustered_quantiles(values, clusters, (0.5, 0.9), 0.95, bootstrap=200, rng=rng)
        assert median.estimate == np.quantile(values, 0.5)
        assert high.low <= high.high
        hits += median.low <= 0 <= median.high
    assert 0.89 <= hits / 200 <= 0.99  # standard error 0.016


def test_the_bootstrap_follows_its_generator() -> None:
    values, clusters = clustered_sample(np.random.default_rng(6), 20, 5)

    def run(seed: int) -> float:
        rng = np.random.default_rng(seed)
        return clustered_quantiles(values, clusters, (0.5,), 0.95, bootstrap=100, rng=rng)[0].low

    before = np.random.get_state()[1].copy()  # noqa: NPY002 (to see that the global state is left alone)
    assert run(1) == run(1)
    assert run(1) != run(2)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_one_cluster_gives_an_estimate_without_an_interval() -> None:
    found = clustered_mean(np.array([1.0, 2.0]), np.array([0, 0]), 0.95)
    assert found.estimate == 1.5
    assert np.isnan(found.low)
    assert np.isnan(found.high)


@pytest.mark.parametrize("values", [np.array([]), np.array([1.0, np.nan])])
def test_values_that_give_no_number_are_refused(values: np.ndarray) -> None:
    with pytest.raises(StatisticsError, match="finite values"):
        clustered_mean(values, np.zeros(len(values), dtype=int), 0.95)
