"""Partial correlation against residuals of ranks, and its size where scores depend on bits alone."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.correlation.partial import partial_correlation, partial_table, variance_inflation


def columns(rng, n=20):
    bits = rng.uniform(2, 9, n)
    return np.exp(-bits + 0.5 * rng.normal(size=n)), bits + rng.normal(size=n), bits


def residual(rank, on):
    design = np.column_stack([np.ones(on.size), on])
    return rank - design @ np.linalg.lstsq(design, rank, rcond=None)[0]


def test_partial_is_the_correlation_of_what_ranks_of_the_control_leave(rng):
    x, y, bits = columns(rng)
    found = partial_correlation(x, y, bits)
    rx, ry, rc = map(stats.rankdata, (x, y, bits))
    r = stats.pearsonr(residual(rx, rc), residual(ry, rc)).statistic
    assert found.partial == pytest.approx(r, abs=1e-12)
    assert found.p_ranks == pytest.approx(2 * stats.t.sf(abs(r) * np.sqrt(17 / (1 - r**2)), 17), abs=1e-12)
    assert found.p_partial >= found.p_ranks
    assert found.estimate == stats.spearmanr(x, y).statistic
    assert found.inflation == pytest.approx(1 / (1 - stats.spearmanr(x, bits).statistic ** 2))


def test_swapping_signs_flips_the_partial_and_nothing_else(rng):
    x, y, bits = columns(rng)
    one, other = partial_correlation(x, y, bits), partial_correlation(x, -y, bits)
    assert other.partial == pytest.approx(-one.partial, abs=1e-12)
    assert other.p_partial == pytest.approx(one.p_partial, abs=1e-12)
    assert partial_correlation(x, y, -bits).partial == pytest.approx(one.partial, abs=1e-12)
    assert partial_correlation(np.log(x), np.exp(y), bits**3).partial == pytest.approx(one.partial, abs=1e-12)


def test_unrelated_columns_inflate_nothing():
    x = np.array([1.0, -1, 1, -1, 0, 0])
    control = np.array([1.0, 1, -1, -1, 0, 0])
    assert variance_inflation(x, control) == pytest.approx(1)
    assert variance_inflation(x + control, control) == pytest.approx(2)


@pytest.mark.parametrize("shape", [np.exp, np.arctan, lambda v: v])
def test_p_is_the_larger_one_of_ranks_and_normal_scores(shape, rng):
    for _ in range(5):
        x, y, bits = columns(rng)
        found, ranks = partial_correlation(x, shape(y), bits), [stats.rankdata(v) for v in (x, y, bits)]
        p = []
        for rx, ry, rc in (ranks, [stats.norm.ppf(r / 21) for r in ranks]):
            r = stats.pearsonr(residual(rx, rc), residual(ry, rc)).statistic
            p.append(2 * stats.t.sf(abs(r) * np.sqrt(17 / (1 - r**2)), 17))
        assert found.p_partial == pytest.approx(max(p), abs=1e-12)


def test_bits_that_rank_as_the_metric_leave_nothing():
    bits = np.arange(8.0)
    with pytest.raises(StatisticsError, match="'kl_mean' and 'bits' rank the quants identically"):
        partial_correlation(np.exp(-bits), [3, 1, 2, 5, 4, 8, 6, 7], bits, names=("kl_mean", "s", "bits"))
    with pytest.raises(StatisticsError, match="at least 5 quants"):
        partial_correlation([1, 2, 3, 4], [2, 1, 4, 3], [1, 3, 2, 4])


def test_table_says_when_size_and_metric_are_too_much_alike(rng):
    bits = np.linspace(2, 9, 14)
    kld = np.exp(-bits)
    kld[[3, 4]] = kld[[4, 3]]
    cohort = pd.DataFrame(
        {
            "label": [f"q{i}" for i in range(15)],
            "role": ["reference"] + ["quant"] * 14,
            "kl_mean": [np.nan, *kld],
            "score_t": [0.9, *rng.random(14)],
            "composite": np.nan,
            "bits_per_weight": [16.0, *bits],
        }
    )
    table = partial_table(cohort, ["kl_mean"], ["t", "composite"])
    assert table["n"].tolist() == [14, 14]
    assert table["inflation"].iloc[0] > 50
    assert "uninformative: bits_per_weight" in table["note"].iloc[0]
    assert np.isnan(table["partial"].iloc[1])
    assert "composite" in table["note"].iloc[1]
    with pytest.raises(StatisticsError, match="bits_per_weight of q4"):
        partial_table(
            cohort.assign(bits_per_weight=cohort["bits_per_weight"].mask(cohort["label"] == "q4")), ["kl_mean"], ["t"]
        )
