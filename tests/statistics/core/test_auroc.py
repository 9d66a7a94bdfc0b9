"""AUROC and its clustered interval against their definitions, scipy, and worlds whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.auroc import auroc
from qkld.statistics.core.clustered import clustered_error, clustered_share


def draw(rng, n=60):
    return np.round(rng.normal(size=n), 1), rng.random(n) < 0.4


def obuchowski(values, positive, clusters):
    """Variance of the AUROC as Obuchowski (1997) writes it: S10/m + S01/n + 2·S11/(m·n) from sums over clusters."""
    pairs = (values[positive][:, None] > values[~positive]) + 0.5 * (values[positive][:, None] == values[~positive])
    area, m, n = pairs.mean(), positive.sum(), (~positive).sum()
    names = np.unique(clusters)
    up = np.array([(pairs.mean(axis=1) - area)[clusters[positive] == g].sum() for g in names])
    down = np.array([(pairs.mean(axis=0) - area)[clusters[~positive] == g].sum() for g in names])
    k = len(names)
    return k / (k - 1) * ((up**2).sum() / m**2 + (down**2).sum() / n**2 + 2 * (up * down).sum() / (m * n))


def test_auroc_is_the_share_of_pairs_and_mann_whitneys_u(rng):
    values, positive = draw(rng)
    found = auroc(values, positive)
    pairs = [(a > b) + 0.5 * (a == b) for a in values[positive] for b in values[~positive]]
    assert found.estimate == pytest.approx(np.mean(pairs), abs=1e-12)
    assert found.pairs == len(pairs)
    u = stats.mannwhitneyu(values[positive], values[~positive]).statistic
    assert found.estimate == pytest.approx(u / len(pairs), rel=1e-12)
    assert auroc(values, ~positive).estimate == pytest.approx(1 - found.estimate)


def test_error_is_obuchowskis(rng):
    values, positive = draw(rng)
    for clusters in (rng.integers(0, 12, values.size), np.arange(values.size)):
        error, k = clustered_error(auroc(values, positive).influence, clusters)
        assert error**2 == pytest.approx(obuchowski(values, positive, clusters), rel=1e-10)
        assert k == np.unique(clusters).size


def test_error_is_delongs_with_one_row_a_prompt(rng):
    values, positive = draw(rng, 400)
    pairs = (values[positive][:, None] > values[~positive]) + 0.5 * (values[positive][:, None] == values[~positive])
    delong = pairs.mean(axis=1).var(ddof=1) / positive.sum() + pairs.mean(axis=0).var(ddof=1) / (~positive).sum()
    error, _ = clustered_error(auroc(values, positive).influence, np.arange(400))
    assert error == pytest.approx(np.sqrt(delong), rel=0.01)


def test_strata_compare_only_rows_of_their_own(rng):
    values, positive = draw(rng, 90)
    strata = rng.integers(0, 4, 90)
    pairs = [
        (a > b) + 0.5 * (a == b)
        for s in range(4)
        for a in values[positive & (strata == s)]
        for b in values[~positive & (strata == s)]
    ]
    found = auroc(values, positive, strata)
    assert found.estimate == pytest.approx(np.mean(pairs), abs=1e-12)
    assert found.pairs == len(pairs)
    assert found.influence.sum() == pytest.approx(0, abs=1e-12)
    assert auroc(values + 100 * strata, positive, strata).estimate == pytest.approx(found.estimate)
    alone = auroc(values[strata == 1], positive[strata == 1])
    padded = auroc(
        np.append(values[strata == 1], 9.0), np.append(positive[strata == 1], True), [0] * alone.influence.size + [1]
    )
    assert padded.estimate == pytest.approx(alone.estimate)  # a stratum of one outcome adds nothing
    assert padded.influence[-1] == 0


def test_influence_is_what_a_row_adds(rng):
    values, positive = draw(rng, 200)
    found = auroc(values, positive)
    left_out = np.array([auroc(np.delete(values, i), np.delete(positive, i)).estimate for i in range(200)])
    jackknife = 199 * (left_out.mean() - left_out)
    assert np.corrcoef(jackknife, found.influence)[0, 1] > 0.999


def shared_prompts(rng, prompts, models=5):
    """ln KLD with an effect of the prompt and a shift of each model, and failures that follow both a little."""
    prompt = rng.standard_normal(prompts)[:, None]
    own = rng.standard_normal((prompts, models))
    shift = np.linspace(-0.3, 0.3, models)
    logs = 0.6 * (np.sqrt(0.6) * prompt + np.sqrt(0.4) * own) + shift
    eta = -0.9 + 1.6 * rng.standard_normal(prompts)[:, None] + 0.55 * (logs - shift)
    return (
        logs.ravel(),
        (rng.random(logs.shape) < 1 / (1 + np.exp(-eta))).ravel(),
        np.repeat(np.arange(prompts), models),
    )


def test_clustered_interval_covers_and_the_naive_one_does_not():
    rng = np.random.default_rng(3)
    truth = auroc(*shared_prompts(rng, 100_000)[:2]).estimate
    assert truth == pytest.approx(0.560, abs=0.004)
    inside = np.zeros(2)
    for _ in range(300):
        logs, failed, prompt = shared_prompts(rng, 60)
        found = auroc(logs, failed)
        for which, clusters in enumerate((prompt, np.arange(prompt.size))):
            low, high = found.interval(clusters, 0.95)
            inside[which] += low <= truth <= high
    assert 0.91 <= inside[0] / 300 <= 0.985
    assert inside[1] / 300 < 0.91


def test_no_interval_where_every_pair_goes_one_way():
    found = auroc([1, 2, 3, 4, 5], [False, False, False, True, True])
    assert found.estimate == 1
    assert np.isnan(found.interval(np.arange(5), 0.95)).all()
    tied = auroc(np.ones(6), [True, False] * 3)
    assert tied.estimate == 0.5
    assert np.isnan(tied.interval(np.arange(6), 0.95)).all()


def test_refusals():
    with pytest.raises(StatisticsError, match="1 and 2"):
        auroc([1, 2, 3], [True, False, False], minimum=2)
    with pytest.raises(StatisticsError, match="1 not finite"):
        auroc([1, np.nan, 3], [True, False, False])
    with pytest.raises(StatisticsError, match="never both of the same quant"):
        auroc([1, 2], [True, False], [0, 1])
    with pytest.raises(StatisticsError, match="at least 2 prompts"):
        auroc([1, 2], [True, False]).interval([7, 7], 0.95)


def test_clustered_share_widens_where_items_repeat(rng):
    hits = (rng.random(300) < 0.5).astype(float)
    share, low, high = clustered_share(hits, np.ones(300), np.arange(300), 0.95)
    assert clustered_share(10 * hits, np.full(300, 10.0), np.arange(300), 0.95) == pytest.approx((share, low, high))
    again = clustered_share(np.tile(hits, 10), np.ones(3000), np.tile(np.arange(300), 10), 0.95)
    assert again == pytest.approx((share, low, high))
    expected = share + stats.t.ppf([0.025, 0.975], 299) * hits.std(ddof=1) / np.sqrt(300)
    assert (low, high) == pytest.approx(tuple(expected), rel=1e-3)
    with pytest.raises(StatisticsError, match="items on which models differ"):
        clustered_share(np.zeros(3), np.zeros(3), np.arange(3), 0.95)
