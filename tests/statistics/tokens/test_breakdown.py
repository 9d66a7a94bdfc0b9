"""Breakdowns by corpus, entropy and position against their definitions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from simulated_tokens import token_table

from qkld.errors import StatisticsError
from qkld.statistics.tokens.breakdown import ENTROPY_EDGES, breakdown, breakdown_table, bucket_edges, bucket_of
from qkld.statistics.tokens.clusters import clustered_mean
from qkld.statistics.tokens.fidelity import summarise
from qkld.study.registry import registered

HOW = {"confidence": 0.95, "bootstrap": 100}


def made(table: pd.DataFrame, seed: int = 0, **more: object) -> pd.DataFrame:
    return breakdown(table, "q", **HOW, **more, rng=np.random.default_rng(seed))


def test_every_bucket_equals_the_mean_of_its_tokens(rng: np.random.Generator) -> None:
    table = token_table(rng)
    found = made(table, metrics=["kl_mean"])
    for row in found[found["by"] == "entropy"].itertuples():
        inside = table["entropy_reference"].between(row.bucket_from, row.bucket_to, inclusive="left")
        chosen = table[inside]
        alone = clustered_mean(chosen["kl"].to_numpy(), chosen["cluster"].to_numpy(), 0.95)
        assert (row.estimate, row.low, row.high) == pytest.approx((alone.estimate, alone.low, alone.high), rel=1e-12)
        assert (row.tokens, row.clusters) == (len(chosen), chosen["cluster"].nunique())
        assert row.bootstrap_low <= row.estimate <= row.bootstrap_high
    assert found[found["by"] == "entropy"][["bucket_from", "bucket_to"]].to_numpy().tolist() == [
        [a, z] for a, z in pairwise(ENTROPY_EDGES)
    ]


@pytest.mark.parametrize("by", ["entropy", "position"])
def test_buckets_hold_every_token_once_and_average_to_the_whole(rng: np.random.Generator, by: str) -> None:
    table = token_table(rng)
    found = made(table, metrics=["kl_mean"])
    rows = found[found["by"] == by]
    assert rows["tokens"].sum() == len(table)
    assert np.average(rows["estimate"], weights=rows["tokens"]) == pytest.approx(table["kl"].mean(), rel=1e-12)


def test_the_whole_corpus_is_what_fidelity_says(rng: np.random.Generator) -> None:
    table = pd.concat([token_table(rng), token_table(rng, corpus="code"), token_table(rng, context=64)])
    found = made(table)
    whole = found[found["by"] == "corpus"].set_index(["corpus", "context", "metric"])
    summary = summarise(table, "q", **HOW, rng=np.random.default_rng(0)).set_index(["corpus", "context", "metric"])
    columns = ["estimate", "low", "high", "tokens", "clusters"]
    expected = summary.loc[whole.index, columns]
    pd.testing.assert_frame_equal(whole[columns], expected, check_dtype=False, check_index_type=False)
    assert list(found.columns) == list(registered("fidelity_breakdown").columns)


def test_positions_fall_into_buckets_of_as_many_tokens(rng: np.random.Generator) -> None:
    found = made(token_table(rng, tokens=48), metrics=["kl_mean"])
    rows = found[found["by"] == "position"]
    assert rows["bucket_from"].tolist() == [464, 476, 488, 500]
    assert rows["bucket_to"].tolist() == [476, 488, 500, 511]
    assert (rows["tokens"] == 8 * 12).all()


def test_an_effect_of_entropy_is_found_in_its_bucket(rng: np.random.Generator) -> None:
    table = token_table(rng)
    table["kl"] += 0.1 * (table["entropy_reference"] > 2)
    found = made(table, metrics=["kl_mean"], entropy_edges=[0, 2, 100], position_edges=1)
    low, high = found[found["by"] == "entropy"]["estimate"]
    assert high - low == pytest.approx(0.1, abs=0.01)
    assert (found["by"] == "position").sum() == 1


def test_a_bucket_without_tokens_says_so(rng: np.random.Generator) -> None:
    found = made(token_table(rng), metrics=["kl_mean"], entropy_edges=[0, 100, 200])
    empty = found[found["by"] == "entropy"].iloc[1]
    assert (empty["tokens"], empty["clusters"], empty["note"]) == (0, 0, "no token in this bucket")
    assert np.isnan(empty["estimate"])


def test_tokens_that_are_not_finite_are_counted_and_left_out(rng: np.random.Generator) -> None:
    table = token_table(rng)
    table.loc[:9, ["kl", "nll_reference", "nll_quant", "entropy_reference"]] = np.nan
    found = made(table)
    assert (found["nonfinite"] == 10).all()
    assert (found[found["by"] == "corpus"]["tokens"] == 390).all()
    with pytest.raises(StatisticsError, match="'q' has no finite token on 'prose'"):
        made(table.assign(kl=np.nan))


def test_few_clusters_are_noted_bucket_by_bucket(rng: np.random.Generator) -> None:
    table = token_table(rng, windows=50, tokens=10)
    found = made(table, metrics=["kl_mean"], entropy_edges=[0, 8, 100], position_edges=1)
    assert found["note"].tolist()[:2] == ["", ""]
    assert "intervals are rough below 40" in found["note"].iloc[2]


def test_edges_are_those_given_or_quantiles(rng: np.random.Generator) -> None:
    values = rng.exponential(1.0, 1000)
    quarters = bucket_edges(values, 4)
    assert np.bincount(bucket_of(values, quarters)).tolist() == pytest.approx([250] * 4, abs=1)
    assert bucket_edges(values, [0, 1, 100]).tolist() == [0, 1, 100]
    assert bucket_edges(np.full(5, 3.0), 4).tolist() == [3.0, 3.0]
    assert bucket_of(np.array([0.0, 0.5, 1.0, 2.0]), np.array([0.0, 1.0, 2.0])).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("edges", "message"),
    [([0, 2, 1], "must rise"), ([1], "must rise"), (0, "at least one bucket"), ([0, 1], "outside all buckets")],
)
def test_edges_that_do_not_fit_are_refused(edges: object, message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        bucket_edges(np.array([0.5, 1.5]), edges)


def test_quantiles_and_unknown_metrics_are_no_means(rng: np.random.Generator) -> None:
    with pytest.raises(StatisticsError, match="takes means only"):
        made(token_table(rng), metrics=["kl_p99"])
    with pytest.raises(StatisticsError, match="without the second walk"):
        made(token_table(rng), metrics=["kl_mean", "acceptance_rate"])


def test_labels_are_read_one_at_a_time_and_draw_the_same_resamples(rng: np.random.Generator) -> None:
    table = token_table(rng)
    asked = []

    def tokens_of(label: str) -> pd.DataFrame:
        asked.append(label)
        return table

    found = breakdown_table(tokens_of, ["q", "floor-dtype"], **HOW, seed=5)
    assert asked == ["q", "floor-dtype"]
    one, two = (found[found["label"] == label].drop(columns="label").reset_index(drop=True) for label in asked)
    pd.testing.assert_frame_equal(one, two)
